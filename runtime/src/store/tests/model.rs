//! Any sequence of steps, also with restarts in between, compared with a simple model of what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{DeliveryId, DeliveryState, FilterReason, ReplayState, ReplayVersion};
use crate::store::{Cursor, DeliveryFilter, NewReplay, Readmission, ReplayStep, Settled, Wanted};

/// One step. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    /// Events with these numbers as ids, each owed to both, to one, or filtered for one.
    Accept(Vec<(u8, u8)>),
    Claim {
        destination: usize,
        most: usize,
        later: u64,
    },
    Settle(Vec<(usize, Ending)>),
    /// Settles under a lease that was given up before.
    Stale(usize),
    Revive(usize),
    /// A replay of what is dead, delivered or both, that looks at so many.
    Replay {
        destination: usize,
        states: &'static [DeliveryState],
        most: usize,
    },
    Reopen,
    DeleteConnection(usize),
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Delivered,
    Filtered,
    Dead,
    Retry(u64),
    Release,
}

impl Ending {
    fn settle(self) -> Settle {
        match self {
            Self::Delivered => Settle::Delivered,
            Self::Filtered => Settle::Filtered(FilterReason::Unsupported),
            Self::Dead => Settle::Dead,
            Self::Retry(at) => Settle::RetryAt(later(at)),
            Self::Release => Settle::Release,
        }
    }
}

fn any_ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::Delivered),
        1 => Just(Ending::Filtered),
        1 => Just(Ending::Dead),
        2 => (0..20_u64).prop_map(Ending::Retry),
        1 => Just(Ending::Release),
    ]
}

const REPLAYED: [&[DeliveryState]; 3] =
    [&[DeliveryState::Dead], &[DeliveryState::Delivered], &[DeliveryState::Dead, DeliveryState::Delivered]];

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((0..40_u8, 0..4_u8), 1..8).prop_map(Step::Accept),
        6 => (0..2_usize, 1..9_usize, 0..20_u64).prop_map(|(destination, most, later)| Step::Claim { destination, most, later }),
        8 => proptest::collection::vec((any::<usize>(), any_ending()), 1..6).prop_map(Step::Settle),
        1 => any::<usize>().prop_map(Step::Stale),
        2 => any::<usize>().prop_map(Step::Revive),
        2 => (0..2_usize, proptest::sample::select(&REPLAYED), 1..9_usize)
            .prop_map(|(destination, states, most)| Step::Replay { destination, states, most }),
        2 => Just(Step::Reopen),
        1 => (0..2_usize).prop_map(Step::DeleteConnection),
    ]
}

/// What must be true.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u8>,
    /// By message id, destination, and how often a replay owed it anew.
    deliveries: BTreeMap<(String, usize, u32), Expected>,
    deleted: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Expected {
    state: DeliveryState,
    attempts: u32,
    /// Whether it was written down to be made again: after a failure, or by a replay.
    again: bool,
    due: u64,
    id: Option<DeliveryId>,
}

struct Run {
    bed: Bed,
    model: Model,
    held: Vec<(ClaimedDelivery, usize)>,
    /// Leases that are not the newest any more.
    stale: Vec<ClaimedDelivery>,
    opened: u64,
}

