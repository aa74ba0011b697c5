//! Before the first event: the process gives up what it will never need, so that whoever breaks out of everything else
//! finds little to do with it.
//!
//! Guarantees: what is given up is given up for the calling thread and for every thread and process that it starts
//! later, for good; what the kernel does not offer is said, and stops nothing.
//!
//! Leaves to others: users, namespaces, what may be read and how much may be used, which whoever starts the process sets
//! (`runtime/deploy/tidegate.service`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The newest Landlock whose every right is known here (Linux 6.12); an older kernel keeps what it has.
const LANDLOCK: ABI = ABI::V6;

/// Calls that no part of a host makes: debugging others, kernel parts, mounts, namespaces, clocks, keys, and the large
/// interfaces that kernel faults were found in most often. The rest is left alone, so that a new libc needs no new list.
#[rustfmt::skip]
const REFUSED: &[i64] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_pidfd_getfd,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_move_mount,
    libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr,
    libc::SYS_setns, libc::SYS_unshare, libc::SYS_sethostname, libc::SYS_setdomainname,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl, libc::SYS_acct, libc::SYS_vhangup, libc::SYS_syslog,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_fanotify_init,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at, libc::SYS_personality, libc::SYS_mknodat,
];

/// Flags of `clone` that make namespaces, in which a process may do what it may not outside of them.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// What a process that compiles has no use for beyond that: sockets of any kind, programs, other processes.
#[rustfmt::skip]
const REFUSED_COMPILING: &[i64] = &[
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4,
    libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvmsg,
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_kill, libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr,
];

/// Which of it the operator wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Landlock: which files may be written and run.
    pub landlock: bool,
    /// Seccomp: which system calls may be made.
    pub seccomp: bool,
}

/// Something that is wanted and not in force.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not in force: {why}")]
pub struct Gap {
    /// What is missing.
    pub what: &'static str,
    /// Why.
    pub why: String,
}

fn gap(what: &'static str, why: impl ToString) -> Gap {
    Gap { what, why: why.to_string() }
}

/// The most open files that a process that serves asks for.
const FILES: u64 = 65_536;

/// What the default configuration may use: both listeners' connections, four of each guest, those that wait for their next request.
const FILES_NEEDED: u64 = 4_096;

/// Raises the limit on open files as far as it may be. Shells begin programs with 1,024 for the sake of very old ones: whoever holds as
/// many connections open would keep the others from being accepted, and guests from being answered.
fn more_files() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(FILES).min(FILES);
    if limit.current.is_some_and(|now| now < most) {
        let more = Rlimit { current: Some(most), maximum: limit.maximum };
        setrlimit(Resource::Nofile, more).map_err(|error| error.to_string())?;
    }
    if most < FILES_NEEDED {
        return Err(format!(
            "at most {most} files may be open, and {FILES_NEEDED} connections may come: raise the hard limit (`ulimit -Hn`, \
             `LimitNOFILE=`)"
        ));
    }
    Ok(())
}

/// For a process that serves: has as many files as it may, writes only below these folders, runs no program but this one (which
/// compiles uploads), gains no privileges, leaves no core file with customers' data in it. To be called before any other thread
/// runs.
///
/// What is not in force after it is returned, each with the reason.
pub fn serving(wanted: Wanted, folders: &[&Path]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut tried = |what, done: Result<(), String>| gaps.extend(done.err().map(|why| gap(what, why)));
    tried("no_new_privs", no_new_privileges().map_err(|error| error.to_string()));
    tried("the limit on open files", more_files());
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    tried("the ban on core files", setrlimit(Resource::Core, none).map_err(|error| error.to_string()));
    if wanted.landlock {
        tried("landlock", own_folders(folders));
    }
    if wanted.seccomp {
        tried("seccomp", refuse_calls(&SERVING));
    }
    gaps
}

/// For a process that compiles one upload and talks over pipes that are open already: no file at all, no program, no
/// socket, no other process.
///
/// What is not in force after it is returned, each with the reason.
pub fn compiling() -> Vec<Gap> {
    let landlock = no_files().err().map(|why| gap("landlock", why));
    let rules = || no_new_privileges().map_err(|error| error.to_string()).and_then(|()| refuse_calls(&COMPILING));
    landlock.into_iter().chain(rules().err().map(|why| gap("seccomp", why))).collect()
}

fn no_files() -> Result<(), String> {
    let closed = || {
        let rules = Ruleset::default().handle_access(AccessFs::from_all(LANDLOCK))?;
        let rules =
            rules.handle_access(AccessNet::from_all(LANDLOCK))?.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
        rules.create()
    };
    closed().map_err(|error| error.to_string()).and_then(enforce)
}

