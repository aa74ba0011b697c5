//! Before any event: an upload is checked, built and compiled in a process of its own, never in the one that serves.
//!
//! Guarantees: whatever an upload does to its process, it ends within its bounds of memory, processor time and time,
//! and the error names the bound; one partner has one upload at a time, so its bombs delay nobody else's; compiled code
//! is kept for the sandbox only after the process has ended well.
//! Leaves to others: reading the upload's body (`api`), storing the version (`store`), authenticating code (`sandbox`).

mod process;
mod wire;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Finding, structure};
use crate::model::{Digest, Inspection, Manifest, PartnerId, ScriptText};
use crate::sandbox::{MAX_KNOWN, Sandbox};
use process::Answer;

pub use process::{Processes, WorkError};
pub use wire::{Job, Refusal, Wrong};
pub use worker::{Bounds, work};

/// The hidden command of this program that [`work`] is behind.
pub const COMMAND: &str = "compile-worker";

/// Bytes of machine code: the largest upload compiles to less than three times its size.
const MAX_CODE: usize = 128 << 20;

/// Bytes of a whole answer.
const MAX_ANSWER: u64 = (structure::MAX_BYTES + MAX_CODE + MAX_KNOWN + (2 << 20)) as u64;

/// How long an upload waits for the one before it: about as long as the slowest ordinary one takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct WorkshopConfig {
    /// The process of each upload.
    pub processes: Processes,
    /// Uploads at the same time, over all partners.
    pub concurrent: usize,
}

impl WorkshopConfig {
    /// The program that runs now, also after its file was replaced by a newer one.
    pub fn this_program() -> PathBuf {
        let link = PathBuf::from("/proc/self/exe");
        if link.exists() { link } else { std::env::current_exe().unwrap_or(link) }
    }
}

/// Makes functions of uploads.
pub struct Workshop {
    config: WorkshopConfig,
    sandbox: Arc<Sandbox>,
    places: Arc<Semaphore>,
    partners: Mutex<HashMap<PartnerId, Arc<Semaphore>>>,
    patience: Duration,
}

/// A partner's own place, in which one upload of theirs arrives and is worked on.
pub struct Share {
    _own: OwnedSemaphorePermit,
}

/// The right to have one upload in work.
pub struct Turn {
    share: Share,
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// Gives the place back, for what is left to do takes none; the partner's next upload waits on.
    pub fn done(self) -> Share {
        self.share
    }
}

/// An upload that is a function.
#[derive(Debug)]
pub struct Made {
    /// Its manifest.
    pub manifest: Manifest,
    /// What it is made of.
    pub inspection: Inspection,
    /// What identifies it.
    pub digest: Digest,
    /// Its bytes.
    pub component: Bytes,
    /// What its author should look at; none of it is an error.
    pub findings: Vec<Finding>,
    /// What it was built of, if it was built here.
    pub script: Option<ScriptText>,
}

impl Workshop {
    /// A workshop that keeps compiled code in this sandbox.
    pub fn new(config: WorkshopConfig, sandbox: Arc<Sandbox>) -> Self {
        let places = Arc::new(Semaphore::new(config.concurrent));
        Self { config, sandbox, places, partners: Mutex::default(), patience: PATIENCE }
    }

