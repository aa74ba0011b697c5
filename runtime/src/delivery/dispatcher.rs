//! Dispatch: does what the schedule says, and tells it what came of it.
//!
//! An attempt that ended tells the schedule itself, on the thread that it ran on, and goes on with what that begins next, so nobody is
//! woken for it. Everything else is the dispatcher's, which runs where the listeners do and waits for no guest. Guarantees: no decision
//! is made here; the schedule's time never goes back; on shutdown attempts get time to end, and what has not ended by then is given back
//! without costing an attempt.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Attempts, plain};
use super::caught::caught;
use super::prepared::{Means, Prepared};
use super::schedule::{Back, Change, Ended, Fate, IN_LINE, Item, Schedule, Step, Ticket};
use super::settler::{Settlements, ToSettle};
use super::watch::Questions;
use super::{DeliveryConfig, settler};
use crate::model::{ClaimedDelivery, DestinationId, OrderKey, Timestamp};
use crate::store::{DestinationRoute, Failure, Routes, Settle, Settlement, StoreError, Want};

/// Steps and messages after which the listeners, whose threads these are, get a turn.
const TURN: usize = 128;

/// When deliveries are tried again whose attempt the host broke off: it has no report of which anything could be decided.
const BROKEN_OFF: Duration = Duration::from_secs(60);

/// How long the dispatcher sleeps at most before it looks for due retries.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long attempts that follow each other compute on a thread before whoever waits for its processor gets it: what a lane may have
/// others wait for unnoticed.
const STRETCH: Duration = Duration::from_micros(IN_LINE.unsigned_abs());

