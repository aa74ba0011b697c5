//! Call: events go to the partner's handler, and what became of them comes back.

use rquickjs::promise::PromiseState;
use rquickjs::{CaughtError, Ctx, FromJs, Object, Persistent, Promise, Value};
use tidegate_sdk::bindings;
use tidegate_sdk::bindings::exports::tidegate::destination::handler::Guest;
use tidegate_sdk::bindings::tidegate::destination::types::{Answer, Event, EventType, Failure, Retry};

use crate::engine::{self, Engine};
use crate::text::Text;

/// What the prelude says of one event.
pub struct Ending {
    case: String,
    pub message: String,
    pub name: String,
    after_ms: Option<f64>,
}

impl<'js> FromJs<'js> for Ending {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Self> {
        let object = Object::from_value(value)?;
        let text = |name| Ok::<_, rquickjs::Error>(object.get::<_, Text>(name)?.0);
        Ok(Self {
            case: text("case")?,
            message: text("message")?,
            name: text("name")?,
            after_ms: object.get("afterMs")?,
        })
    }
}

impl Ending {
    fn failed(name: &str, message: String) -> Self {
        Self { case: "failed".to_owned(), message, name: name.to_owned(), after_ms: None }
    }

    fn answer(self) -> Answer {
        match &*self.case {
            "delivered" => Answer::Delivered,
            "unsupported" => Answer::Unsupported,
            "rejected" => Answer::Rejected(self.message),
            "retry" => Answer::Retry(Retry { message: self.message, after_ms: self.after_ms.map(|ms| ms as u64) }),
            "invalid-settings" => Answer::InvalidSettings(self.message),
            _ => Answer::Failed(Failure { name: self.name, message: self.message }),
        }
    }
}

struct Component;

impl Guest for Component {
    fn handle_event(event: Event, settings: String) -> Answer {
        let kind = match event.event_type {
            EventType::Track => "onTrack",
            EventType::Identify => "onIdentify",
            EventType::Page => "onPage",
            EventType::Screen => "onScreen",
            EventType::Group => "onGroup",
            EventType::Alias => "onAlias",
            EventType::Delete => "onDelete",
        };
        call::<Ending>(kind, &event.json, &settings).unwrap_or_else(|ending| ending).answer()
    }

    fn handle_batch(events: Vec<Event>, settings: String) -> Vec<Answer> {
        let list: Vec<&str> = events.iter().map(|event| &*event.json).collect();
        match call::<Vec<Ending>>("onBatch", &format!("[{}]", list.join(",")), &settings) {
            Ok(endings) => endings.into_iter().map(Ending::answer).collect(),
            Err(ending) => {
                let answer = ending.answer();
                events.iter().map(|_| answer.clone()).collect()
            }
        }
    }
}

bindings::export!(Component with_types_in bindings);

/// Runs one handler to its end.
fn call<T: for<'js> FromJs<'js>>(kind: &str, events: &str, settings: &str) -> Result<T, Ending> {
    engine::with(|engine, context| {
        drive(engine, context, kind, events, settings).map_err(|error| {
            match CaughtError::from_error(context, error) {
                CaughtError::Exception(exception) => Ending::failed(
                    "InternalError",
                    exception.message().unwrap_or_else(|| "the engine failed without a message".to_owned()),
                ),
                CaughtError::Value(_) => Ending::failed("InternalError", "the engine failed".to_owned()),
                CaughtError::Error(error) => Ending::failed("InternalError", error.to_string()),
            }
        })?
    })
}

fn drive<'js, T: FromJs<'js>>(
    engine: &Engine,
    context: &Ctx<'js>,
    kind: &str,
    events: &str,
    settings: &str,
) -> rquickjs::Result<Result<T, Ending>> {
    let dispatch = engine.dispatch.clone().restore(context)?;
    let pump = engine.pump.clone().restore(context)?;
    let promise: Promise = dispatch.call((kind, events, settings))?;
    // The engine drops what it no longer needs; a promise that nobody holds could not be asked.
    let _held = Persistent::save(context, promise.clone());
    loop {
        engine.run_jobs(context)?;
        if promise.state() != PromiseState::Pending {
            return promise.result::<T>().unwrap_or(Err(rquickjs::Error::Unknown)).map(Ok);
        }
        if !pump.call::<_, bool>(())? {
            return Ok(Err(Ending::failed(
                "NeverSettled",
                format!("`{kind}` waits for a promise that nothing can settle: no request or timer is under way"),
            )));
        }
    }
}
