//! The sandbox against guests that misbehave: how each ends, what is said, and that the next one is untouched.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidegate::clock::Clock;
use tidegate::egress::Outlet;
use tidegate::model::{Answer, Digest, Ending, Event, EventType, InvocationReport, Limit, Limits, Timestamp};
use tidegate::sandbox::{CacheScope, GuestEvent, Invocation, LoadedVersion, Sandbox, SandboxConfig};

use crate::guests::{self, Guest};
use crate::host::function;
use crate::outlets::{Busy, Counted, Denied, Endless, FourAtATime, Large, Ok200, Silent};

/// A sandbox and what the tests need around it.
pub struct Bench {
    sandbox: Sandbox,
}

impl Bench {
    pub fn new() -> Self {
        let config = SandboxConfig { max_instances: 16, ..SandboxConfig::in_memory() };
        Self { sandbox: Sandbox::start(&config).unwrap() }
    }

    async fn load(&self, guest: &Guest) -> Arc<LoadedVersion> {
        self.load_component(guest.component()).await
    }

    async fn load_component(&self, component: Vec<u8>) -> Arc<LoadedVersion> {
        let component = Bytes::from(component);
        let digest = Digest(Sha256::digest(&component).into());
        self.sandbox.load(digest, async { Ok::<_, String>(component) }).await.unwrap()
    }

    pub async fn run(&self, guest: &Guest, invocation: Invocation) -> InvocationReport {
        let version = self.load(guest).await;
        self.sandbox.invoke(&version, invocation).await
    }

    /// Runs a bad guest, then a good one.
    pub async fn ending(&self, guest: &Guest, invocation: Invocation) -> Ending {
        let report = self.run(guest, invocation).await;
        let next = self.run(&guests::DELIVERED, one()).await;
        assert_eq!(next.ending, Ending::Answered(vec![Answer::Delivered]), "after {}", guest.name);
        report.ending
    }
}

/// One event, with limits that end a test soon.
pub fn one() -> Invocation {
    with(Limits { cpu_ms: 30, ..Limits::default() })
}

