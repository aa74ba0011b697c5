//! Simulation of the delivery core: the host's own state machines in virtual time, with a store, partners, crashes and
//! faults that a seed decides.
//!
//! Guarantees: the same seed does the same, except for the ids of things, on which nothing depends. What is asserted: the
//! ledger holds; what is accepted arrives at least once or is given up for a reason; order, rates and the share of
//! retries are kept; sick destinations cost healthy ones no more than half of their 99th percentile; an overload is
//! worked off in the time that it takes.

mod checks;
mod partner;
mod scenario;
mod store;
mod world;

use partner::Kind;
use scenario::Scenario;
use world::World;

/// What one seed came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Simulated {
    /// Events that were accepted.
    pub accepted: u64,
    /// Happenings in virtual time.
    pub steps: u64,
    /// Deliveries to partners that fail 6.64 % of attempts and have outages of a minute.
    pub failing: u64,
    /// Those of them that were delivered.
    pub failing_delivered: u64,
}

impl Simulated {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.steps += other.steps;
        self.failing += other.failing;
        self.failing_delivered += other.failing_delivered;
    }
}

/// A promise that was broken.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Violation {
    /// Which seed shows it again.
    pub seed: u64,
    /// What was broken.
    pub what: String,
}

/// Simulates one seed.
///
/// # Errors
/// The first promise that was broken.
pub fn simulate(seed: u64) -> Result<Simulated, Violation> {
    run(seed).map_err(|what| Violation { seed, what })
}

fn run(seed: u64) -> Result<Simulated, String> {
    let scenario = Scenario::of(seed);
    let mut world = World::new(&scenario, seed);
    world.run()?;
    world.checks.ended(&world.store, &scenario.destinations)?;
    if scenario.is_calm() {
        compare(&scenario, &mut world, seed)?;
    }
    let mut simulated =
        Simulated { accepted: world.store.owed.len() as u64, steps: world.steps, ..Simulated::default() };
    for owed in world.store.owed.iter().filter(|owed| scenario.destinations[owed.destination].kind == Kind::Failing) {
        simulated.failing += u64::from(!owed.poison);
        simulated.failing_delivered += u64::from(owed.state == store::State::Delivered);
    }
    Ok(simulated)
}

/// Healthy destinations beside sick ones, and the same without them.
fn compare(scenario: &Scenario, world: &mut World<'_>, seed: u64) -> Result<(), String> {
    let alone = scenario.healthy_alone();
    let mut calm = World::new(&alone, seed);
    calm.run()?;
    for destination in 0..alone.destinations.len() {
        let (with, without) = (world.checks.p99(destination), calm.checks.p99(destination));
        // Moments are whole milliseconds, and one is lost to rounding on each side.
        if with > without * 3 / 2 + 2 {
            return Err(format!(
                "p99 of healthy destination {destination} is {with} ms, {without} ms without the sick ones"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds of every run of the tests; `tidegate bench simulate` takes any number.
    const SEEDS: u64 = 60;

    #[test]
    fn every_promise_holds_for_these_seeds() {
        let mut sum = Simulated::default();
        for seed in 0..SEEDS {
            sum.add(&simulate(seed).unwrap_or_else(|violation| panic!("{violation}")));
        }
        assert!(sum.failing > 1_000, "{sum:?}");
        assert!(sum.failing_delivered * 10_000 >= sum.failing * 9_999, "{sum:?}");
    }

    #[test]
    fn each_mistake_that_could_be_made_is_noticed_within_these_seeds() {
        use crate::delivery::mistakes::{Mistake, making};

        // What is said then, so that each is noticed for what it is.
        let mistakes = [
            (Mistake::FenceMissing, "settled"),
            (Mistake::PendingLostInCrash, "order"),
            (Mistake::LedgerForgets, "the ledger says"),
            (Mistake::RetryBudgetIgnored, "budget"),
            (Mistake::GivenUpEarly, "given up within its window"),
            (Mistake::FailureTakenForSuccess, "was never taken"),
            (Mistake::WishIgnored, "wish"),
            (Mistake::HoldIgnored, "hold"),
            (Mistake::LearnedRateStays, "throttled"),
            (Mistake::RampMissing, "ramp"),
            (Mistake::SetRateIgnored, "rate"),
            (Mistake::BreakerStaysClosed, "breaker"),
            (Mistake::ProbesUnbounded, "breaker"),
            (Mistake::OrderIgnored, "order"),
            (Mistake::BisectionMissing, "was given up"),
            (Mistake::CapIgnored, "places"),
            (Mistake::PlacesUnshared, "p99"),
        ];
        let mut wrong = Vec::new();
        for (mistake, wanted) in mistakes {
            // Most show at once; the ones that are hard to see are looked for where they are.
            let from = if mistake == Mistake::PlacesUnshared { 54 } else { 0 };
            match making(mistake, || (from..from + SEEDS).find_map(|seed| simulate(seed).err())) {
                Some(violation) if violation.what.contains(wanted) => {}
                noticed => wrong.push(format!("{mistake:?}: {noticed:?}")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_seed_does_the_same_each_time() {
        for seed in [3, 8] {
            assert_eq!(simulate(seed).unwrap(), simulate(seed).unwrap());
        }
    }
}
