//! Many seeds of the simulation of the delivery core, on every processor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::delivery::{Simulated, Violation, simulate as one};

/// A time in hours, to a tenth.
fn hours(ms: u64) -> f64 {
    (ms as f64 / 360_000.0).round() / 10.0
}

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
        "virtual_hours": hours(sum.virtual_ms),
        "failing_destination": {
            "what": "simulated, in virtual time: a partner that fails 6.64 % of attempts at random and has outages of a minute",
            "owed": sum.failing,
            "delivered": sum.failing_delivered,
            "delivered_percent": (sum.failing > 0).then(|| sum.failing_delivered as f64 * 100.0 / sum.failing as f64),
            "delivered_percent_goal": 99.99,
            "seeds": seeds,
            "virtual_hours": hours(sum.failing_ms),
        },
        "seconds": (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    }))
}