pub fn with(limits: Limits) -> Invocation {
    let event = Event {
        message_id: "m-1".to_owned(),
        event_type: EventType::Track,
        user_id: Some("u-1".to_owned()),
        anonymous_id: None,
        name: Some("Signed Up".to_owned()),
        received_at: Timestamp::from_millis(1_700_000_000_000),
        json: Bytes::from_static(br#"{"type":"track"}"#),
    };
    Invocation {
        events: vec![GuestEvent { event, attempt: 1 }],
        batch: false,
        settings: Arc::from("{}"),
        limits,
        outlet: Arc::new(Ok200),
        clock: Clock::System,
        seed: None,
        cache: CacheScope::alone(),
    }
}

pub fn through(outlet: impl Outlet + 'static) -> Invocation {
    Invocation { outlet: Arc::new(outlet), ..one() }
}

fn batch_of(events: usize) -> Invocation {
    let one = one();
    Invocation { events: vec![one.events[0].clone(); events], batch: true, ..one }
}

pub fn rejected(report: &InvocationReport) -> &str {
    match &report.ending {
        Ending::Answered(answers) => match &answers[..] {
            [Answer::Rejected(text)] => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub fn limit(ending: &Ending) -> (Limit, &str) {
    match ending {
        Ending::LimitExceeded { limit, message } => (*limit, message),
        other => panic!("{other:?}"),
    }
}

pub fn trap(ending: &Ending) -> &str {
    match ending {
        Ending::Trapped(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_guest_that_uses_up_a_budget_is_stopped_and_told_which() {
    let bench = Bench::new();
    for (guest, wanted, says) in [
        (guests::SPIN_HANDLER, Limit::CpuMs, "more than 30 ms of CPU time; ask for more with `limits.cpu_ms`"),
        (guests::SPIN_START, Limit::CpuMs, "`limits.cpu_ms` in function.toml"),
        (guests::SPIN_REALLOC, Limit::CpuMs, "`limits.cpu_ms` in function.toml"),
        (guests::SPIN_POST_RETURN, Limit::CpuMs, "`limits.cpu_ms` in function.toml"),
        (guests::SPIN_DESTRUCTOR, Limit::CpuMs, "`limits.cpu_ms` in function.toml"),
        (guests::GROW_MEMORY, Limit::MemoryBytes, "more than 67108864 bytes of memory; ask for more with"),
        (guests::LARGE_MEMORY, Limit::MemoryBytes, "more than 67108864 bytes of memory"),
        (guests::RECURSE, Limit::Stack, "stack of 512 KiB"),
        (guests::HOST_CALL_STORM, Limit::HostCalls, "more than 1000 times; only the operator's `limits.host_calls`"),
        (guests::AMPLIFIED_HEADERS, Limit::BytesOut, "only the operator's `limits.bytes_out`"),
        (guests::GIANT_LIST, Limit::BytesOut, "only the operator's `limits.bytes_out`"),
        (guests::HUGE_ANSWER, Limit::BytesOut, "more than 8388608 bytes; only the operator's `limits.bytes_out`"),
    ] {
        let ending = bench.ending(&guest, one()).await;
        let (limit, message) = limit(&ending);
        assert_eq!(limit, wanted, "{}: {message}", guest.name);
        assert!(message.contains(says), "{}: {message}", guest.name);
    }
}

#[tokio::test]
async fn tables_count_as_memory() {
    let limits = Limits { memory_bytes: 512 << 10, ..Limits::default() };
    let ending = Bench::new().ending(&guests::GROW_TABLE, with(limits)).await;
    assert_eq!(limit(&ending).0, Limit::MemoryBytes);
}

#[tokio::test]
async fn a_guest_that_takes_a_refusal_of_memory_well_may_answer() {
    let report = Bench::new().run(&guests::GROW_MEMORY_POLITELY, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    assert!((60 << 20..=64 << 20).contains(&report.used.memory_bytes), "{}", report.used.memory_bytes);
    let said = format!("used {} of 67108864 bytes of memory (`limits.memory_bytes`)", report.used.memory_bytes);
    assert!(report.log.iter().any(|line| line.text.contains(&said)), "{:?}", report.log);
}

#[tokio::test]
async fn allocations_that_overlap_are_the_guests_own_loss() {
    let ending = Bench::new().ending(&guests::REALLOC_OVERLAPS, one()).await;
    assert_eq!(ending, Ending::Answered(vec![Answer::Delivered]));
}

#[tokio::test]
async fn what_the_host_computes_for_a_guest_is_charged_to_it() {
    let bench = Bench::new();
    let busy = || through(Busy(Duration::from_millis(25)));
    // While the guest waits for it, and beside the guest.
    for guest in [guests::SEND, guests::WAIT_ANY, guests::WASI_SEND] {
        let report = bench.run(&guest, busy()).await;
        assert!(report.used.cpu_ms >= 20.0, "{}: {} ms", guest.name, report.used.cpu_ms);
    }
    let ending = bench.ending(&guests::SEND_FOREVER, busy()).await;
    assert_eq!(limit(&ending).0, Limit::CpuMs);
}

#[tokio::test]
async fn what_the_host_computes_in_steps_goes_no_further_than_the_budget_however_far_the_deadline_is() {
    let bench = Bench::new();
    for guest in [guests::SEND, guests::WAIT_ANY, guests::WASI_SEND] {
        let outlet = Arc::new(Endless);
        let limits = Limits { deadline_ms: 600_000, ..Limits::default() };
        let ending = bench.ending(&guest, Invocation { outlet, ..with(limits) }).await;
        assert_eq!(limit(&ending).0, Limit::CpuMs, "{}", guest.name);
    }
}

#[tokio::test]
async fn who_has_used_too_much_time_by_the_end_has_met_the_limit_whatever_they_answer() {
    let bench = Bench::new();
    for guest in [guests::SEND, guests::WAIT_ANY] {
        let report = bench.run(&guest, through(Busy(Duration::from_millis(40)))).await;
        assert_eq!(limit(&report.ending).0, Limit::CpuMs, "{}: {:?}", guest.name, report.ending);
        assert!(report.used.cpu_ms > 30.0 && !report.requests.is_empty(), "{}: its requests are recorded", guest.name);
    }
}

#[tokio::test]
async fn forged_values_end_as_traps_with_readable_texts() {
    let bench = Bench::new();
    for (guest, invocation, says) in [
        (guests::FORGED_LIST_LENGTH, batch_of(2), "list pointer/length out of bounds of memory"),
        (guests::FORGED_TEXT_POINTER, one(), "out of bounds"),
        (guests::FORGED_CASE, one(), "discriminant"),
        (guests::FORGED_HANDLE, one(), "handle"),
        (guests::REALLOC_OUT_OF_BOUNDS, one(), "realloc"),
        (guests::REALLOC_UNALIGNED, one(), "realloc"),
        (guests::RESOURCE_FLOOD, one(), "handle limit exceeded"),
        (guests::REALLOC_REENTERS, one(), "cannot leave component instance"),
        (guests::RANDOM_FLOOD, one(), "65536 is the most"),
        (guests::TRAP, one(), "integer divide by zero, in `average` called by `handle-event`"),
    ] {
        let ending = bench.ending(&guest, invocation).await;
        let text = trap(&ending);
        assert!(text.contains(says), "{}: {text}", guest.name);
        assert!(!text.contains("0x") && !text.contains(".rs"), "{}: {text}", guest.name);
    }
}

#[tokio::test]
async fn the_deadline_covers_a_guest_that_waits_and_one_that_spins() {
    let bench = Bench::new();
    let limits = Limits { deadline_ms: 50, cpu_ms: 60_000, ..Limits::default() };
    for guest in [
        guests::SLEEP_FOREVER,
        guests::SPIN_HANDLER,
        guests::SPIN_START,
        guests::SPIN_REALLOC,
        guests::SPIN_POST_RETURN,
        guests::SPIN_DESTRUCTOR,
    ] {
        let ending = bench.ending(&guest, with(limits.clone())).await;
        assert_eq!(ending, Ending::DeadlineExceeded { after: Duration::from_millis(50) }, "{}", guest.name);
    }
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event_or_not_at_all() {
    let bench = Bench::new();
    let ending = bench.ending(&guests::DELIVERED, batch_of(2)).await;
    assert_eq!(ending, Ending::Answered(vec![Answer::Delivered, Answer::Delivered]));
    let ending = bench.ending(&guests::WRONG_ANSWER_COUNT, batch_of(2)).await;
    assert_eq!(ending, Ending::WrongAnswerCount { events: 2, answers: 3 });
}

#[tokio::test]
async fn nothing_of_one_invocation_is_seen_by_the_next() {
    let bench = Bench::new();
    for _ in 0..20 {
        assert_eq!(rejected(&bench.run(&guests::COUNTER, one()).await), "11");
    }
}

#[tokio::test]
async fn a_flood_of_log_is_cut_and_escaped() {
    let report = Bench::new().run(&guests::LOG_FLOOD, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    assert_eq!(report.log.len(), 65);
    assert_eq!(report.log[0].text, r"\u{1b}[2J\u{1b}[31mgotcha\r\u{7}");
    assert!(report.log[64].text.contains("64 lines (`limits.log_lines`)"));
}

#[tokio::test]
async fn long_texts_are_cut() {
    let report = Bench::new().run(&guests::LONG_ANSWER, one()).await;
    assert_eq!(rejected(&report), format!("{}…", "a".repeat(4096)));
}

#[tokio::test]
async fn a_request_is_recorded_with_its_answer_or_its_refusal() {
    let bench = Bench::new();
    let report = bench.run(&guests::SEND, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    let exchange = &report.requests[0];
    assert_eq!((&*exchange.method, &*exchange.url), ("POST", "https://partner.example/in"));
    assert_eq!((exchange.status, &exchange.answer[..], exchange.retry_after_secs), (Some(200), &b"ok"[..], Some(7)));
    assert_eq!((&exchange.error, exchange.denied), (&None, false));
    assert_eq!((report.used.requests, report.used.host_calls), (1, 1));

    let report = bench.run(&guests::SEND, through(Denied)).await;
    assert_eq!(rejected(&report), "`https://partner.example/in` is not in the manifest");
    assert!(report.requests[0].denied && report.requests[0].status.is_none());
}

#[tokio::test]
async fn requests_that_nobody_waits_for_are_counted_bounded_and_given_up() {
    let bench = Bench::new();
    let silent = Silent::default();
    let report = bench.run(&guests::REQUEST_STORM, through(silent.clone())).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    // Four had a turn.
    assert_eq!((report.requests.len(), report.used.requests), (4, 32));
    assert!(report.requests.iter().all(|exchange| exchange.error.is_some()));
    settled(&silent).await;

    let limits = Limits { handles: 3, ..Limits::default() };
    let ending = bench.ending(&guests::REQUEST_STORM, with(limits)).await;
    assert_eq!(
        limit(&ending),
        (Limit::Handles, "the function held more than 3 handles; only the operator's `limits.handles` raises it")
    );
}

#[tokio::test]
async fn dropping_an_invocation_gives_up_its_requests_and_its_place() {
    let config = SandboxConfig { max_instances: 1, ..SandboxConfig::in_memory() };
    let bench = Bench { sandbox: Sandbox::start(&config).unwrap() };
    let silent = Silent::default();
    for guest in [guests::WAIT_ANY, guests::SEND] {
        let mut run = Box::pin(bench.run(&guest, through(silent.clone())));
        tokio::select! {
            report = &mut run => panic!("{report:?}"),
            () = under_way(&silent) => {}
        }
        drop(run);
        settled(&silent).await;
        assert!(silent.most.load(std::sync::atomic::Ordering::SeqCst) <= 4);
        let next = bench.run(&guests::DELIVERED, one()).await;
        assert_eq!(next.ending, Ending::Answered(vec![Answer::Delivered]));
    }
}

async fn under_way(silent: &Silent) {
    while silent.now.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

/// Waits until no request is under way. The test hangs if one is left behind.
pub async fn settled(silent: &Silent) {
    while silent.now.load(std::sync::atomic::Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pending_request_can_be_taken_once() {
    let report = Bench::new().run(&guests::WAIT_ANY, one()).await;
    assert_eq!(rejected(&report), "022", "a response, then `invalid-request` for an empty list and for a taken one");
}

#[tokio::test]
async fn clock_and_randomness_can_be_fixed() {
    let bench = Bench::new();
    let fixed = |seed| Invocation { clock: Clock::Fixed(Timestamp::from_millis(1234)), seed, ..one() };
    let report = bench.run(&guests::CLOCK, fixed(None)).await;
    let retry = Answer::Retry { message: String::new(), after: Some(Duration::from_millis(1234)) };
    assert_eq!(report.ending, Ending::Answered(vec![retry]));

    let mut texts = Vec::new();
    for seed in [Some(1), Some(1), Some(2), None, None] {
        texts.push(rejected(&bench.run(&guests::RANDOM, fixed(seed)).await).to_owned());
    }
    assert_eq!(texts[0], texts[1]);
    texts.remove(0);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4);
}

#[tokio::test]
async fn settings_arrive_and_count_as_bytes_for_the_guest() {
    let bench = Bench::new();
    let settings: Arc<str> = Arc::from(r#"{"region":"eu"}"#);
    let report = bench.run(&guests::ECHO_SETTINGS, Invocation { settings: Arc::clone(&settings), ..one() }).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::InvalidSettings(settings.to_string())]));
    let limits = Limits { bytes_in: 100, ..Limits::default() };
    let ending = bench.ending(&guests::ECHO_SETTINGS, Invocation { settings, ..with(limits) }).await;
    assert_eq!(limit(&ending).0, Limit::BytesIn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_spinning_guests_on_two_threads_do_not_hold_up_the_others() {
    let bench = Arc::new(Bench::new());
    let spin = bench.load(&guests::SPIN_HANDLER).await;
    let good = bench.load(&guests::SEND).await;
    let limits = Limits { deadline_ms: 60_000, cpu_ms: 60_000, ..Limits::default() };
    let spinning: Vec<_> = (0..8)
        .map(|_| {
            let (bench, spin, limits) = (Arc::clone(&bench), Arc::clone(&spin), limits.clone());
            tokio::spawn(async move { bench.sandbox.invoke(&spin, with(limits)).await })
        })
        .collect();
    // A timer, and guests that answer, while each of the eight would spin for a minute.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..3 {
        let report = bench.sandbox.invoke(&good, one()).await;
        assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    }
    for task in &spinning {
        assert!(!task.is_finished());
        task.abort();
    }
    for task in spinning {
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn guests_that_sleep_with_memory_leave_the_rest_of_it_to_others() {
    let config = SandboxConfig { max_instances: 16, memory_bytes: 64 << 20, ..SandboxConfig::in_memory() };
    let bench = Bench { sandbox: Sandbox::start(&config).unwrap() };
    let silent = Silent::default();
    let mut sleeping = Box::pin(bench.run(&guests::LARGE_SEND, through(silent.clone())));
    tokio::select! {
        report = &mut sleeping => panic!("{report:?}"),
        () = under_way(&silent) => {}
    }
    // Beside its 40 MiB there is no place for another one, which is not that one's fault; small ones need none.
    match bench.ending(&guests::LARGE_SEND, one()).await {
        Ending::HostFault(why) => assert!(why.contains("sandbox.memory_percent"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(sleeping);
    settled(&silent).await;
    assert_eq!(bench.ending(&guests::LARGE_SEND, one()).await, Ending::Answered(vec![Answer::Delivered]));
}

#[tokio::test]
async fn answers_that_are_kept_for_guests_come_out_of_the_memory_of_all() {
    let config = SandboxConfig { max_instances: 2, memory_bytes: 300 << 10, ..SandboxConfig::in_memory() };
    let bench = Bench { sandbox: Sandbox::start(&config).unwrap() };
    let starves = |ending: Ending| match ending {
        Ending::HostFault(why) => assert!(why.contains("sandbox.memory_percent"), "{why}"),
        other => panic!("{other:?}"),
    };
    // One that is larger than there is room for is not the guest's fault, and neither is one that is not sent for that.
    starves(bench.run(&guests::SEND, through(Large(200 << 10))).await.ending);
    let silent = Silent::default();
    let mut waiting = Box::pin(bench.run(&guests::SEND, through(silent.clone())));
    tokio::select! {
        report = &mut waiting => panic!("{report:?}"),
        () = under_way(&silent) => {}
    }
    let counted = Counted::default();
    starves(bench.run(&guests::SEND, through(counted.clone())).await.ending);
    assert_eq!(counted.0.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing was sent");
    drop(waiting);
    settled(&silent).await;
    let report = bench.run(&guests::SEND, through(Large(40 << 10))).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
}

#[tokio::test]
async fn a_functions_requests_run_four_at_a_time_and_each_event_has_its_own_answer() {
    let bench = Bench::new();
    let version = bench.load_component(std::fs::read(function("webhook")).unwrap()).await;
    let webhook = |outlet, limits| Invocation {
        settings: Arc::from(r#"{"url":"https://partner.example.com/in"}"#),
        outlet,
        limits,
        ..batch_of(32)
    };
    let four = FourAtATime::new();
    let mut batch = webhook(Arc::new(four.clone()), Limits { cpu_ms: 60_000, ..Limits::default() });
    for (place, given) in batch.events.iter_mut().enumerate() {
        given.event.json = Bytes::from_static(if place % 3 == 0 { br#"{"is":"odd"}"# } else { b"{}" });
    }
    let report = bench.sandbox.invoke(&version, batch).await;
    let answer = |place: usize| match place % 3 {
        0 => Answer::Rejected("HTTP 400".to_owned()),
        _ => Answer::Delivered,
    };
    assert_eq!(report.ending, Ending::Answered((0..32).map(answer).collect()));
    assert_eq!(four.under_way.most.load(std::sync::atomic::Ordering::SeqCst), 4);
    // Of those that never had a turn nothing was sent, and nothing says so.
    let hanging =
        webhook(Arc::new(Silent::default()), Limits { deadline_ms: 3_000, cpu_ms: 60_000, ..Limits::default() });
    let report = bench.sandbox.invoke(&version, hanging).await;
    assert!(matches!(report.ending, Ending::DeadlineExceeded { .. }), "{:?}", report.ending);
    assert_eq!((report.requests.len(), report.used.requests), (4, 32));
}

#[tokio::test]
async fn bodies_that_are_kept_for_guests_come_out_of_the_memory_of_all() {
    let bench = |memory_bytes| {
        let config = SandboxConfig { max_instances: 2, memory_bytes, ..SandboxConfig::in_memory() };
        Bench { sandbox: Sandbox::start(&config).unwrap() }
    };
    let small = bench(2 << 20);
    let counted = Counted::default();
    for (guest, bench) in [(guests::LONG_BODY, &small), (guests::WASI_ENDLESS_BODY, &bench(1 << 20))] {
        match bench.run(&guest, through(counted.clone())).await.ending {
            Ending::HostFault(why) => assert!(why.contains("sandbox.memory_percent"), "{why}"),
            other => panic!("{}: {other:?}", guest.name),
        }
    }
    assert_eq!(counted.0.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing was sent");
    let report = bench(8 << 20).run(&guests::LONG_BODY, one()).await;
    assert_eq!((report.ending, report.requests[0].body.len()), (Ending::Answered(vec![Answer::Delivered]), 3 << 19));
}

#[tokio::test]
async fn header_fields_that_are_kept_for_guests_come_out_of_the_memory_of_all() {
    let bench = |memory_bytes| {
        let config = SandboxConfig { max_instances: 2, memory_bytes, ..SandboxConfig::in_memory() };
        Bench { sandbox: Sandbox::start(&config).unwrap() }
    };
    match bench(2 << 20)
        .run(&guests::WASI_FIELDS_FLOOD, with(Limits { cpu_ms: 5_000, ..Limits::default() }))
        .await
        .ending
    {
        Ending::HostFault(why) => assert!(why.contains("sandbox.memory_percent"), "{why}"),
        other => panic!("{other:?}"),
    }
    let ample = bench(64 << 20);
    let patient = || with(Limits { cpu_ms: 5_000, ..Limits::default() });
    let flood = ample.run(&guests::WASI_FIELDS_FLOOD, patient()).await;
    assert!(matches!(flood.ending, Ending::LimitExceeded { limit: Limit::BytesOut, .. }), "{:?}", flood.ending);
    assert!(flood.used.memory_bytes > 8 << 20, "{} bytes", flood.used.memory_bytes);
    // Fields without a byte in them take memory, too.
    let small = Limits { memory_bytes: 2 << 20, cpu_ms: 5_000, ..Limits::default() };
    let many = ample.run(&guests::WASI_EMPTY_FIELDS, with(small)).await;
    assert!(matches!(many.ending, Ending::LimitExceeded { limit: Limit::MemoryBytes, .. }), "{:?}", many.ending);
}

#[tokio::test]
async fn compiled_code_survives_a_restart_and_damage_to_it_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let component = Bytes::from(guests::DELIVERED.component());
    let digest = Digest(Sha256::digest(&component).into());
    let start = |key| {
        let cache_dir = Some(dir.path().to_owned());
        Sandbox::start(&SandboxConfig { cache_dir, cache_key: key, max_instances: 2, ..SandboxConfig::in_memory() })
            .unwrap()
    };
    let from_disk = async |key| {
        let sandbox = start(key);
        let Ok(version) = sandbox.load(digest, async { Err("not on disk") }).await else { return false };
        let report = sandbox.invoke(&version, one()).await;
        report.ending == Ending::Answered(vec![Answer::Delivered])
    };
    let compile = async |key| {
        start(key).load(digest, async { Ok::<_, String>(component.clone()) }).await.map(drop).unwrap();
    };
    assert!(!from_disk([1; 32]).await);
    compile([1; 32]).await;
    assert!(from_disk([1; 32]).await);
    assert!(!from_disk([2; 32]).await, "another key");

    let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(!from_disk([1; 32]).await, "a flipped bit");
    compile([1; 32]).await;
    assert!(from_disk([1; 32]).await);
}

#[tokio::test]
async fn a_version_is_loaded_once_and_stays_while_it_is_used() {
    let config = SandboxConfig { max_instances: 2, max_loaded_versions: 1, ..SandboxConfig::in_memory() };
    let bench = Bench { sandbox: Sandbox::start(&config).unwrap() };
    let component = Bytes::from(guests::DELIVERED.component());
    let digest = Digest(Sha256::digest(&component).into());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let load = || {
        bench.sandbox.load(digest, async {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, String>(component.clone())
        })
    };
    let (one_of, other) = tokio::join!(load(), load());
    assert!(Arc::ptr_eq(&one_of.unwrap(), other.as_ref().unwrap()));
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    let used = other.unwrap();
    for guest in [guests::COUNTER, guests::CLOCK, guests::RANDOM] {
        bench.load(&guest).await;
    }
    let report = bench.sandbox.invoke(&used, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
}

#[tokio::test]
async fn what_cannot_be_loaded_says_why() {
    let bench = Bench::new();
    let digest = Digest([0; 32]);
    let load = async |bytes: Result<&'static [u8], &'static str>| {
        let bytes = bytes.map(Bytes::from_static);
        let digest = bytes.as_ref().map_or(digest, |bytes| Digest(Sha256::digest(bytes).into()));
        bench.sandbox.load(digest, async { bytes }).await.map(drop).unwrap_err().to_string()
    };
    assert!(load(Err("the disk is gone")).await.ends_with("could not be read: the disk is gone"));
    assert!(load(Ok(b"\x7fELF")).await.contains("cannot be run"));
    assert!(load(Ok(b"\0asm\x01\0\0\0")).await.contains("cannot be run"));
    let wrong = bench.sandbox.load(digest, async { Ok::<_, String>(Bytes::from_static(b"x")) }).await;
    assert!(wrong.map(drop).unwrap_err().to_string().contains("was asked for, but the bytes are those of"));
}
