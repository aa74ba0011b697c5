//! Call: events go to the partner's handler, and what became of them comes back.

use rquickjs::{CaughtError, Ctx, Error, FromJs, Object, Promise, Value};
use tidegate_sdk::bindings;
use tidegate_sdk::bindings::exports::tidegate::destination::choices::{self, Choice};
use tidegate_sdk::bindings::exports::tidegate::destination::handler::Guest;
use tidegate_sdk::bindings::tidegate::destination::types::{Answer, Event, EventType, Failure, Retry};

use crate::engine::{self, Engine};
use crate::text::Text;
use crate::{host, requests, uncaught};

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
        let text = |name| Ok::<_, Error>(object.get::<_, Text>(name)?.0);
        Ok(Self {
            case: text("case")?,
            message: text("message")?,
            name: text("name")?,
            after_ms: object.get("afterMs")?,
        })
    }
}

impl Ending {
    pub fn answer(self) -> Answer {
        match &*self.case {
            "delivered" => Answer::Delivered,
            "unsupported" => Answer::Unsupported,
            "rejected" => Answer::Rejected(self.message),
            "retry" => Answer::Retry(Retry { message: self.message, after_ms: self.after_ms.map(|ms| ms as u64) }),
            "invalid-settings" => Answer::InvalidSettings(self.message),
            _ => failed(&self.name, self.message),
        }
    }
}

fn failed(name: &str, message: String) -> Answer {
    Answer::Failed(Failure { name: name.to_owned(), message })
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
        host::note_attempts([(event.message_id, event.attempt)].into_iter());
        call(|engine, context| one(engine, context, kind, event.json, settings)).unwrap_or_else(|answer| answer)
    }

    fn handle_batch(events: Vec<Event>, settings: String) -> Vec<Answer> {
        let list: Vec<&str> = events.iter().map(|event| &*event.json).collect();
        let list = format!("[{}]", list.join(","));
        host::note_attempts(events.iter().map(|event| (event.message_id.clone(), event.attempt)));
        call(|engine, context| several(engine, context, list, settings))
            .unwrap_or_else(|answer| events.iter().map(|_| answer.clone()).collect())
    }
}

impl choices::Guest for Component {
    fn get_choices(setting: String, settings: String) -> Result<Vec<Choice>, String> {
        let given = call(|engine, context| of_setting(engine, context, setting, settings));
        given.unwrap_or_else(Err).map_err(|answer| match answer {
            Answer::Rejected(message) | Answer::InvalidSettings(message) => message,
            Answer::Retry(retry) => retry.message,
            Answer::Failed(failure) => format!("{}: {}", failure.name, failure.message),
            Answer::Delivered | Answer::Unsupported => "the function has no choices".to_owned(),
        })
    }
}

bindings::export!(Component with_types_in bindings);

/// Why a call did not come to answers of its own.
pub enum Fault {
    /// The one answer for every event of it.
    Answer(Answer),
    /// The engine's own fault.
    Engine(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Runs a call to its end. The error is an answer for every event of it.
fn call<T>(work: impl for<'js> FnOnce(&Engine, &Ctx<'js>) -> Result<T, Fault>) -> Result<T, Answer> {
    engine::with(|engine, context| {
        engine.tell_lines();
        let done = work(engine, context);
        requests::begin();
        done.map_err(|fault| match fault {
            Fault::Answer(answer) => answer,
            Fault::Engine(error) => {
                let message = match CaughtError::from_error(context, error) {
                    CaughtError::Exception(exception) => exception.message(),
                    // Where there is no memory for an error, QuickJS throws `null`.
                    CaughtError::Value(value) if value.is_null() => Some("out of memory".to_owned()),
                    CaughtError::Value(_) => None,
                    CaughtError::Error(error) => Some(error.to_string()),
                };
                failed("InternalError", message.unwrap_or_else(|| "the engine failed without a message".to_owned()))
            }
        })
    })
}

/// The handler for one event is called from here, without the prelude's help: that is what nearly every call is for.
fn one(
    engine: &Engine,
    context: &Ctx<'_>,
    kind: &'static str,
    event: String,
    settings: String,
) -> Result<Answer, Fault> {
    let Some(handler) = engine.handler(kind) else { return Ok(Answer::Unsupported) };
    let handler = handler.restore(context)?;
    let (event, settings) = (context.json_parse(event)?, context.json_parse(settings)?);
    // The instance is thrown away whole: to free the event, value by value, would be for nothing.
    std::mem::forget((event.clone(), settings.clone()));
    let ended = match handler.call::<_, Value>((event, settings)) {
        Ok(returned) if returned.is_object() => {
            let promise = match engine.as_own_promise(context, &returned)? {
                Some(promise) => promise,
                None => engine.settled.clone().restore(context)?.call((returned,))?,
            };
            settle::<()>(engine, context, kind, &promise)?
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Some(answer) = uncaught::first(engine, context)? {
        return Ok(answer);
    }
    match ended {
        Ok(()) => Ok(Answer::Delivered),
        Err(Error::Exception) => {
            let ending: Ending = engine.ending_of.clone().restore(context)?.call((context.catch(),))?;
            Ok(ending.answer())
        }
        Err(error) => Err(error.into()),
    }
}

fn several(engine: &Engine, context: &Ctx<'_>, events: String, settings: String) -> Result<Vec<Answer>, Fault> {
    let promise: Promise = engine.batch.clone().restore(context)?.call((events, settings))?;
    let endings = settle::<Vec<Ending>>(engine, context, "onBatch", &promise)??;
    Ok(endings.into_iter().map(Ending::answer).collect())
}

/// What a setting may be; the error is what the function threw.
fn of_setting(
    engine: &Engine,
    context: &Ctx<'_>,
    setting: String,
    settings: String,
) -> Result<Result<Vec<Choice>, Answer>, Fault> {
    let promise: Promise = engine.choices.clone().restore(context)?.call((setting, settings))?;
    let pairs = match settle::<Vec<Vec<Text>>>(engine, context, "onChoices", &promise)? {
        Ok(pairs) => pairs,
        Err(Error::Exception) => {
            let ending: Ending = engine.ending_of.clone().restore(context)?.call((context.catch(),))?;
            return Ok(Err(ending.answer()));
        }
        Err(error) => return Err(error.into()),
    };
    let choice = |pair: Vec<Text>| {
        let mut pair = pair.into_iter().map(|text| text.0);
        Choice { value: pair.next().unwrap_or_default(), label: pair.next().unwrap_or_default() }
    };
    Ok(Ok(pairs.into_iter().map(choice).collect()))
}

/// Lets promises, timers and requests go on until this promise is settled, and gives what it was settled with.
fn settle<'js, T: FromJs<'js>>(
    engine: &Engine,
    context: &Ctx<'js>,
    kind: &str,
    promise: &Promise<'js>,
) -> Result<rquickjs::Result<T>, Fault> {
    uncaught::watch(context, promise);
    loop {
        while context.execute_pending_job() {}
        if let Some(answer) = uncaught::first(engine, context)? {
            return Err(Fault::Answer(answer));
        }
        if let Some(result) = promise.result::<T>() {
            return Ok(result);
        }
        if let Some(answer) = uncaught::unhandled(engine, context)? {
            return Err(Fault::Answer(answer));
        }
        if !engine.wait(context)? {
            let message =
                format!("`{kind}` waits for a promise that nothing can settle: no request or timer is under way");
            return Err(Fault::Answer(failed("NeverSettled", message)));
        }
    }
}
