//! *Invocation*: the step *invoke* of an event's way, where a partner's program runs.
//!
//! Guarantees: a fresh store and instance each time; one deadline over everything the guest can make the host do;
//! budgets are sums over the invocation; what ends it, even a crash, is a value; dropping the future leaves nothing.
//! Leaves to others: which events, whose settings, what the ending means (`delivery`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Result, Store, StoreContextMut, UpdateDeadline};

use crate::clock::Clock;
use crate::egress::Outlet;
use crate::model::{Ending, Event, EventType, InvocationReport, Limits, Used};

use super::HostFault;
use super::bindings::exports::tidegate::destination::handler;
use super::bindings::tidegate::destination::types;
use super::budget::{Budget, LimitHit};
use super::cache::CacheScope;
use super::cpu::{CpuMeter, Turns};
use super::ending::{DeadlinePassed, answer_bytes, answered, unanswered};
use super::host::Run;
use super::log::LogBook;
use super::memory::MemoryBudget;
use super::nearly::{Peaks, nearly};
use super::pool::Pool;
use super::requests::{Pending, Requests};
use super::version::LoadedVersion;

/// What the numbers and flags of one event take when they cross.
const EVENT_OVERHEAD: usize = 64;

/// One event for a guest.
#[derive(Clone, Debug)]
pub struct GuestEvent {
    /// The event.
    pub event: Event,
    /// Which try this is, from 1.
    pub attempt: u32,
}

/// One run of a guest, before it happens.
pub struct Invocation {
    /// The events: exactly one unless `batch`.
    pub events: Vec<GuestEvent>,
    /// Whether the guest gets them as a batch.
    pub batch: bool,
    /// The destination's settings, a JSON object.
    pub settings: Arc<str>,
    /// What it may use.
    pub limits: Limits,
    /// What it sends through.
    pub outlet: Arc<dyn Outlet>,
    /// What time it sees.
    pub clock: Clock,
    /// Makes its randomness repeatable.
    pub seed: Option<u64>,
    /// What it keeps for later ones and finds of earlier ones.
    pub cache: CacheScope,
}

/// Runs a guest once.
pub(super) async fn run(
    engine: &Engine,
    turns: &Turns,
    pool: &Pool,
    version: &LoadedVersion,
    invocation: Invocation,
) -> InvocationReport {
    let began = Instant::now();
    let (after, deadline) = deadline(began, &invocation);
    let cpu = CpuMeter::default();
    let mut store = store(engine, pool, &invocation, deadline, cpu.clone());
    let beside = store.data().requests.under_way();
    let guest = beside.carry(call(&mut store, version, &invocation));
    let called = timeout_at(deadline, cpu.measure(turns, guest)).await;
    let ending = match called {
        Ok(Ok(answers)) => answered(answers, invocation.events.len(), &*invocation.outlet),
        Ok(Err(error)) => unanswered(&error, store.data()),
        Err(_) => Ending::DeadlineExceeded { after },
    };
    let ending = in_time(ending, store.data());
    report(store.into_data(), ending, began)
}

/// Who has used more CPU time than there is has met that limit, whatever they said in the end; who could not send for want of the
/// host's memory is not to blame for what came of it.
pub(super) fn in_time(ending: Ending, run: &Run) -> Ending {
    if let Some(why) = run.requests.starved() {
        return Ending::HostFault(why.to_owned());
    }
    match (ending, run.budget.time_in_all()) {
        (
            Ending::Answered(_) | Ending::WrongAnswerCount { .. } | Ending::Trapped(_),
            Err(LimitHit { limit, message }),
        ) => Ending::LimitExceeded { limit, message },
        (ending, _) => ending,
    }
}

/// How long it may take, and until when.
pub(super) fn deadline(began: Instant, invocation: &Invocation) -> (Duration, Instant) {
    let after = Duration::from_millis(invocation.limits.deadline_ms);
    // A deadline beyond the clock's end is refused by configuration long before; a day stands in for it.
    (after, began.checked_add(after).unwrap_or(began + Duration::from_secs(86_400)))
}

