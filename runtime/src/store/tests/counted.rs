//! How many steps the database's machine takes for a data directory: what reading costs, without a clock.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use rusqlite::Connection;

static COUNTED: LazyLock<Mutex<HashMap<PathBuf, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

/// Steps since the last time.
pub(super) struct Steps(Arc<AtomicU64>);

impl Steps {
    /// Counts on every connection to this directory that is opened from now on.
    pub fn in_dir(dir: &Path) -> Self {
        let steps = Arc::clone(COUNTED.lock().unwrap().entry(dir.join("tidegate.db")).or_default());
        Self(steps)
    }

    pub fn taken(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Has a new connection counted if somebody asked for it.
pub(in super::super) fn watch(sql: &mut Connection, database: &Path) -> rusqlite::Result<()> {
    let Some(steps) = COUNTED.lock().unwrap().get(database).cloned() else { return Ok(()) };
    let count = move || {
        steps.fetch_add(1, Ordering::Relaxed);
        false
    };
    sql.progress_handler(1, Some(count))
}
