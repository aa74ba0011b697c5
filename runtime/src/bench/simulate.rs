//! Many seeds of the simulation of the delivery core, on every processor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::delivery::{Simulated, Violation, simulate as one};

/// Simulates these seeds, and says what they came to.
///
/// # Errors
/// The promise that was broken with the lowest seed of those that were tried.
pub fn simulate(first: u64, seeds: u64) -> Result<Value, Violation> {
    let began = Instant::now();
    let (next, end) = (AtomicU64::new(first), first.saturating_add(seeds));
    let work = || {
        let mut sum = Simulated::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(sum);
            }
            match one(seed) {
                Ok(simulated) => sum.add(&simulated),
                Err(violation) => {
                    // The others end with the seed that they are at.
                    next.store(end, Ordering::Relaxed);
                    return Err(violation);
                }
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let ended: Vec<Result<Simulated, Violation>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let (mut sum, mut broken) = (Simulated::default(), None);
    for one in ended {
        match one {
            Ok(simulated) => sum.add(&simulated),
            Err(violation) if broken.as_ref().is_none_or(|other: &Violation| violation.seed < other.seed) => {
                broken = Some(violation);
            }
            Err(_) => {}
        }
    }
    if let Some(violation) = broken {
        return Err(violation);
    }
    Ok(json!({
        "seeds": seeds,
        "accepted": sum.accepted,
        "happenings": sum.steps,
        "failing_delivered": sum.failing_delivered,
        "failing_owed": sum.failing,
        "failing_delivered_percent": sum.failing_delivered as f64 * 100.0 / sum.failing.max(1) as f64,
        "seconds": (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    }))
}
