//! How an invocation ended: the guest's answers, or the reason why there are none.
//!
//! Guarantees: every ending is a value with a message for a person; nothing in it shows the host's paths or
//! addresses; texts that guests make are bounded and escaped, and cut where no secret is.

use std::time::Duration;

use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::egress::Outlet;
use crate::model::{Answer, Ending, Limit};

use super::HostFault;
use super::bindings::exports::tidegate::destination::handler;
use super::budget::LimitHit;
use super::host::Run;
use super::log::{cut, escape};
use super::wasi::Exited;

/// The most bytes of one text in an answer: a screenful, enough for a partner's whole error response.
const TEXT: usize = 4 << 10;
/// The most bytes of an error's name, and of one function's name in a trap.
const NAME: usize = 128;
/// How many functions a trap names: where it happened and how it came there.
const FRAMES: usize = 3;

/// The guest was looked at after the deadline.
#[derive(Debug, thiserror::Error)]
#[error("the deadline has passed")]
pub(super) struct DeadlinePassed;

/// What the guest said, bounded.
pub(super) fn answered(answers: Vec<handler::Answer>, events: usize, outlet: &dyn Outlet) -> Ending {
    if answers.len() != events {
        return Ending::WrongAnswerCount { events, answers: answers.len() };
    }
    Ending::Answered(answers.into_iter().map(|said| answer(said, outlet)).collect())
}

/// How many bytes of answers crossed.
pub(super) fn answer_bytes(answers: &[handler::Answer]) -> usize {
    let texts = |answer: &handler::Answer| match answer {
        handler::Answer::Delivered | handler::Answer::Unsupported => 0,
        handler::Answer::Rejected(text) | handler::Answer::InvalidSettings(text) => text.len(),
        handler::Answer::Retry(retry) => retry.message.len(),
        handler::Answer::Failed(failure) => failure.name.len() + failure.message.len(),
    };
    answers.iter().map(texts).sum()
}

fn answer(said: handler::Answer, outlet: &dyn Outlet) -> Answer {
    let cut = |text, most| cut(text, most, outlet);
    match said {
        handler::Answer::Delivered => Answer::Delivered,
        handler::Answer::Unsupported => Answer::Unsupported,
        handler::Answer::Rejected(text) => Answer::Rejected(cut(text, TEXT)),
        handler::Answer::Retry(retry) => {
            Answer::Retry { message: cut(retry.message, TEXT), after: retry.after_ms.map(Duration::from_millis) }
        }
        handler::Answer::InvalidSettings(text) => Answer::InvalidSettings(cut(text, TEXT)),
        handler::Answer::Failed(failure) => {
            Answer::Failed { name: cut(failure.name, NAME), message: cut(failure.message, TEXT) }
        }
    }
}

/// Why the guest did not answer.
pub(super) fn unanswered(error: &Error, run: &Run) -> Ending {
    let limits = run.budget.limits();
    let exceeded = |LimitHit { limit, message }: LimitHit| Ending::LimitExceeded { limit, message };
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return exceeded(hit.clone());
    }
    if error.is::<DeadlinePassed>() {
        return Ending::DeadlineExceeded { after: Duration::from_millis(limits.deadline_ms) };
    }
    if error.is::<HostFault>() || error.is::<PoolConcurrencyLimitError>() {
        return Ending::HostFault(error.root_cause().to_string());
    }
    if let Some(exited) = error.downcast_ref::<Exited>() {
        return Ending::Trapped(exited.to_string());
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return exceeded(LimitHit::new(Limit::Stack, limits));
    }
    if is_fuel(error) {
        return exceeded(LimitHit::new(Limit::BytesOut, limits));
    }
    let trap = readable(error);
    if let Some(wanted) = run.memory.refused() {
        let LimitHit { limit, message } = LimitHit::new(Limit::MemoryBytes, limits);
        return Ending::LimitExceeded {
            limit,
            message: format!("{message} (it asked for {wanted} and then ended: {trap})"),
        };
    }
    Ending::Trapped(trap)
}

/// Whether the guest gave the host more in one call than the budget of bytes holds: wasmtime stops copying. Its
/// error's type is private, so this asks for the type's name (a test holds it).
fn is_fuel(error: &Error) -> bool {
    format!("{:?}", error.root_cause()) == "HostcallFuelExhausted"
}

/// The trap and the functions in which it happened. Only the innermost cause: wasmtime's outer texts name code
/// addresses.
fn readable(error: &Error) -> String {
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let (mut text, _) = escape(&cause, TEXT);
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let names = frames.iter().filter_map(|frame| frame.func_name()).take(FRAMES);
    let names: Vec<String> = names.map(|name| format!("`{}`", escape(name, NAME).0)).collect();
    if !names.is_empty() {
        text.push_str(", in ");
        text.push_str(&names.join(" called by "));
    }
    text
}
