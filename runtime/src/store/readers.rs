//! A few connections that read beside the writer.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::StoreError;
use super::open;
use super::sealing::Sealing;
use super::types::Places;

/// The connections. Whoever reads holds one for the time of the reading.
pub(super) struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    count: u32,
    places: Places,
    sealing: Arc<Sealing>,
}

impl Readers {
    pub fn new(places: Places, count: u32, sealing: Arc<Sealing>) -> Self {
        let count = count.max(1);
        let permits = Arc::new(Semaphore::new(count as usize));
        Self { free: Mutex::default(), permits, count, places, sealing }
    }

    /// Reads on a thread that may wait for the disk.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = |why: &str| StoreError::Stopped(why.into());
        // The permit goes with the work: a caller who stops waiting does not let another one in too early.
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopped("it was closed"))?;
        let this = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let result = this.with(read);
            drop(permit);
            result
        });
        match work.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(stopped("the runtime is shutting down")),
        }
    }

    /// Waits until every reading that has begun by now has ended.
    pub async fn passed(&self) {
        // It is never closed.
        drop(self.permits.acquire_many(self.count).await);
    }

    /// Reads on this thread.
    pub fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let sql = match free {
            Some(sql) => sql,
            None => {
                let sql = open::reader(&self.places)?;
                self.sealing.lend(&sql)?;
                sql
            }
        };
        let result = read(&sql);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(sql);
        result
    }
}