impl Run {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Accept(events) => self.accept(&events).await,
            Step::Claim { destination, most, later } => self.claim(destination, most, later).await,
            Step::Settle(endings) => self.settle(endings).await,
            Step::Stale(which) => {
                let Some(stale) = pick(&self.stale, which).cloned() else { return };
                assert_eq!(self.bed.settle(&stale, Settle::Dead).await, Settled::LeaseLost);
            }
            Step::Revive(which) => self.revive(which).await,
            Step::Replay { destination, states, most } => self.replay(destination, states, most).await,
            Step::Reopen => self.reopen(),
            Step::DeleteConnection(which) => self.delete(which).await,
        }
    }

    async fn accept(&mut self, events: &[(u8, u8)]) {
        let mut batch = Vec::new();
        let mut new = 0;
        for (id, owed) in events {
            let mut event = self.bed.event(&id.to_string());
            event.owed[1].state = match owed {
                1 => OwedState::Filtered(FilterReason::Integrations),
                _ => OwedState::Pending,
            };
            if *owed == 2 {
                event.owed.remove(0);
            }
            if self.model.seen.insert(*id) {
                new += 1;
                for owed in &event.owed {
                    let to = self.bed.destinations.iter().position(|d| d.id == owed.destination).unwrap();
                    let pending = owed.state == OwedState::Pending && !self.model.deleted.contains(&to);
                    let state = if pending { DeliveryState::Pending } else { DeliveryState::Filtered };
                    let expected = Expected { state, attempts: 0, again: false, due: 0, id: None };
                    self.model.deliveries.insert((id.to_string(), to, 0), expected);
                }
            }
            batch.push(event);
        }
        assert_eq!(self.bed.store.accept(batch).await.unwrap().accepted, new);
    }

    /// Everything that is owed, due and free must be claimed, as far as the claim goes, and nothing else.
    async fn claim(&mut self, destination: usize, most: usize, at: u64) {
        let held: BTreeSet<_> = self.held.iter().map(|(delivery, _)| delivery.id).collect();
        let to = self.bed.destinations[destination].id;
        let free = |key: &(String, usize, u32), expected: &Expected| {
            key.1 == destination
                && expected.state == DeliveryState::Pending
                && expected.due <= at
                && expected.id.is_none_or(|id| !held.contains(&id))
        };
        let available = |again: bool| {
            let all = self.model.deliveries.iter().filter(|(key, expected)| free(key, expected));
            all.filter(|(_, expected)| expected.again == again).count().min(most)
        };
        let (fresh, retries) = (available(false), available(true));
        let claimed = self.bed.store.claim(to, want(most), later(at)).await.unwrap();
        assert_eq!(claimed.iter().filter(|delivery| delivery.again).count(), retries);
        assert_eq!(claimed.len(), fresh + retries);
        for delivery in claimed {
            let key = self.key(&delivery, destination);
            let expected = self.model.deliveries.get_mut(&key).unwrap();
            assert!(free(&key, expected), "{key:?} {expected:?}");
            assert_eq!(delivery.attempt, expected.attempts + 1);
            assert!(expected.id.is_none_or(|id| id == delivery.id));
            expected.id = Some(delivery.id);
            self.held.push((delivery, destination));
        }
    }

    async fn settle(&mut self, endings: Vec<(usize, Ending)>) {
        let mut settlements = Vec::new();
        for (which, ending) in endings {
            if self.held.is_empty() {
                break;
            }
            let (delivery, destination) = self.held.swap_remove(which % self.held.len());
            settlements.push(settlement(&delivery, ending.settle()));
            let key = self.key(&delivery, destination);
            let expected = self.model.deliveries.get_mut(&key).unwrap();
            match ending {
                Ending::Delivered => expected.state = DeliveryState::Delivered,
                Ending::Filtered => expected.state = DeliveryState::Filtered,
                Ending::Dead => (expected.state, expected.attempts) = (DeliveryState::Dead, delivery.attempt),
                Ending::Retry(at) => {
                    (expected.due, expected.attempts, expected.again) = (at, delivery.attempt, true);
                }
                Ending::Release => {}
            }
            self.stale.push(delivery);
        }
        let settled = self.bed.store.settle(settlements).await.unwrap();
        assert!(settled.iter().all(|settled| *settled == Settled::Done), "{settled:?}");
    }

    async fn revive(&mut self, which: usize) {
        let dead = self.model.deliveries.iter_mut().filter(|(_, expected)| expected.state == DeliveryState::Dead);
        let mut dead: Vec<_> = dead.collect();
        let Some(((_, destination, _), expected)) = (!dead.is_empty()).then(|| dead.swap_remove(which % dead.len()))
        else {
            return;
        };
        let revived = self.bed.store.retry(&self.bed.actor, expected.id.unwrap()).await;
        assert_eq!(revived.is_ok(), !self.model.deleted.contains(destination), "{revived:?}");
        if revived.is_ok() {
            // Due at once, by the store's clock.
            (expected.state, expected.due, expected.again) = (DeliveryState::Pending, self.opened, true);
        }
    }

    /// Which delivery of its event this is: the one that is known by its id, or the newest.
    fn key(&self, delivery: &ClaimedDelivery, destination: usize) -> (String, usize, u32) {
        let message = delivery.event.message_id.clone();
        let all = self.model.deliveries.range((message.clone(), destination, 0)..=(message, destination, u32::MAX));
        let known = all.clone().find(|(_, expected)| expected.id == Some(delivery.id));
        known.or(all.last()).unwrap().0.clone()
    }

    /// The newest delivery of each event speaks for it: a dead one is owed again, a delivered one is owed anew.
    async fn replay(&mut self, destination: usize, states: &'static [DeliveryState], most: usize) {
        let (store, actor, to) = (&self.bed.store, &self.bed.actor, self.bed.destinations[destination].id);
        let filter = DeliveryFilter { states: states.to_vec(), destination: Some(to), ..DeliveryFilter::default() };
        let (destinations, until) = store.replay_scope(actor, &filter).await.unwrap();
        let (version, events_per_s, matching) = (ReplayVersion::Current, 1, 0);
        let new = NewReplay { filter: filter.clone(), version, events_per_s, until, matching, destinations };
        let replay = store.create_replay(actor, new).await.unwrap().id;
        let wanted = Wanted { filter, destination: to, until, from: Cursor::default(), most };
        let found = store.replay_candidates(wanted).await.unwrap();
        let newest: BTreeMap<_, _> = self
            .model
            .deliveries
            .iter()
            .filter(|((_, to, _), _)| *to == destination)
            .map(|((message, _, time), expected)| (message.clone(), (*time, expected.state)))
            .collect();
        let fitting = newest.values().filter(|(_, state)| states.contains(state)).count();
        assert_eq!(found.items.len(), fitting.min(most));
        let items = found
            .items
            .iter()
            .map(|candidate| (candidate.delivery, Readmission::Owe { was: candidate.state, version: None }))
            .collect();
        store.replay_step(replay, vec![ReplayStep { destination: to, items, next: found.next }]).await.unwrap();
        let deleted = self.model.deleted.contains(&destination);
        for candidate in found.items {
            let message = candidate.event.message_id;
            let (time, state) = newest[&message];
            assert_eq!(candidate.state, state);
            let key = (message.clone(), destination, time);
            let expected = self.model.deliveries.get_mut(&key).unwrap();
            assert!(expected.id.is_none_or(|id| id == candidate.delivery), "{key:?}");
            if !deleted && state == DeliveryState::Dead {
                (expected.state, expected.due, expected.again) = (DeliveryState::Pending, self.opened, true);
            } else if !deleted {
                let (state, due) = (DeliveryState::Pending, self.opened);
                let anew = Expected { state, attempts: 0, again: true, due, id: None };
                self.model.deliveries.insert((message, destination, time + 1), anew);
            }
        }
        let replay = store.get_replay(actor, replay).await.unwrap();
        let left = replay.skipped.values().sum::<u64>();
        assert_eq!(replay.released + left, fitting.min(most) as u64, "{replay:?}");
        if replay.ended_at.is_none() {
            store.change_replay(actor, replay.id, ReplayState::Cancelled).await.unwrap();
        }
    }

    fn reopen(&mut self) {
        self.opened += 1;
        self.stale.extend(self.held.drain(..).map(|(delivery, _)| delivery));
        // The old one has to be gone before the new one can have the directory: another one takes its place meanwhile.
        let elsewhere = tempfile::tempdir().unwrap();
        drop(std::mem::replace(&mut self.bed.store, open(elsewhere.path())));
        self.bed.store = open_at(self.bed.dir.path(), later(self.opened));
    }

    async fn delete(&mut self, which: usize) {
        if self.model.deleted.insert(which) {
            self.bed.store.delete_connection(&self.bed.actor, self.bed.connections[which].id).await.unwrap();
            self.stale.extend(self.held.extract_if(.., |(_, to)| *to == which).map(|(delivery, _)| delivery));
            for (_, expected) in self.model.deliveries.iter_mut().filter(|((_, to, _), _)| *to == which) {
                if expected.state == DeliveryState::Pending {
                    expected.state = DeliveryState::Filtered;
                }
            }
        }
    }

    async fn check(&self) {
        let count = |state| self.model.deliveries.values().filter(|expected| expected.state == state).count() as u64;
        let [pending, delivered, filtered, dead] = DeliveryState::ALL.map(count);
        let all = self.model.deliveries.len() as u64;
        assert_eq!(self.bed.ledger().await, counts(all, delivered, filtered, dead, pending));
    }
}

fn pick<T>(among: &[T], which: usize) -> Option<&T> {
    among.get(which.checked_rem(among.len())?)
}

proptest! {
    // Every step is a commit that waits for the disk: a few dozen sequences are what a test may take.
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_does_what_the_model_does(steps in proptest::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = Bed::new(2).await;
            let mut run = Run { bed, model: Model::default(), held: Vec::new(), stale: Vec::new(), opened: 0 };
            for step in steps {
                run.step(step).await;
                run.check().await;
            }
        });
    }
}
