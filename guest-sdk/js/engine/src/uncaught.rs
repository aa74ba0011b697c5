//! What a function leaves behind that nobody catches: an error of a callback, a promise that fails unseen. The first of
//! them ends the call, as it ends Node, unless what the call waits for was settled before.

use std::cell::RefCell;

use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Persistent, Promise, Result, Value};
use tidegate_sdk::bindings::tidegate::destination::types::Answer;

use crate::call::Ending;
use crate::engine::{Engine, is_loading};

thread_local! {
    static UNCAUGHT: RefCell<Uncaught> = const { RefCell::new(Uncaught { watched: None, first: None, rejected: Vec::new() }) };
}

struct Uncaught {
    /// What the call waits for.
    watched: Option<Persistent<Promise<'static>>>,
    first: Option<Persistent<Value<'static>>>,
    /// Promises that failed while nobody waited for them, and with what.
    rejected: Vec<(Persistent<Value<'static>>, Persistent<Value<'static>>)>,
}

/// From here on it counts what comes before this promise is settled.
pub fn watch<'js>(context: &Ctx<'js>, promise: &Promise<'js>) {
    let promise = Persistent::save(context, promise.clone());
    UNCAUGHT.with_borrow_mut(|uncaught| uncaught.watched = Some(promise));
}

/// `uncaught(thrown)`: what a callback threw.
pub fn note<'js>(context: Ctx<'js>, thrown: Value<'js>) -> Result<()> {
    if is_loading() {
        return Ok(());
    }
    let watched = UNCAUGHT.with_borrow(|uncaught| uncaught.watched.clone());
    let watched = watched.map(|promise| promise.restore(&context)).transpose()?;
    if watched.is_none_or(|promise| promise.state() == PromiseState::Pending) {
        let thrown = Persistent::save(&context, thrown);
        UNCAUGHT.with_borrow_mut(|uncaught| uncaught.first.get_or_insert(thrown).clone());
    }
    Ok(())
}

/// A promise has failed while nobody waits for it, or somebody does after all.
pub fn rejected<'js>(context: &Ctx<'js>, promise: Value<'js>, reason: Value<'js>, handled: bool) {
    let promise = Persistent::save(context, promise);
    UNCAUGHT.with_borrow_mut(|uncaught| {
        uncaught.rejected.retain(|(other, _)| *other != promise);
        if !handled {
            uncaught.rejected.push((promise, Persistent::save(context, reason)));
        }
    });
}

/// Forgets what loading left.
pub fn forget() {
    UNCAUGHT.with_borrow_mut(|uncaught| uncaught.rejected.clear());
}

/// What the first error of a callback means.
pub fn first(engine: &Engine, context: &Ctx<'_>) -> Result<Option<Answer>> {
    let Some(thrown) = UNCAUGHT.with_borrow_mut(|uncaught| uncaught.first.take()) else { return Ok(None) };
    let ending: Ending = engine.ending_of.clone().restore(context)?.call((thrown,))?;
    Ok(Some(ending.answer()))
}

/// What the first promise means that failed unseen, now that none can go on.
pub fn unhandled(engine: &Engine, context: &Ctx<'_>) -> Result<Option<Answer>> {
    let rejected = UNCAUGHT.with_borrow_mut(|uncaught| std::mem::take(&mut uncaught.rejected));
    let Some((_, reason)) = rejected.into_iter().next() else { return Ok(None) };
    let ending: Ending = engine.unhandled.clone().restore(context)?.call((reason,))?;
    Ok(Some(ending.answer()))
}