    /// Waits until this partner has no other upload. To be asked for before one is read: one that comes slowly is waited
    /// for by its partner's others only.
    ///
    /// # Errors
    ///
    /// [`WorkError::Busy`] after a while.
    pub async fn share(&self, partner: PartnerId) -> Result<Share, WorkError> {
        let own = {
            let mut partners = self.partners.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever has an upload holds a second reference; the others need not be remembered.
            partners.retain(|_, own| Arc::strong_count(own) > 1);
            Arc::clone(partners.entry(partner).or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        self.soon(own).await.map(|own| Share { _own: own })
    }

    /// Waits for one of the places that all partners share. To be asked for when the upload is there, and before it is taken into
    /// memory, so that nothing large waits in it.
    ///
    /// # Errors
    ///
    /// [`WorkError::Busy`] after a while.
    pub async fn turn(&self, share: Share) -> Result<Turn, WorkError> {
        let place = self.soon(Arc::clone(&self.places)).await?;
        Ok(Turn { share, _place: place })
    }

    async fn soon(&self, places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, WorkError> {
        let place = tokio::time::timeout(self.patience, places.acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(WorkError::Busy)
    }

    /// Makes a function of an upload. Dropping the future ends the process.
    ///
    /// # Errors
    ///
    /// See [`WorkError`]; nothing is kept then.
    pub async fn make(&self, _turn: &Turn, job: Job, upload: Bytes) -> Result<Made, WorkError> {
        let known = match &job {
            Job::Component => Vec::new(),
            Job::Source { .. } => self.sandbox.known().await,
        };
        let Answer { manifest, inspection, findings, component, code, known } =
            self.config.processes.work(&job, &upload, &known).await?;
        let (component, script) = match job {
            Job::Component => (upload, None),
            // Others than text are not built.
            Job::Source { file, .. } => {
                (component, String::from_utf8(upload.into()).ok().map(|text| ScriptText { file, text }))
            }
        };
        let hashed = component.clone();
        let failed = |error: &dyn std::fmt::Display| WorkError::Failed(error.to_string());
        let digest = tokio::task::spawn_blocking(move || Digest(Sha256::digest(&hashed).into()));
        let digest = digest.await.map_err(|error| failed(&error))?;
        self.sandbox.keep(digest, code).await.map_err(|error| failed(&error))?;
        if !known.is_empty() {
            self.sandbox.keep_known(known).await.map_err(|error| failed(&error))?;
        }
        Ok(Made { manifest, inspection, digest, component, findings, script })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::sandbox::SandboxConfig;

    fn workshop(program: &str) -> Workshop {
        let sandbox = Sandbox::start(&SandboxConfig { max_instances: 1, ..SandboxConfig::in_memory() }).unwrap();
        let bounds = Bounds { cpu_s: 1, memory_bytes: 1 << 30 };
        let deadline = Duration::from_secs(1);
        let processes = Processes { program: PathBuf::from(program), bounds, deadline };
        let config = WorkshopConfig { processes, concurrent: 2 };
        Workshop::new(config, Arc::new(sandbox))
    }

    #[tokio::test]
    async fn a_partner_has_one_upload_at_a_time_and_delays_no_other() {
        let workshop = Workshop { patience: Duration::ZERO, ..workshop("/bin/false") };
        let partner = || PartnerId::new(Timestamp::from_millis(1));
        let (one, other) = (partner(), partner());
        let share = workshop.share(one).await.unwrap();
        assert!(matches!(workshop.share(one).await, Err(WorkError::Busy)));
        // Uploads that arrive take nobody's place.
        let shares = [workshop.share(other).await.unwrap(), workshop.share(partner()).await.unwrap()];
        let turn = workshop.turn(share).await.unwrap();
        let [second, third] = shares.map(|share| workshop.turn(share));
        let second = second.await.unwrap();
        assert!(matches!(third.await, Err(WorkError::Busy)), "two in all");
        drop(turn);
        drop(workshop.turn(workshop.share(one).await.unwrap()).await.unwrap());
        drop(second);
        assert_eq!(workshop.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_process_that_does_not_do_its_work_is_an_error_that_says_how_it_ended() {
        for (program, expected) in [
            ("/bin/false", "ended with exit status: 1"),
            ("/bin/true", "cut off"),
            ("/no/such/program", "No such file"),
        ] {
            let workshop = workshop(program);
            let share = workshop.share(PartnerId::new(Timestamp::from_millis(1))).await.unwrap();
            let turn = workshop.turn(share).await.unwrap();
            let error = workshop.make(&turn, Job::Component, Bytes::from_static(b"x")).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{program}: {error}");
        }
    }
}
