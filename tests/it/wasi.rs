//! WASI as stock toolchains use it: within the same bounds, through the same gate, and with nothing of the machine in it.

use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::model::{Answer, Ending, Limit, Limits, LogLevel, Timestamp};
use tidegate::sandbox::Invocation;

use crate::guests;
use crate::outlets::{Denied, Silent};
use crate::sandbox::{Bench, limit, one, rejected, settled, through, trap, with};

#[tokio::test]
async fn a_request_through_wasi_is_sent_recorded_and_refused_like_any_other() {
    let bench = Bench::new();
    let report = bench.run(&guests::WASI_SEND, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    let [exchange] = &report.requests[..] else { panic!("{:?}", report.requests) };
    assert_eq!((&*exchange.method, &*exchange.url), ("POST", "https://partner.example/in"));
    assert_eq!((&exchange.body[..], &exchange.headers[..]), (&b"ping"[..], &[][..]));
    assert_eq!((exchange.status, &exchange.answer[..], exchange.retry_after_secs), (Some(200), &b"ok"[..], Some(7)));
    assert_eq!((&exchange.error, exchange.denied, report.used.requests), (&None, false, 1));

    let report = bench.run(&guests::WASI_SEND, through(Denied)).await;
    assert_eq!(rejected(&report), "P", "HTTP-request-denied");
    assert!(report.requests[0].denied && report.requests[0].status.is_none());
    let said = report.requests[0].error.as_deref();
    assert_eq!(said, Some("`https://partner.example/in` is not in the manifest"));
}

#[tokio::test]
async fn a_guest_that_uses_up_a_budget_through_wasi_is_stopped_and_told_which() {
    let bench = Bench::new();
    let limits = || Limits { bytes_out: 1 << 20, ..Limits::default() };
    for (guest, wanted, says) in [
        (guests::WASI_CLOCK_STORM, Limit::HostCalls, "called the host more than 1000 times"),
        (guests::WASI_SOCKET_STORM, Limit::HostCalls, "called the host more than 1000 times"),
        (guests::WASI_REQUEST_STORM, Limit::HostCalls, "called the host more than 1000 times"),
        (guests::WASI_RANDOM_FLOOD, Limit::BytesIn, "given the function more than 8388608 bytes"),
        (guests::WASI_ENDLESS_BODY, Limit::BytesOut, "gave the host more than 1048576 bytes"),
        (guests::WASI_FIELDS_FLOOD, Limit::BytesOut, "gave the host more than 1048576 bytes"),
        (guests::WASI_HANDLE_FLOOD, Limit::Handles, "held more than 256 handles"),
    ] {
        let ending = bench.ending(&guest, with(limits())).await;
        let (limit, message) = limit(&ending);
        assert_eq!(limit, wanted, "{}: {message}", guest.name);
        assert!(message.contains(says), "{}: {message}", guest.name);
    }
}

#[tokio::test]
async fn the_deadline_covers_what_a_guest_waits_for_through_wasi() {
    let bench = Bench::new();
    let limits = Limits { deadline_ms: 50, ..Limits::default() };
    for guest in [guests::WASI_WAIT_FOREVER, guests::WASI_UNFINISHED_BODY] {
        let ending = bench.ending(&guest, with(limits.clone())).await;
        assert_eq!(ending, Ending::DeadlineExceeded { after: Duration::from_millis(50) }, "{}", guest.name);
    }
    let report = bench.run(&guests::WASI_UNFINISHED_BODY, with(limits)).await;
    assert_eq!(report.requests[0].error.as_deref(), Some("given up before it had ended"));
}

#[tokio::test]
async fn requests_through_wasi_that_nobody_reads_are_bounded_and_given_up() {
    let silent = Silent::default();
    let report = Bench::new().run(&guests::WASI_REQUEST_STORM, through(silent.clone())).await;
    assert_eq!(report.requests.len(), 32);
    assert!(report.requests.iter().all(|exchange| exchange.error.is_some()));
    settled(&silent).await;
}

#[tokio::test]
async fn what_is_printed_is_log_cut_and_escaped() {
    let report = Bench::new().run(&guests::WASI_PRINT_FLOOD, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
    assert_eq!(report.log.len(), 65);
    assert_eq!((report.log[0].level, &*report.log[0].text), (LogLevel::Info, r"\u{1b}[2Jgotcha"));
    assert!(report.log[64].text.contains("64 lines (`limits.log_lines`)"));
}

#[tokio::test]
async fn an_exit_is_an_ending_with_a_message_after_what_was_printed() {
    let bench = Bench::new();
    let ending = bench.ending(&guests::WASI_EXIT, one()).await;
    assert_eq!(trap(&ending), "it exited with status 1 (`wasi:cli/exit`) instead of answering");
    let report = bench.run(&guests::WASI_EXIT, one()).await;
    assert_eq!(report.log.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["bye!"]);
}

#[tokio::test]
async fn there_is_no_environment_no_argument_no_folder_and_no_socket() {
    let report = Bench::new().run(&guests::WASI_PROBE, one()).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]));
}

#[tokio::test]
async fn clock_and_randomness_of_wasi_are_the_invocations() {
    let bench = Bench::new();
    let fixed = |seed| Invocation { clock: Clock::Fixed(Timestamp::from_millis(5_000)), seed, ..one() };
    let report = bench.run(&guests::WASI_CLOCK, fixed(None)).await;
    let retry = Answer::Retry { message: String::new(), after: Some(Duration::from_millis(5_007)) };
    assert_eq!(report.ending, Ending::Answered(vec![retry]));

    let mut texts = Vec::new();
    for seed in [Some(1), Some(1), Some(2), None, None] {
        texts.push(rejected(&bench.run(&guests::WASI_RANDOM, fixed(seed)).await).to_owned());
    }
    assert_eq!(texts[0], texts[1]);
    texts.remove(0);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4);
}