fn no_new_privileges() -> io::Result<()> {
    // SAFETY: sets a flag of the calling thread; no argument is an address.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn own_folders(folders: &[&Path]) -> Result<(), String> {
    let writes = AccessFs::from_write(LANDLOCK);
    let device = AccessFs::WriteFile | AccessFs::Truncate;
    let mut rules = (|| {
        let rules = Ruleset::default().handle_access(writes | AccessFs::Execute)?;
        rules.scope(Scope::AbstractUnixSocket | Scope::Signal)?.create()
    })()
    .map_err(|error: RulesetError| error.to_string())?;
    for folder in folders {
        rules = allow(rules, folder, writes)?;
    }
    // Where the output of a process that nobody listens to goes.
    rules = allow(rules, Path::new("/dev/null"), device)?;
    rules = allow(rules, Path::new("/proc/self/exe"), AccessFs::Execute.into())?;
    if let Some(loader) = loader().map_err(|error| format!("`/proc/self/maps` cannot be read: {error}"))? {
        rules = allow(rules, &loader, AccessFs::Execute.into())?;
    }
    enforce(rules)
}

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let open = PathFd::new(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    rules.add_rule(PathBeneath::new(open, access)).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn enforce(rules: RulesetCreated) -> Result<(), String> {
    let status = rules.restrict_self().map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("this kernel has an older one, and keeps a part of it".to_owned()),
        RulesetStatus::NotEnforced => Err("this kernel has none, or it is switched off".to_owned()),
    }
}

/// The file that loads this program's libraries, if it has any: it is what the kernel really runs first.
fn loader() -> io::Result<Option<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let mut loaders =
        files.filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-")));
    Ok(loaders.next().map(Path::to_owned))
}

/// Which calls a process gives up.
struct Calls {
    refused: &'static [&'static [i64]],
    /// Families of sockets that are left: for the internet. A socket in a file leads to other programs of this machine, which may do
    /// what this one gave up; pairs of sockets, which lead nowhere, are another call.
    families: &'static [i32],
    /// Flags of `clone` that must all be there: those of a thread, where no process is to be made.
    threads_only: bool,
}

const SERVING: Calls = Calls { refused: &[REFUSED], families: &[libc::AF_INET, libc::AF_INET6], threads_only: false };

const COMPILING: Calls = Calls { refused: &[REFUSED, REFUSED_COMPILING], families: &[], threads_only: true };

fn refuse_calls(calls: &Calls) -> Result<(), String> {
    let [filter, unknown] = [filter(calls), no_clone3()].map(|made| made.map_err(|error| error.to_string()));
    for filter in [filter?, unknown?] {
        seccompiler::apply_filter(&filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Refused calls fail with EPERM, as if the user might not make them.
fn filter(calls: &Calls) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = calls.refused.iter().flat_map(|calls| calls.iter());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused.map(|call| (*call, Vec::new())).collect();
    // They are small positive numbers.
    let is_not = |family: &i32| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *family as u64);
    if !calls.families.is_empty() {
        let other = SeccompRule::new(calls.families.iter().map(is_not).collect::<Result<_, _>>()?)?;
        rules.insert(libc::SYS_socket, vec![other]);
    }
    let flag = |flag: i32, wanted: bool| {
        let flag = flag as u64;
        let value = if wanted { flag } else { 0 };
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), value)?])
    };
    let mut clone = NAMESPACES.into_iter().map(|one| flag(one, true)).collect::<Result<Vec<_>, _>>()?;
    if calls.threads_only {
        clone.push(flag(libc::CLONE_THREAD, false)?);
        #[cfg(target_arch = "x86_64")]
        rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    }
    rules.insert(libc::SYS_clone, clone);
    if calls.threads_only {
        // On itself alone: it aborts by a signal, and sets its own bounds.
        let own = u64::from(std::process::id());
        let other = |argument: u8, own: u64| {
            SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?])
        };
        let others = [(libc::SYS_tgkill, 0, own), (libc::SYS_prlimit64, 0, 0), (libc::SYS_setpriority, 1, 0)];
        for (call, argument, own) in others.into_iter().chain([(libc::SYS_sched_setaffinity, 0, 0)]) {
            rules.insert(call, vec![other(argument, own)?]);
        }
    }
    let rules = with_x32(rules);
    let eperm = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, eperm, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// The same calls by the numbers of x32, which some kernels of x86-64 take as well: with a bit of their own, and a few anew.