pub(super) fn store(
    engine: &Engine,
    pool: &Pool,
    invocation: &Invocation,
    deadline: Instant,
    cpu: CpuMeter,
) -> Store<Run> {
    let limits = invocation.limits.clone();
    let run = Run {
        memory: MemoryBudget::new(limits.memory_bytes, cpu.clone(), pool.clone()),
        cpu: cpu.clone(),
        log: LogBook::new(&limits, Arc::clone(&invocation.outlet)),
        requests: Requests::new(
            Arc::clone(&invocation.outlet),
            deadline,
            &limits,
            invocation.clock,
            pool.clone(),
            cpu.clone(),
        ),
        table: ResourceTable::new(),
        clock: invocation.clock,
        cache: invocation.cache.clone(),
        began: std::time::Instant::now(),
        slept: Duration::ZERO,
        seeded: invocation.seed.map(Run::seeded),
        wasi: None,
        budget: Budget::new(limits, cpu),
    };
    let mut store = Store::new(engine, run);
    let limits = &invocation.limits;
    store.limiter_async(|run| &mut run.memory);
    // One call cannot bring more than all calls together. What is left over is counted by the budget.
    store.set_hostcall_fuel(usize::try_from(limits.bytes_out).unwrap_or(usize::MAX));
    store.set_max_component_handles(limits.handles as usize);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |context| on_tick(&context, deadline));
    store
}

/// Looks at a running guest, and lets others run before it goes on.
fn on_tick(context: &StoreContextMut<'_, Run>, deadline: Instant) -> Result<UpdateDeadline> {
    let run = context.data();
    run.budget.time()?;
    if Instant::now() >= deadline {
        return Err(DeadlinePassed.into());
    }
    run.budget.calls()?;
    Ok(UpdateDeadline::Yield(1))
}

async fn call(
    store: &mut Store<Run>,
    version: &LoadedVersion,
    invocation: &Invocation,
) -> Result<Vec<handler::Answer>> {
    let events = invocation.events.iter().map(event).collect::<Result<Vec<_>, HostFault>>()?;
    let settings = &*invocation.settings;
    let bytes: usize = settings.len() + events.iter().map(event_bytes).sum::<usize>();
    store.data_mut().budget.host_gives(bytes)?;
    let instance = version.instantiate(store).await?;
    let handler = instance.tidegate_destination_handler();
    let answers = if invocation.batch {
        handler.call_handle_batch(&mut *store, &events, settings).await?
    } else {
        let [event] = &events[..] else {
            return Err(HostFault(format!("{} events in a call for one", events.len())).into());
        };
        vec![handler.call_handle_event(&mut *store, event.clone(), settings).await?]
    };
    store.data_mut().budget.guest_gives(answer_bytes(&answers))?;
    Ok(answers)
}

fn event(given: &GuestEvent) -> Result<types::Event<'_>, HostFault> {
    let GuestEvent { event, attempt } = given;
    let json = std::str::from_utf8(&event.json)
        .map_err(|_| HostFault(format!("the stored event `{}` is not UTF-8", event.message_id)))?;
    Ok(types::Event {
        message_id: &event.message_id,
        event_type: match event.event_type {
            EventType::Track => types::EventType::Track,
            EventType::Identify => types::EventType::Identify,
            EventType::Page => types::EventType::Page,
            EventType::Screen => types::EventType::Screen,
            EventType::Group => types::EventType::Group,
            EventType::Alias => types::EventType::Alias,
            EventType::Delete => types::EventType::Delete,
        },
        user_id: event.user_id.as_deref(),
        anonymous_id: event.anonymous_id.as_deref(),
        name: event.name.as_deref(),
        attempt: *attempt,
        received_at: event.received_at.as_millis(),
        json,
    })
}

fn event_bytes(event: &types::Event<'_>) -> usize {
    let options = [event.user_id, event.anonymous_id, event.name];
    let optional: usize = options.iter().flatten().map(|text| text.len()).sum();
    EVENT_OVERHEAD + event.message_id.len() + optional + event.json.len()
}

pub(super) fn report(mut run: Run, ending: Ending, began: Instant) -> InvocationReport {
    run.log_printed(true);
    for entry in run.table.iter_mut() {
        if let Some(pending) = entry.downcast_mut::<Pending>() {
            run.requests.give_up(pending);
        }
    }
    let used = Used {
        cpu_ms: run.cpu.used_ns() as f64 / 1e6,
        wall_ms: began.elapsed().as_secs_f64() * 1e3,
        memory_bytes: run.memory.used(),
        host_calls: run.budget.host_calls(),
        requests: run.requests.count(),
        bytes_in: run.budget.bytes_in(),
        bytes_out: run.budget.bytes_out(),
    };
    let limits = run.budget.limits().clone();
    let (handles, written) = (run.memory.handles(), run.log.used(&limits));
    let mut log = run.log.finish(&limits);
    let (requests, largest) = run.requests.into_records();
    // Where a limit was met, the ending says so already.
    if matches!(ending, Ending::Answered(_)) {
        log.extend(nearly(&Peaks { used: &used, handles, log: written, largest }, &limits));
    }
    InvocationReport { ending, requests, log, used, limits }
}
