//! What was not taken, by source and code, since this process started.

use dashmap::DashMap;

use super::Code;
use crate::model::SourceId;

/// Counters of dropped events.
#[derive(Debug, Default)]
pub struct Counts(DashMap<(SourceId, Code), u64>);

impl Counts {
    /// Counts some events of a source.
    pub fn add(&self, source: SourceId, code: Code, events: usize) {
        if events > 0 {
            *self.0.entry((source, code)).or_default() += events as u64;
        }
    }

    /// All counters, sorted.
    pub fn all(&self) -> Vec<(SourceId, Code, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|entry| (entry.key().0, entry.key().1, *entry.value())).collect();
        all.sort_unstable();
        all
    }

    /// The counters of one source, sorted.
    pub fn of(&self, source: SourceId) -> Vec<(Code, u64)> {
        self.all().into_iter().filter(|(of, ..)| *of == source).map(|(_, code, events)| (code, events)).collect()
    }
}