#[cfg(target_arch = "x86_64")]
fn with_x32(rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    const BIT: i64 = 0x4000_0000;
    const ANEW: [(i64, i64); 8] = [
        (libc::SYS_execve, 520),
        (libc::SYS_execveat, 545),
        (libc::SYS_ptrace, 521),
        (libc::SYS_sendmsg, 518),
        (libc::SYS_recvmsg, 519),
        (libc::SYS_sendmmsg, 538),
        (libc::SYS_kexec_load, 528),
        (libc::SYS_rt_sigqueueinfo, 524),
    ];
    let mut all = rules.clone();
    all.extend(rules.iter().map(|(call, rules)| (call | BIT, rules.clone())));
    let anew = ANEW.into_iter().filter_map(|(call, number)| Some((number | BIT, rules.get(&call)?.clone())));
    all.extend(anew);
    all
}

#[cfg(not(target_arch = "x86_64"))]
fn with_x32(rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    rules
}

/// `clone3` hides its flags from filters. A libc that finds it unknown takes `clone` instead.
fn no_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = with_x32(BTreeMap::from([(libc::SYS_clone3, Vec::new())]));
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, unknown, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;

    /// What is given up stays given up for this thread alone.
    fn in_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    fn is_refused<T: std::fmt::Debug>(done: io::Result<T>) {
        assert_eq!(done.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_serving_process_writes_below_its_folder_only_and_runs_no_other_program() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("there"), "before").unwrap();
        in_a_thread(move || {
            let gaps = serving(Wanted { landlock: true, seccomp: false }, &[own.path()]);
            assert!(gaps.is_empty(), "{gaps:?}");
            fs::create_dir(own.path().join("folder")).unwrap();
            fs::write(own.path().join("folder/file"), "x").unwrap();
            fs::rename(own.path().join("folder/file"), own.path().join("file")).unwrap();
            fs::write("/dev/null", "x").unwrap();
            is_refused(fs::write(other.path().join("new"), "x"));
            is_refused(fs::write(other.path().join("there"), "after"));
            is_refused(fs::remove_file(other.path().join("there")));
            std::os::unix::fs::symlink(other.path(), own.path().join("out")).unwrap();
            is_refused(fs::write(own.path().join("out/new"), "x"));
            assert_eq!(fs::read_to_string(other.path().join("there")).unwrap(), "before");
            is_refused(Command::new("/bin/true").status());
            // This program, whose tests are listed and not run.
            let again = Command::new("/proc/self/exe").arg("--list").output().unwrap();
            assert!(again.status.success());
        });
    }

    #[test]
    fn a_compiling_process_opens_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        in_a_thread(move || {
            let gaps = compiling();
            assert!(gaps.is_empty(), "{gaps:?}");
            is_refused(fs::read("/etc/passwd"));
            is_refused(fs::read_dir("/"));
            is_refused(fs::write("/tmp/tidegate-hardening", "x"));
            is_refused(TcpStream::connect(address));
            is_refused(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
            is_refused(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
            is_refused(UnixStream::pair());
            is_refused(Command::new("/proc/self/exe").arg("--list").output());
            // SAFETY: makes a process, or none; were there one, it would end at once.
            let made = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if made == 0 {
                // SAFETY: ends the process without running anything of this one.
                unsafe { libc::_exit(0) };
            }
            assert_eq!((made, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            // Its threads are its own.
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        });
    }

    #[test]
    fn refused_calls_fail_and_others_do_not() {
        in_a_thread(|| {
            // SAFETY: asks for the personality, which it changes with no other argument than this one.
            let personality = || unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u64) };
            assert!(personality() >= 0);
            let gaps = serving(Wanted { landlock: false, seccomp: true }, &[Path::new("/nowhere")]);
            assert!(gaps.is_empty(), "{gaps:?}");
            assert_eq!((personality(), io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            // SAFETY: makes a socket, or none; nothing is done with it.
            let socket = |family| unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            assert_eq!((socket(libc::AF_NETLINK), io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            // SAFETY: makes a process in namespaces of its own, or none; were there one, it would end at once.
            let apart = || unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) };
            assert_eq!((apart(), io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            assert!(Command::new("/bin/true").status().unwrap().success(), "a process without namespaces");
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            // Other programs of this machine listen in files; Landlock does not know of that.
            is_refused(UnixStream::connect("/run/another-program"));
            UnixStream::pair().unwrap();
            assert!(fs::read_to_string("/proc/thread-self/status").unwrap().contains("NoNewPrivs:\t1"));
        });
    }

    #[test]
    fn what_cannot_be_had_is_said_and_stops_nothing() {
        in_a_thread(|| {
            let gaps = serving(Wanted { landlock: true, seccomp: false }, &[Path::new("/no/such/folder")]);
            assert_eq!(gaps.len(), 1);
            assert!(gaps[0].to_string().contains("landlock is not in force: `/no/such/folder`"), "{}", gaps[0]);
        });
    }
}