thread_local! {
    /// What attempts have computed on this thread since it stood back.
    static COMPUTED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// An attempt has computed for so long on a thread like this one. Without this the threads that listen and write, which wake beside
/// guests that are never done, stand behind them for as long as the system's clock takes to tick.
fn stand_back(cpu: Duration) {
    let computed = COMPUTED.get() + cpu;
    let enough = computed >= STRETCH;
    COMPUTED.set(if enough { Duration::ZERO } else { computed });
    if enough {
        std::thread::yield_now();
    }
}

enum Message {
    Loaded(DestinationId, Result<Vec<(OrderKey, u32)>, StoreError>),
    Claimed(DestinationId, Result<Vec<ClaimedDelivery>, StoreError>),
    /// So many deliveries were given back.
    Released(DestinationId, usize, Result<(), StoreError>),
    /// An attempt's end led to more than further attempts; or it was the last one of a host that ends.
    Look,
    Stopped(StoreError),
    /// An attempt panicked while it told how it ended, saying this.
    Broken(String),
}

/// What attempts under way and the dispatcher share.
struct Shared {
    attempts: Arc<Attempts>,
    means: Arc<Means>,
    config: DeliveryConfig,
    /// Held for a step, by guests' threads too: nothing is read or waited for meanwhile, but for what an attempt needs that the host could
    /// not prepare before.
    state: Mutex<State>,
    tell: mpsc::UnboundedSender<Message>,
    settlements: Settlements,
    /// Where attempts run.
    guests: Handle,
    abandon: CancellationToken,
}

pub(super) struct State {
    pub(super) schedule: Schedule,
    /// What attempts are prepared by: what the routes said when the dispatcher looked last.
    routes: Arc<Routes>,
    prepared: HashMap<DestinationId, Arc<Prepared>>,
    /// When the dispatcher asks the schedule again at the latest; nothing while it does, or is about to.
    looks_at: Option<Timestamp>,
    /// Nothing more is begun.
    ends: bool,
    pub(super) opened: [u64; 2],
}

/// An attempt that is to be made.
struct Start {
    ticket: Ticket,
    prepared: Arc<Prepared>,
    items: Vec<Item>,
}

struct Dispatcher {
    shared: Arc<Shared>,
    /// Prepared ones that were deleted.
    gone: Vec<DestinationId>,
    /// When the store's next retry is due.
    due_at: Option<Timestamp>,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Drop for Dispatcher {
    /// Also where it panicked: without it nothing is begun.
    fn drop(&mut self) {
        self.shared.state().ends = true;
    }
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
    // Unbounded, but little can be in it: what the store was asked is answered once, and nobody asks the dispatcher to look twice.
    let (tell, messages) = mpsc::unbounded_channel();
    let (settlements, incoming) = settler::channel();
    let settler = {
        let (store, tell) = (Arc::clone(&attempts.store), tell.clone());
        tokio::spawn(async move {
            if let Err(error) = settler::run(store, incoming).await {
                drop(tell.send(Message::Stopped(error)));
            }
        })
    };
    let state = State {
        schedule: Schedule::new(config.schedule, rand::random(), attempts.clock.now()),
        routes: Arc::default(),
        prepared: HashMap::new(),
        looks_at: None,
        ends: false,
        opened: [0; 2],
    };
    let shared = Shared {
        attempts: Arc::new(attempts),
        means,
        config,
        state: Mutex::new(state),
        tell,
        settlements,
        guests,
        abandon: CancellationToken::new(),
    };
    let mut dispatcher = Dispatcher { shared: Arc::new(shared), gone: Vec::new(), due_at: None, messages };
    let ended = dispatcher.serve(&mut questions, &stop).await;
    dispatcher.drain().await;
    drop(dispatcher);
    if let Err(error) = settler.await {
        tracing::error!(%error, "the settler ended early");
    }
    ended
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic nothing more is begun, and deliveries end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked under the lock where the schedule is told, so that its time never goes back.
    fn now(&self) -> Timestamp {
        self.attempts.clock.now()
    }

    fn prepared(&self, route: &Arc<DestinationRoute>) -> Arc<Prepared> {
        Arc::new(Prepared::new(Arc::clone(route), &self.means, &self.config))
    }

    /// Begins a task that makes this attempt, and then those that follow from its end.
    fn spawn(self: &Arc<Self>, start: Start) {
        let shared = Arc::clone(self);
        self.guests.spawn(async move {
            let mut next = Some(start);
            while let Some(start) = next {
                let (ticket, ended) = shared.attempt(start).await;
                let cpu = ended.cpu;
                let told = caught(async { shared.ended(&ticket, ended) }).await;
                next = told.unwrap_or_else(|said| {
                    shared.state().ends = true;
                    drop(shared.tell.send(Message::Broken(said)));
                    None
                });
                // Whoever waits on this thread comes first: an attempt need not wait for anything.
                tokio::task::yield_now().await;
                stand_back(cpu);
            }
        });
    }

    /// Makes an attempt and hands over what became of its deliveries.
    async fn attempt(&self, Start { ticket, prepared, items }: Start) -> (Ticket, Ended) {
        let ids: Vec<_> = items.iter().map(|item| plain(&item.delivery, Settle::Release)).collect();
        let fate = |item: &Item| Some(Fate { key: item.delivery.key?, stored: item.delivery.again, over: false });
        let fates: Vec<_> = items.iter().filter_map(fate).collect();
        let all = |settle, fates| Attempted {
            settlements: ids.into_iter().map(|one: Settlement| Settlement { settle, ..one }.into()).collect(),
            ended: Ended { fates, ..Ended::default() },
        };
        let Attempted { settlements, ended } = tokio::select! {
            biased;
            () = self.abandon.cancelled() => all(Settle::Release, Vec::new()),
            attempted = caught(self.attempts.run(&prepared, items)) => attempted.unwrap_or_else(|said| {
                let destination = ticket.destination;
                tracing::error!(%destination, said, "an attempt panicked: its deliveries are tried again in a minute");
                self.attempts.metrics.host_fault();
                all(Settle::RetryAt(self.now().plus(BROKEN_OFF)), fates)
            }),
        };
        self.settlements.send(settlements).await;
        (ticket, ended)
    }

    /// An attempt ended: what its task makes next, if anything. What else may begin now gets tasks of its own.
    fn ended(self: &Arc<Self>, ticket: &Ticket, ended: Ended) -> Option<Start> {
        let mut state = self.state();
        let now = self.now();
        state.schedule.ended(ticket, ended, now);
        let mut next = None;
        let look = if state.ends {
            state.schedule.in_flight() == 0
        } else if self.attempts.store.routes_at_hand().is_some_and(|routes| Arc::ptr_eq(&routes, &state.routes)) {
            while let Some((ticket, items)) = state.schedule.next_attempt(now) {
                let Some(start) = state.begin(self, ticket, items, now) else { continue };
                if let Some(other) = next.replace(start) {
                    self.spawn(other);
                }
            }
            state.is_to_be_looked_at()
        } else {
            // Somebody changed something: what that means is prepared elsewhere, and then the dispatcher begins what may begin.
            state.looks_at.is_some()
        };
        if look {
            state.looks_at = None;
        }
        // Not under the lock: the dispatcher would wait for it at once.
        drop(state);
        if look {
            drop(self.tell.send(Message::Look));
        }
        next
    }
}

impl State {
    /// Whether the schedule has something for the dispatcher before that looks again.
    fn is_to_be_looked_at(&self) -> bool {
        let Some(looks_at) = self.looks_at else { return false };
        self.schedule.has_steps() || self.schedule.wake_at().is_some_and(|at| at < looks_at)
    }

    /// What an attempt is made with, unless its destination is served no more.
    fn begin(&mut self, shared: &Shared, ticket: Ticket, items: Vec<Item>, now: Timestamp) -> Option<Start> {
        let Self { prepared, schedule, .. } = self;
        if let Some(old) = prepared.get_mut(&ticket.destination)
            && old.is_passing()
        {
            *old = shared.prepared(&old.route);
            schedule.terms(ticket.destination, old.terms.clone(), now);
        }
        let prepared = self.prepared.get(&ticket.destination);
        // Deleted, paused or switched off since the claim: the store knows what becomes of what such a destination is owed.
        let on = |prepared: &&Arc<Prepared>| {
            prepared.route.destination.is_served() && self.routes.destination(ticket.destination).is_some()
        };
        match prepared.filter(on).map(Arc::clone) {
            Some(prepared) => Some(Start { ticket, prepared, items }),
            None => {
                let off = Ended { events: items.len(), back: Back::Off(items), ..Ended::default() };
                self.schedule.ended(&ticket, off, now);
                None
            }
        }
    }

    /// How long nothing will change by itself; the dispatcher looks again then.
    fn sleep(&mut self, due_at: Option<Timestamp>, now: Timestamp) -> Duration {
        let next = [due_at, self.schedule.wake_at()].into_iter().flatten().min();
        let until = next.map_or(LONGEST_SLEEP, |at| at.since(now));
        let sleep = until.clamp(Duration::from_millis(1), LONGEST_SLEEP);
        self.looks_at = Some(now.plus(sleep));
        sleep
    }
}

impl Dispatcher {
    async fn serve(&mut self, questions: &mut Questions, stop: &CancellationToken) -> Result<(), StoreError> {
        let store = Arc::clone(&self.shared.attempts.store);
        self.look_at_routes();
        store.pending_destinations().into_iter().for_each(|destination| self.more(destination, true, false));
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
                Some(question) = questions.recv() => self.shared.state().answer(question),
                () = tokio::time::sleep(sleep) => self.look_for_due(),
            }
        }
    }

    fn hear(&self, message: Message) -> Result<(), StoreError> {
        match message {
            Message::Loaded(destination, keys) => self.shared.state().schedule.loaded(destination, keys?),
            Message::Claimed(destination, claimed) => {
                let (claimed, now) = (claimed?, self.shared.now());
                let prepared = self.shared.state().prepared.get(&destination).map(Arc::clone);
                let Some(prepared) = prepared else { return Ok(()) };
                let items = claimed.into_iter().map(|delivery| prepared.item(delivery, now)).collect();
                self.shared.state().schedule.claimed(destination, items);
            }
            Message::Released(destination, count, done) => {
                done?;
                self.shared.state().schedule.released(destination, count);
            }
            Message::Look => {}
            Message::Stopped(error) => return Err(error),
            Message::Broken(said) => std::panic::resume_unwind(Box::new(said)),
        }
        Ok(())
    }

    /// A destination has, or may have, something to be claimed.
    fn more(&self, destination: DestinationId, fresh: bool, retries: bool) {
        let shared = &self.shared;
        let unknown = {
            let mut state = shared.state();
            state.schedule.more(destination, fresh, retries);
            if state.schedule.knows(destination) { None } else { state.routes.destination(destination).map(Arc::clone) }
        };
        let Some(route) = unknown else { return };
        let prepared = shared.prepared(&route);
        let mut state = shared.state();
        let now = shared.now();
        state.schedule.terms(destination, prepared.terms.clone(), now);
        state.prepared.insert(destination, prepared);
        state.schedule.more(destination, fresh, retries);
    }

    /// Takes notice of what people changed: looks at what is another one now. Costs a comparison where nothing is.
    fn look_at_routes(&mut self) {
        let shared = &self.shared;
        let routes = shared.attempts.store.routes();
        let changed: Vec<_> = {
            let state = shared.state();
            if Arc::ptr_eq(&routes, &state.routes) {
                return;
            }
            let others = routes.other_destinations(&state.routes).into_iter();
            let changed = others.filter_map(|destination| {
                let old = state.prepared.get(&destination)?;
                let route = routes.destination(destination);
                (!route.is_some_and(|route| old.fits(route))).then(|| (destination, route.map(Arc::clone)))
            });
            changed.collect()
        };
        // Until it is known what the change means, attempts that end begin no others.
        let changed: Vec<_> =
            changed.into_iter().map(|(id, route)| (id, route.map(|route| shared.prepared(&route)))).collect();
        let mut state = shared.state();
        let now = shared.now();
        let State { schedule, prepared, .. } = &mut *state;
        for (destination, new) in changed {
            match new {
                Some(new) => {
                    schedule.terms(destination, new.terms.clone(), now);
                    prepared.insert(destination, new);
                }
                None => self.gone.push(destination),
            }
        }
        // What is deleted may still have attempts under way.
        self.gone.retain(|destination| {
            let known = schedule.knows(*destination);
            if !known {
                prepared.remove(destination);
            }
            known
        });
        state.routes = routes;
    }

    fn look_for_due(&mut self) {
        let (due, next) = self.shared.attempts.store.due(self.shared.now());
        self.due_at = next;
        due.into_iter().for_each(|destination| self.more(destination, false, true));
    }

    /// Does what can be done now, and says how long nothing will change.
    async fn do_steps(&mut self) -> Duration {
        self.shared.state().looks_at = None;
        self.look_at_routes();
        if self.due_at.is_some_and(|due| due <= self.shared.now()) {
            self.look_for_due();
        }
        let mut steps = 0;
        loop {
            steps += 1;
            if steps % TURN == 0 {
                tokio::task::yield_now().await;
            }
            let (step, now) = {
                let shared = &self.shared;
                let mut state = shared.state();
                let now = shared.now();
                match state.schedule.next(now) {
                    Some(Step::Start(ticket, items)) => {
                        state.begin(shared, ticket, items, now).into_iter().for_each(|start| shared.spawn(start));
                        continue;
                    }
                    Some(step) => (step, now),
                    None => return state.sleep(self.due_at, now),
                }
            };
            match step {
                Step::Claim(destination, want) => self.claim(destination, want, now),
                Step::Load(destination) => self.load(destination),
                Step::Hold(items) => self.settle(items, Settle::Hold).await,
                Step::Release(destination, items) => self.release(destination, &items),
                Step::Expire(items, last) => self.expire(items, last).await,
                Step::Changed(destination, change) => self.changed(destination, change),
                Step::Start(..) => {}
            }
        }
    }

    fn changed(&self, destination: DestinationId, change: Change) {
        match change {
            Change::Opened(why) => {
                self.shared.state().opened[why as usize] += 1;
                tracing::warn!(%destination, why = why.as_str(), "the destination's breaker opened: its deliveries wait");
            }
            Change::Closed => tracing::info!(%destination, "the destination's breaker closed: it is served again"),
        }
    }

    fn load(&self, destination: DestinationId) {
        let (attempts, tell) = (Arc::clone(&self.shared.attempts), self.shared.tell.clone());
        tokio::spawn(async move {
            let keys = attempts.store.stored_keys(destination).await;
            drop(tell.send(Message::Loaded(destination, keys)));
        });
    }

    fn claim(&self, destination: DestinationId, want: Want, now: Timestamp) {
        let (attempts, tell) = (Arc::clone(&self.shared.attempts), self.shared.tell.clone());
        tokio::spawn(async move {
            let claimed = attempts.store.claim(destination, want, now).await;
            drop(tell.send(Message::Claimed(destination, claimed)));
        });
    }

    /// Gives deliveries back at once: their lane waits for it.
    fn release(&self, destination: DestinationId, items: &[Item]) {
        let (attempts, tell) = (Arc::clone(&self.shared.attempts), self.shared.tell.clone());
        let settlements: Vec<_> = items.iter().map(|item| plain(&item.delivery, Settle::Release)).collect();
        tokio::spawn(async move {
            let count = settlements.len();
            let done = attempts.store.settle(settlements).await.map(drop);
            drop(tell.send(Message::Released(destination, count, done)));
        });
    }

    async fn settle(&self, items: Vec<Item>, settle: Settle) {
        let settle = items.iter().map(|item| plain(&item.delivery, settle).into()).collect();
        self.shared.settlements.send(settle).await;
    }

    /// Gives deliveries up without an attempt.
    async fn expire(&self, items: Vec<Item>, last: Option<Arc<Failure>>) {
        let tracer = self.shared.attempts.tracer.as_ref();
        let dead = items.iter().map(|item| {
            let mut dead = ToSettle::unattempted(tracer, item, Settle::Dead);
            dead.settlement.instead.clone_from(&last);
            dead
        });
        self.shared.settlements.send(dead.collect()).await;
    }

    /// Lets attempts end within the grace, then takes the rest back, then gives back what was never started.
    async fn drain(&mut self) {
        let grace = tokio::time::sleep(self.shared.config.shutdown_grace);
        tokio::pin!(grace);
        self.shared.state().ends = true;
        while self.shared.state().schedule.in_flight() > 0 {
            tokio::select! {
                message = self.messages.recv() => match message {
                    // What the store says now is what the next start will find.
                    Some(message @ Message::Claimed(_, Ok(_))) => drop(self.hear(message)),
                    Some(Message::Broken(_)) | None => {
                        self.shared.abandon.cancel();
                        break;
                    }
                    Some(_) => {}
                },
                () = &mut grace, if !self.shared.abandon.is_cancelled() => self.shared.abandon.cancel(),
            }
        }
        let waiting = self.shared.state().schedule.drain();
        self.settle(waiting, Settle::Release).await;
    }
}
