//! Between the bindings and a [`Destination`].

use crate::bindings::tidegate::destination::types as wit;
use crate::{Destination, Error, Event, Result, log};

/// One event through a destination.
pub fn run_event<D: Destination>(event: wit::Event, settings: &str) -> wit::Answer {
    log_panics();
    let result = read_settings::<D>(settings).and_then(|settings| D::event(&Event::from(event), &settings));
    answer(result)
}

/// Several events through a destination.
pub fn run_batch<D: Destination>(events: Vec<wit::Event>, settings: &str) -> Vec<wit::Answer> {
    log_panics();
    let events: Vec<Event> = events.into_iter().map(Event::from).collect();
    match read_settings::<D>(settings) {
        Ok(settings) => D::batch(&events, &settings).into_iter().map(answer).collect(),
        Err(error) => events.iter().map(|_| answer(Err(error.clone()))).collect(),
    }
}

fn read_settings<D: Destination>(settings: &str) -> Result<D::Settings> {
    serde_json::from_str(settings).map_err(|error| Error::InvalidSettings(error.to_string()))
}

fn answer(result: Result) -> wit::Answer {
    match result {
        Ok(()) => wit::Answer::Delivered,
        Err(Error::Unsupported) => wit::Answer::Unsupported,
        Err(Error::Rejected(message)) => wit::Answer::Rejected(message),
        Err(Error::Retry { message, after }) => {
            let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            wit::Answer::Retry(wit::Retry { message, after_ms })
        }
        Err(Error::InvalidSettings(message)) => wit::Answer::InvalidSettings(message),
        Err(Error::Failed { name, message }) => wit::Answer::Failed(wit::Failure { name, message }),
    }
}

/// A panic ends the instance without a word; the log is the one place where its message can still go.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
}
