//! Dispatch: does what the schedule says, and tells it what came of it.
//!
//! It runs where the listeners do: only attempts run where guests compute, so that a step of one delivery does not wait for
//! another's guest. Guarantees: no decision is made here; on shutdown attempts get time to end, and what has not ended by then is given
//! back without costing an attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Attempts, plain};
use super::caught::caught;
use super::prepared::{Means, Prepared};
use super::schedule::{Back, Change, Ended, Fate, Item, Schedule, Step, Ticket};
use super::settler::ToSettle;
use super::watch::Questions;
use super::{DeliveryConfig, settler};
use crate::model::{ClaimedDelivery, DestinationId, OrderKey, Timestamp};
use crate::store::{Failure, Routes, Settle, Settlement, StoreError, Want};

/// Steps and messages after which the listeners, whose threads these are, get a turn.
const TURN: usize = 128;

/// When deliveries are tried again whose attempt the host broke off: it has no report of which anything could be decided.
const BROKEN_OFF: Duration = Duration::from_secs(60);

/// How long the dispatcher sleeps at most before it looks for due retries.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

enum Message {
    Loaded(DestinationId, Result<Vec<(OrderKey, u32)>, StoreError>),
    Claimed(DestinationId, Result<Vec<ClaimedDelivery>, StoreError>),
    Ended(Ticket, Ended),
    /// So many deliveries were given back.
    Released(DestinationId, usize, Result<(), StoreError>),
    Stopped(StoreError),
}

pub(super) struct Dispatcher {
    pub(super) attempts: Arc<Attempts>,
    means: Arc<Means>,
    pub(super) config: DeliveryConfig,
    pub(super) schedule: Schedule,
    /// What the routes said when terms were last looked at.
    routes: Arc<Routes>,
    prepared: HashMap<DestinationId, Arc<Prepared>>,
    /// Prepared ones that were deleted.
    gone: Vec<DestinationId>,
    /// When the store's next retry is due.
    due_at: Option<Timestamp>,
    pub(super) opened: [u64; 2],
    messages: mpsc::UnboundedReceiver<Message>,
    tell: mpsc::UnboundedSender<Message>,
    settlements: mpsc::Sender<Vec<ToSettle>>,
    /// Where attempts run.
    guests: Handle,
    abandon: CancellationToken,
}

/// Delivers until `stop` is cancelled or the store fails; returns when everything under way is settled.
pub(super) async fn run(
    attempts: Attempts,
    means: Arc<Means>,
    config: DeliveryConfig,
    mut questions: Questions,
    guests: Handle,
    stop: CancellationToken,
) -> Result<(), StoreError> {
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
        schedule: Schedule::new(config.schedule, rand::random(), attempts.clock.now()),
        routes: Arc::default(),
        attempts,
        means,
        config,
        prepared: HashMap::new(),
        gone: Vec::new(),
        due_at: None,
        opened: [0; 2],
        messages,
        tell,
        settlements,
        guests,
        abandon: CancellationToken::new(),
    };
    let ended = dispatcher.serve(&mut questions, &stop).await;
    dispatcher.drain().await;
    let Dispatcher { settlements, .. } = dispatcher;
    drop(settlements);
    if let Err(error) = settler.await {
        tracing::error!(%error, "the settler ended early");
    }
    ended
}

