//! Slices: how long a thread goes on before one that wakes gets its processor.
//!
//! Guarantees: what cannot be set is left as it is. Linux lets whoever computes finish a slice of some milliseconds; a thread with a
//! shorter one need not wait for that (from 6.12 on; older kernels take the wish and ignore it). So the short threads of a host,
//! which listen and write, do not stand behind guests that compute.

/// Nanoseconds of a thread that answers somebody: more than most of them take at once.
const SHORT: u64 = 300_000;

/// This thread, and those that it begins, go on for a short time only and wait as shortly.
pub fn short() {
    set(SHORT);
}

/// This thread, and those that it begins, go on as long as the system says.
pub fn usual() {
    set(0);
}

fn set(nanoseconds: u64) {
    // SAFETY: all of its fields are numbers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the address is that of a structure of this size, which lives on; 0 is the calling thread.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // Of other kinds of threads this number means something else.
    if read != 0 || ![libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&attributes.sched_policy.cast_signed()) {
        return;
    }
    attributes.sched_runtime = nanoseconds;
    // SAFETY: the address is that of a structure of the size that stands in it; 0 is the calling thread. A courtesy, which not
    // every system allows.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
