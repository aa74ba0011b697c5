//! A guest is asked what a setting may be: an invocation like any other, but for the function that is called.
//!
//! Guarantees: those of an invocation; no more choices than [`MOST`], each of bounded length.

use tokio::time::{Instant, timeout_at};
use wasmtime::component::{ComponentExportIndex, ComponentType, Lift};
use wasmtime::{Engine, Result, Store};

use crate::egress::Outlet;
use crate::model::{Ending, InvocationReport};

use super::cpu::{CpuMeter, Turns};
use super::ending::unanswered;
use super::host::Run;
use super::invocation::{Invocation, deadline, in_time, report, store};
use super::log::cut;
use super::pool::Pool;
use super::version::LoadedVersion;

/// The interface that not every component exports.
pub(super) const INTERFACE: &str = "tidegate:destination/choices@0.1.0";
/// Its function.
pub(super) const FUNCTION: &str = "get-choices";

/// The most choices: more than people look through, less than hurts.
pub const MOST: usize = 1_000;

/// Bytes of a value or a label, and of the text that says why there are none.
const TEXT: usize = 1 << 10;

/// One thing that a setting may be.
#[derive(Clone, PartialEq, Eq, Debug, ComponentType, Lift)]
#[component(record)]
pub struct Choice {
    /// The setting's value.
    pub value: String,
    /// What people read instead of it; empty where the value says enough.
    pub label: String,
}

/// What a guest said, or the text of why not; nothing if it did not come to say anything.
pub type Choices = Option<std::result::Result<Vec<Choice>, String>>;

/// Asks a guest once.
pub(super) async fn ask(
    engine: &Engine,
    turns: &Turns,
    pool: &Pool,
    version: &LoadedVersion,
    invocation: &Invocation,
    setting: &str,
) -> (Choices, InvocationReport) {
    let began = Instant::now();
    let (after, deadline) = deadline(began, invocation);
    let cpu = CpuMeter::default();
    let mut store = store(engine, pool, invocation, deadline, cpu.clone());
    let beside = store.data().requests.under_way();
    let guest = beside.carry(call(&mut store, version, invocation, setting));
    let called = timeout_at(deadline, cpu.measure(turns, guest)).await;
    let (choices, ending) = match called {
        Ok(Ok(choices)) => (Some(choices), Ending::Answered(Vec::new())),
        Ok(Err(error)) => (None, unanswered(&error, store.data())),
        Err(_) => (None, Ending::DeadlineExceeded { after }),
    };
    let ending = in_time(ending, store.data());
    let choices = choices.filter(|_| matches!(ending, Ending::Answered(_)));
    (choices, report(store.into_data(), ending, began))
}

async fn call(
    store: &mut Store<Run>,
    version: &LoadedVersion,
    invocation: &Invocation,
    setting: &str,
) -> Result<std::result::Result<Vec<Choice>, String>> {
    let Some(function) = version.choices() else {
        return Ok(Err("it was built before functions were asked for choices: build it anew".to_owned()));
    };
    let settings = &*invocation.settings;
    store.data_mut().budget.host_gives(setting.len() + settings.len())?;
    let instance = version.instance(store).await?;
    let function: ComponentExportIndex = function;
    let function =
        instance.get_typed_func::<(&str, &str), (std::result::Result<Vec<Choice>, String>,)>(&mut *store, &function)?;
    let (given,) = function.call_async(&mut *store, (setting, settings)).await?;
    let bytes = match &given {
        Ok(choices) => choices.iter().map(|one| one.value.len() + one.label.len()).sum(),
        Err(why) => why.len(),
    };
    store.data_mut().budget.guest_gives(bytes)?;
    Ok(bounded(given, &*invocation.outlet))
}

/// What is shown to people of it, or why none of it is.
fn bounded(
    given: std::result::Result<Vec<Choice>, String>,
    outlet: &dyn Outlet,
) -> std::result::Result<Vec<Choice>, String> {
    let choices = given.map_err(|why| cut(why, TEXT, outlet))?;
    if choices.len() > MOST {
        return Err(format!("it gave {} choices, and at most {MOST} are taken", choices.len()));
    }
    let long = |one: &&Choice| one.value.len() > TEXT || one.label.len() > TEXT || one.value.is_empty();
    match choices.iter().find(long) {
        Some(one) => {
            let value = cut(&one.value, 40, outlet);
            Err(format!("its choice `{value}` has an empty value, or more than {TEXT} bytes"))
        }
        None => Ok(choices),
    }
}