impl Dispatcher {
    async fn serve(&mut self, questions: &mut Questions, stop: &CancellationToken) -> Result<(), StoreError> {
        let store = Arc::clone(&self.attempts.store);
        self.look_at_routes();
        for destination in store.pending_destinations() {
            self.more(destination, true, false);
        }
        self.look_for_due();
        loop {
            let sleep = self.do_steps().await;
            if stop.is_cancelled() {
                return Ok(());
            }
            // In no fixed order: in a flood there always is a message, and what is new, what is due and who asks would never be heard.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(message) = self.messages.recv() => {
                    self.hear(message)?;
                    for _ in 0..TURN {
                        let Ok(message) = self.messages.try_recv() else { break };
                        self.hear(message)?;
                    }
                }
                ready = store.wait_ready() => {
                    self.look_at_routes();
                    ready.into_iter().for_each(|destination| self.more(destination, true, false));
                    self.look_for_due();
                }
                Some(question) = questions.recv() => self.answer(question),
                () = tokio::time::sleep(sleep) => self.look_for_due(),
            }
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), StoreError> {
        match message {
            Message::Loaded(destination, keys) => self.schedule.loaded(destination, keys?),
            Message::Claimed(destination, claimed) => {
                let (claimed, now) = (claimed?, self.attempts.clock.now());
                let Some(prepared) = self.prepared.get(&destination) else { return Ok(()) };
                let items = claimed.into_iter().map(|delivery| prepared.item(delivery, now)).collect();
                self.schedule.claimed(destination, items);
            }
            Message::Ended(ticket, ended) => self.schedule.ended(&ticket, ended, self.attempts.clock.now()),
            Message::Released(destination, count, done) => {
                done?;
                self.schedule.released(destination, count);
            }
            Message::Stopped(error) => return Err(error),
        }
        Ok(())
    }

    /// A destination has, or may have, something to be claimed.
    fn more(&mut self, destination: DestinationId, fresh: bool, retries: bool) {
        if !self.schedule.knows(destination) {
            let Some(route) = self.routes.destination(destination) else { return };
            let prepared = Prepared::new(Arc::clone(route), &self.means, &self.config);
            self.schedule.terms(destination, prepared.terms.clone(), self.attempts.clock.now());
            self.prepared.insert(destination, Arc::new(prepared));
        }
        self.schedule.more(destination, fresh, retries);
    }

    /// Takes notice of what people changed: looks at what is another one now. Costs a comparison where nothing is.
    fn look_at_routes(&mut self) {
        let routes = self.attempts.store.routes();
        if Arc::ptr_eq(&routes, &self.routes) {
            return;
        }
        let others = routes.other_destinations(&self.routes);
        self.routes = routes;
        let now = self.attempts.clock.now();
        let Self { prepared, schedule, routes, means, config, gone, .. } = self;
        for destination in others {
            let Some(old) = prepared.get_mut(&destination) else { continue };
            match routes.destination(destination) {
                Some(route) if !old.fits(route) => {
                    *old = Arc::new(Prepared::new(Arc::clone(route), means, config));
                    schedule.terms(destination, old.terms.clone(), now);
                }
                Some(_) => {}
                None => gone.push(destination),
            }
        }
        // What is deleted may still have attempts under way.
        gone.retain(|destination| {
            let known = schedule.knows(*destination);
            if !known {
                prepared.remove(destination);
            }
            known
        });
    }

    fn look_for_due(&mut self) {
        let (due, next) = self.attempts.store.due(self.attempts.clock.now());
        self.due_at = next;
        due.into_iter().for_each(|destination| self.more(destination, false, true));
    }

    /// Does what can be done now, and says how long nothing will change.
    async fn do_steps(&mut self) -> Duration {
        self.look_at_routes();
        let now = self.attempts.clock.now();
        if self.due_at.is_some_and(|due| due <= now) {
            self.look_for_due();
        }
        let mut steps = 0;
        while let Some(step) = self.schedule.next(now) {
            steps += 1;
            if steps % TURN == 0 {
                tokio::task::yield_now().await;
            }
            match step {
                Step::Start(ticket, items) => self.start(ticket, items, now),
                Step::Claim(destination, want) => self.claim(destination, want, now),
                Step::Load(destination) => self.load(destination),
                Step::Hold(items) => self.settle(items, Settle::Hold).await,
                Step::Release(destination, items) => self.release(destination, &items),
                Step::Expire(items, last) => self.expire(items, last).await,
                Step::Changed(destination, change) => self.changed(destination, change),
            }
        }
        let next = [self.due_at, self.schedule.wake_at()].into_iter().flatten().min();
        let until = next.map_or(LONGEST_SLEEP, |at| at.since(now));
        until.clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    fn changed(&mut self, destination: DestinationId, change: Change) {
        match change {
            Change::Opened(why) => {
                self.opened[why as usize] += 1;
                tracing::warn!(%destination, why = why.as_str(), "the destination's breaker opened: its deliveries wait");
            }
            Change::Closed => tracing::info!(%destination, "the destination's breaker closed: it is served again"),
        }
    }

    fn load(&self, destination: DestinationId) {
        let (attempts, tell) = (Arc::clone(&self.attempts), self.tell.clone());
        tokio::spawn(async move {
            let keys = attempts.store.stored_keys(destination).await;
            drop(tell.send(Message::Loaded(destination, keys)));
        });
    }

    fn claim(&self, destination: DestinationId, want: Want, now: Timestamp) {
        let (attempts, tell) = (Arc::clone(&self.attempts), self.tell.clone());
        tokio::spawn(async move {
            let claimed = attempts.store.claim(destination, want, now).await;
            drop(tell.send(Message::Claimed(destination, claimed)));
        });
    }

    fn start(&mut self, ticket: Ticket, items: Vec<Item>, now: Timestamp) {
        let Self { prepared, schedule, means, config, .. } = self;
        if let Some(old) = prepared.get_mut(&ticket.destination)
            && old.is_passing()
        {
            *old = Arc::new(Prepared::new(Arc::clone(&old.route), means, config));
            schedule.terms(ticket.destination, old.terms.clone(), now);
        }
        let prepared = self.prepared.get(&ticket.destination);
        // Deleted, paused or switched off since the claim: the store knows what becomes of what such a destination is owed.
        let on = |prepared: &&Arc<Prepared>| {
            prepared.route.destination.is_served() && self.routes.destination(ticket.destination).is_some()
        };
        let Some(prepared) = prepared.filter(on).map(Arc::clone) else {
            let off = Ended { events: items.len(), back: Back::Off(items), ..Ended::default() };
            return self.schedule.ended(&ticket, off, now);
        };
        let (attempts, tell, settlements) = (Arc::clone(&self.attempts), self.tell.clone(), self.settlements.clone());
        let abandon = self.abandon.clone();
        self.guests.spawn(async move {
            let ids: Vec<_> = items.iter().map(|item| plain(&item.delivery, Settle::Release)).collect();
            let fate = |item: &Item| Some(Fate { key: item.delivery.key?, stored: item.delivery.again, over: false });
            let fates: Vec<_> = items.iter().filter_map(fate).collect();
            let all = |settle, fates| Attempted {
                settlements: ids.into_iter().map(|one: Settlement| Settlement { settle, ..one }.into()).collect(),
                ended: Ended { fates, ..Ended::default() },
            };
            let Attempted { settlements: settle, ended } = tokio::select! {
                biased;
                () = abandon.cancelled() => all(Settle::Release, Vec::new()),
                attempted = caught(attempts.run(&prepared, items)) => attempted.unwrap_or_else(|said| {
                    let destination = ticket.destination;
                    tracing::error!(%destination, said, "an attempt panicked: its deliveries are tried again in a minute");
                    attempts.metrics.host_fault();
                    all(Settle::RetryAt(attempts.clock.now().plus(BROKEN_OFF)), fates)
                }),
            };
            // Fails only when the settler has failed, which the dispatcher hears from the settler itself.
            drop(settlements.send(settle).await);
            drop(tell.send(Message::Ended(ticket, ended)));
        });
    }

    /// Gives deliveries back at once: their lane waits for it.
    fn release(&self, destination: DestinationId, items: &[Item]) {
        let (attempts, tell) = (Arc::clone(&self.attempts), self.tell.clone());
        let settlements: Vec<_> = items.iter().map(|item| plain(&item.delivery, Settle::Release)).collect();
        tokio::spawn(async move {
            let count = settlements.len();
            let done = attempts.store.settle(settlements).await.map(drop);
            drop(tell.send(Message::Released(destination, count, done)));
        });
    }

    async fn settle(&self, items: Vec<Item>, settle: Settle) {
        let settle = items.iter().map(|item| plain(&item.delivery, settle).into()).collect();
        // As above: whoever has to know hears it from the settler.
        drop(self.settlements.send(settle).await);
    }

    /// Gives deliveries up without an attempt.
    async fn expire(&self, items: Vec<Item>, last: Option<Arc<Failure>>) {
        let tracer = self.attempts.tracer.as_ref();
        let dead = items.iter().map(|item| {
            let mut dead = ToSettle::unattempted(tracer, item, Settle::Dead);
            dead.settlement.instead.clone_from(&last);
            dead
        });
        drop(self.settlements.send(dead.collect()).await);
    }

    /// Lets attempts end within the grace, then takes the rest back, then gives back what was never started.
    async fn drain(&mut self) {
        let grace = tokio::time::sleep(self.config.shutdown_grace);
        tokio::pin!(grace);
        while self.schedule.in_flight() > 0 {
            tokio::select! {
                message = self.messages.recv() => match message {
                    // What the store says now is what the next start will find; nothing more is begun.
                    Some(message @ (Message::Ended(..) | Message::Claimed(_, Ok(_)))) => drop(self.hear(message)),
                    Some(_) => {}
                    None => break,
                },
                () = &mut grace, if !self.abandon.is_cancelled() => self.abandon.cancel(),
            }
        }
        let waiting = self.schedule.drain();
        self.settle(waiting, Settle::Release).await;
    }
}
