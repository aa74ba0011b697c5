//! Seats: a processor for each thread that guests run on.
//!
//! Guarantees: what cannot be set is left as it is, and nothing is set where there are fewer such threads than processors, since others may
//! have set the same. Linux puts a thread that wakes behind one that computes, and leaves it there for its slice although another processor
//! is free, where those are never idle for long. So what is to begin now waits for as long as what has begun computes: without seats for
//! up to a millisecond in one attempt of twenty, beside two hundred attempts a second on two processors.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The seats of so many threads.
#[derive(Debug)]
pub struct Seats {
    all: Option<CpuSet>,
    taken: AtomicUsize,
}

impl Seats {
    /// For so many threads, among the processors that this thread may use.
    pub fn new(threads: usize) -> Self {
        let all = sched_getaffinity(None).ok().filter(|all| all.count() as usize == threads);
        Self { all, taken: AtomicUsize::new(0) }
    }

    /// This thread runs on a processor of its own from now on; where all seats are taken, on any, whoever began it.
    pub fn take(&self) {
        let Some(all) = &self.all else { return };
        let nth = self.taken.fetch_add(1, Ordering::Relaxed);
        let mut seat = *all;
        if let Some(processor) = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)).nth(nth) {
            seat.clear();
            seat.set(processor);
        }
        // A courtesy, which not every system allows.
        let _ = sched_setaffinity(None, &seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect()
    }

    #[test]
    fn each_of_as_many_threads_as_processors_has_one_of_its_own_and_later_ones_have_all() {
        let all = mine();
        let seats = Seats::new(all.len());
        let take = || {
            let taken = || (seats.take(), mine()).1;
            std::thread::scope(|scope| scope.spawn(taken).join().unwrap())
        };
        let own: Vec<_> = all.iter().flat_map(|_| take()).collect();
        assert_eq!(own, all);
        assert_eq!(take(), all);
    }

    #[test]
    fn fewer_threads_than_processors_are_left_alone() {
        let all = mine();
        let seats = Seats::new(all.len() + 1);
        seats.take();
        assert_eq!(mine(), all);
    }
}
