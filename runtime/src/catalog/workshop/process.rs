//! The process for one upload, seen from the one that serves: it is started, told its job, listened to, and ended.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::wire::{self, Job, Refusal, Reply};
use super::worker::Bounds;
use super::{COMMAND, MAX_ANSWER};

/// How such processes are started.
#[derive(Clone, Debug)]
pub struct Processes {
    /// This program.
    pub program: PathBuf,
    /// Bounds of each.
    pub bounds: Bounds,
    /// How long each may take.
    pub deadline: Duration,
}

/// Why an upload does not become a function.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Others are in work.
    #[error(
        "another upload of this partner, or of as many others as the host takes (`control.concurrent_uploads`), is \
         still being compiled: try again in a second"
    )]
    Busy,
    /// It is none.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// Its process used up its memory.
    #[error(
        "checking and compiling this upload takes more than {bytes} bytes of memory, the most that one may take here \
         (`control.upload_memory_bytes`): make its functions smaller"
    )]
    Memory {
        /// The bound.
        bytes: u64,
    },
    /// Its process used up its processor time.
    #[error(
        "checking and compiling this upload takes more than {seconds} s of processor time, the most that one may take \
         here (`control.upload_cpu_s`): make it or its functions smaller"
    )]
    Cpu {
        /// The bound.
        seconds: u64,
    },
    /// Its process did not end.
    #[error(
        "checking and compiling this upload was not finished after {seconds} s, the most that one may take here \
         (`control.upload_deadline_s`): make it smaller, or try again when the host has less to do"
    )]
    Deadline {
        /// The bound.
        seconds: u64,
    },
    /// Somebody or something else ended its process.
    #[error("the process that compiled this upload was ended from outside ({0}): try again")]
    Ended(ExitStatus),
    /// A fault of the host's own.
    #[error("the process that compiles uploads failed: {0}")]
    Failed(String),
}

/// What a process said.
pub(super) struct Answer {
    pub(super) manifest: crate::model::Manifest,
    pub(super) inspection: crate::model::Inspection,
    pub(super) findings: Vec<crate::catalog::Finding>,
    pub(super) component: Bytes,
    pub(super) code: Bytes,
    pub(super) known: Bytes,
}

impl Processes {
    /// Does a job in a process of its own. Dropping the future ends the process.
    pub(super) async fn work(&self, job: &Job, upload: &[u8], known: &[u8]) -> Result<Answer, WorkError> {
        let answer = self.run(job, upload, known).await?;
        let (reply, [component, code, known]) =
            wire::read(answer).map_err(|error: wire::BadMessage| WorkError::Failed(error.to_string()))?;
        match reply {
            Reply::Made { manifest, inspection, findings } => {
                Ok(Answer { manifest: *manifest, inspection, findings, component, code, known })
            }
            Reply::Refused(refusal) => Err(WorkError::Refused(refusal)),
            Reply::NoMemory => Err(WorkError::Memory { bytes: self.bounds.memory_bytes }),
            Reply::Failed(why) => Err(WorkError::Failed(why)),
        }
    }

    /// The machine code of a component that passed as an upload earlier.
    ///
    /// # Errors
    ///
    /// See [`WorkError`].
    pub async fn compile(&self, component: &[u8]) -> Result<Bytes, WorkError> {
        Ok(self.work(&Job::Component, component, &[]).await?.code)
    }

    /// The answer of a process that has ended well.
    async fn run(&self, job: &Job, upload: &[u8], known: &[u8]) -> Result<Bytes, WorkError> {
        let failed = |error: io::Error| WorkError::Failed(error.to_string());
        let head = wire::head(job, &[upload, known]).map_err(|error| WorkError::Failed(error.to_string()))?;
        let mut child = self.start().map_err(failed)?;
        let talk = talk(&mut child, [&head, upload, known]);
        let Ok(said) = tokio::time::timeout(self.deadline, talk).await else {
            // It is killed either way once it is dropped; waiting for it leaves no zombie until then.
            drop(child.kill().await);
            return Err(WorkError::Deadline { seconds: self.deadline.as_secs() });
        };
        let (answer, status) = said.map_err(failed)?;
        if status.success() {
            return Ok(answer.into());
        }
        let bounds = self.bounds;
        Err(match status.signal() {
            Some(signal) if signal == rustix::process::Signal::XCPU.as_raw() => {
                WorkError::Cpu { seconds: bounds.cpu_s }
            }
            // Rust ends a process that gets no memory, or no more stack, by this signal.
            Some(signal) if signal == rustix::process::Signal::ABORT.as_raw() => {
                WorkError::Memory { bytes: bounds.memory_bytes }
            }
            Some(_) => WorkError::Ended(status),
            None => WorkError::Failed(format!("it ended with {status}")),
        })
    }

    fn start(&self) -> io::Result<Child> {
        let Bounds { cpu_s, memory_bytes } = self.bounds;
        let mut command = Command::new(&self.program);
        command.args([COMMAND, "--cpu-s", &cpu_s.to_string(), "--memory-bytes", &memory_bytes.to_string()]);
        command.env_clear().current_dir("/").kill_on_drop(true);
        // What the allocator keeps in reserve would count as memory that is used.
        command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn()
    }
}

/// Writes the job while reading the answer, and waits for the end.
async fn talk(child: &mut Child, job: [&[u8]; 3]) -> io::Result<(Vec<u8>, ExitStatus)> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let write = async move {
        let Some(mut input) = input else { return };
        for piece in job {
            // A process that has gone does not read; how it ended says why.
            if input.write_all(piece).await.is_err() {
                return;
            }
        }
    };
    let read = async move {
        let mut answer = Vec::new();
        if let Some(output) = output {
            output.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, io::Error>(answer)
    };
    let ((), answer) = tokio::join!(write, read);
    Ok((answer?, child.wait().await?))
}
