//! Dispatch: which destination's delivery is attempted next.
//!
//! Guarantees: one lane for each destination, served in turn, so that one that hangs fills only its own cap; caps on
//! attempts under way for each destination and overall; on shutdown attempts get time to end, and what has not
//! ended by then is given back without costing an attempt.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempts, released};
use super::lane::{CLAIM_BYTES, CLAIM_EVENTS, Lane, Turn};
use super::{DeliveryConfig, settler};
use crate::model::{ClaimedDelivery, DestinationId, Timestamp};
use crate::store::{Settlement, StoreError};

/// How long the dispatcher sleeps at most before it looks for due retries: a clock that was set back must not hold them for longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

enum Message {
    Claimed(DestinationId, Result<Vec<ClaimedDelivery>, StoreError>),
    Attempted { destination: DestinationId, host_fault: bool },
    Stopped(StoreError),
}

pub(super) struct Dispatcher {
    attempts: Arc<Attempts>,
    config: DeliveryConfig,
    lanes: HashMap<DestinationId, Lane>,
    turns: VecDeque<DestinationId>,
    in_flight: usize,
    wake_at: Option<Timestamp>,
    messages: mpsc::UnboundedReceiver<Message>,
    tell: mpsc::UnboundedSender<Message>,
    settlements: mpsc::Sender<Settlement>,
    abandon: CancellationToken,
}

/// Delivers until `stop` is cancelled or the store fails; returns when everything under way is settled.
pub(super) async fn run(attempts: Attempts, config: DeliveryConfig, stop: CancellationToken) -> Result<(), StoreError> {
    let attempts = Arc::new(attempts);
    // Unbounded, but no more can be in it than there are attempts and claims under way.
    let (tell, messages) = mpsc::unbounded_channel();
    let (settlements, incoming) = mpsc::channel(settler::WAITING);
    let settler = {
        let (store, tell) = (Arc::clone(&attempts.store), tell.clone());
        tokio::spawn(async move {
            if let Err(error) = settler::run(store, incoming).await {
                drop(tell.send(Message::Stopped(error)));
            }
        })
    };
    let mut dispatcher = Dispatcher {
        attempts,
        config,
        lanes: HashMap::new(),
        turns: VecDeque::new(),
        in_flight: 0,
        wake_at: None,
        messages,
        tell,
        settlements,
        abandon: CancellationToken::new(),
    };
    let ended = dispatcher.serve(&stop).await;
    dispatcher.drain().await;
    let Dispatcher { settlements, .. } = dispatcher;
    drop(settlements);
    if let Err(error) = settler.await {
        tracing::error!(%error, "the settler ended early");
    }
    ended
}

impl Dispatcher {
    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        for destination in self.attempts.store.pending_destinations() {
            self.more(destination);
        }
        self.look_for_due();
        let store = Arc::clone(&self.attempts.store);
        loop {
            let sleep = self.start_what_may();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(message) = self.messages.recv() => {
                    self.hear(message)?;
                    while let Ok(message) = self.messages.try_recv() {
                        self.hear(message)?;
                    }
                }
                ready = store.wait_ready() => {
                    ready.into_iter().for_each(|destination| self.more(destination));
                    self.look_for_due();
                }
                () = tokio::time::sleep(sleep) => self.look_for_due(),
            }
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), StoreError> {
        match message {
            Message::Claimed(destination, claimed) => {
                let lane = self.lanes.entry(destination).or_default();
                lane.end_claim(claimed?);
                self.turns.push_back(destination);
            }
            Message::Attempted { destination, host_fault } => {
                self.in_flight -= 1;
                let now = self.attempts.clock.now();
                self.lanes.entry(destination).or_default().end_attempt(host_fault, now);
                self.turns.push_back(destination);
            }
            Message::Stopped(error) => return Err(error),
        }
        Ok(())
    }

    fn more(&mut self, destination: DestinationId) {
        self.lanes.entry(destination).or_default().more();
        self.turns.push_back(destination);
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    fn look_for_due(&mut self) {
        let now = self.attempts.clock.now();
        let (due, next) = self.attempts.store.due(now);
        self.wake_at = next;
        due.into_iter().for_each(|destination| self.more(destination));
        // A held lane has no event of its own to wake it.
        let held: Vec<_> = self.lanes.keys().copied().collect();
        self.turns.extend(held);
    }

    /// Gives each lane that may start something one attempt at a time, in turn, and says how long nothing will change.
    fn start_what_may(&mut self) -> Duration {
        let now = self.attempts.clock.now();
        while let Some(destination) = self.turns.pop_front() {
            let Some(lane) = self.lanes.get_mut(&destination) else { continue };
            if lane.begin_claim() {
                self.claim(destination, now);
            }
            if self.in_flight >= self.config.in_flight {
                // The lane keeps its turn for when an attempt ends.
                self.turns.push_front(destination);
                break;
            }
            self.give_turn(destination, now);
        }
        let until = self.wake_at.map_or(LONGEST_SLEEP, |at| at.since(now));
        until.clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    fn give_turn(&mut self, destination: DestinationId, now: Timestamp) {
        let batch = self.attempts.batch(destination);
        let Some(lane) = self.lanes.get_mut(&destination) else { return };
        match lane.turn(self.config.in_flight_per_destination, batch.as_ref(), now) {
            Turn::Start(deliveries) => {
                self.in_flight += 1;
                self.turns.push_back(destination);
                self.start(destination, deliveries);
            }
            Turn::Wait(until) => self.wake_at(until),
            Turn::Idle if lane.is_idle() => drop(self.lanes.remove(&destination)),
            Turn::Idle => {}
        }
    }

    fn claim(&self, destination: DestinationId, now: Timestamp) {
        let (attempts, tell) = (Arc::clone(&self.attempts), self.tell.clone());
        tokio::spawn(async move {
            let claimed = attempts.store.claim(destination, CLAIM_EVENTS, CLAIM_BYTES, now).await;
            drop(tell.send(Message::Claimed(destination, claimed)));
        });
    }

    fn start(&self, destination: DestinationId, deliveries: Vec<ClaimedDelivery>) {
        let (attempts, tell, settlements) = (Arc::clone(&self.attempts), self.tell.clone(), self.settlements.clone());
        let abandon = self.abandon.clone();
        tokio::spawn(async move {
            let give_back = released(&deliveries);
            let (settle, host_fault) = tokio::select! {
                biased;
                () = abandon.cancelled() => (give_back, false),
                attempted = attempts.run(destination, deliveries) => (attempted.settlements, attempted.host_fault),
            };
            for settlement in settle {
                // Fails only when the settler has failed, which the dispatcher hears from the settler itself.
                drop(settlements.send(settlement).await);
            }
            drop(tell.send(Message::Attempted { destination, host_fault }));
        });
    }

    /// Lets attempts end within the grace, then takes the rest back, then gives back what was never started.
    async fn drain(&mut self) {
        let grace = tokio::time::sleep(self.config.shutdown_grace);
        tokio::pin!(grace);
        while self.in_flight > 0 {
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(Message::Attempted { .. }) => self.in_flight -= 1,
                    Some(Message::Claimed(destination, Ok(claimed))) => {
                        self.lanes.entry(destination).or_default().end_claim(claimed);
                    }
                    Some(_) => {}
                    None => break,
                },
                () = &mut grace, if !self.abandon.is_cancelled() => self.abandon.cancel(),
            }
        }
        let waiting: Vec<_> = self.lanes.values_mut().flat_map(|lane| lane.queue.drain(..)).collect();
        for settlement in released(&waiting) {
            drop(self.settlements.send(settlement).await);
        }
    }
}
