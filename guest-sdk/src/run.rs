//! Between the bindings and a [`Destination`].

use crate::bindings::exports::tidegate::destination::choices;
use crate::bindings::tidegate::destination::types as wit;
use crate::{Choice, Destination, Error, Event, Result, log};

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

/// What a setting may be, asked of a destination.
pub fn run_choices<D: Destination>(setting: &str, settings: &str) -> Result<Vec<choices::Choice>, String> {
    log_panics();
    let settings = serde_json::from_str(settings).map_err(|error| error.to_string())?;
    let choice = |Choice { value, label }| choices::Choice { value, label };
    let given = D::choices(setting, &settings).map(|given| given.into_iter().map(choice).collect());
    given.map_err(|error| match error {
        Error::Unsupported => format!("this function has no choices for `{setting}`"),
        Error::Rejected(message) | Error::InvalidSettings(message) | Error::Retry { message, .. } => message,
        Error::Failed { name, message } => format!("{name}: {message}"),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    struct Lists;

    impl Destination for Lists {
        type Settings = Value;

        fn choices(setting: &str, settings: &Value) -> Result<Vec<Choice>> {
            match setting {
                "list" => Ok(vec![Choice { value: settings["region"].to_string(), label: String::new() }]),
                _ => Err(Error::failed("ApiError", "no such list")),
            }
        }
    }

    struct Silent;

    impl Destination for Silent {
        type Settings = Value;
    }

    #[test]
    fn a_destination_is_asked_with_the_settings_as_they_are_and_its_reason_is_handed_on() {
        let given = run_choices::<Lists>("list", r#"{"region":7}"#).unwrap();
        assert_eq!((given.len(), given[0].value.as_str()), (1, "7"));
        assert_eq!(run_choices::<Lists>("other", "{}").unwrap_err(), "ApiError: no such list");
        assert!(run_choices::<Silent>("list", "{}").unwrap_err().contains("no choices for `list`"));
        assert!(run_choices::<Lists>("list", "nothing").is_err());
    }
}
