#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

// The derive names this library as its users do.
extern crate self as tidegate_sdk;

#[cfg(target_arch = "wasm32")]
mod alloc;
mod error;
mod event;
mod run;

pub mod batch;
pub mod cache;
pub mod civil;
pub mod clock;
pub mod encode;
pub mod http;
pub mod log;
pub mod random;
pub mod settings;
pub mod sign;

pub use error::{Error, Result};
pub use event::{Event, EventType};
pub use serde_json::{Value, json};
pub use settings::Choice;
pub use tidegate_sdk_derive::Settings;

use serde::de::DeserializeOwned;

/// What `wit/` says, as Rust. An implementation detail of [`export!`].
#[doc(hidden)]
#[allow(missing_docs, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "destination-with-choices",
        pub_export_macro: true,
        default_bindings_module: "tidegate_sdk::bindings",
    });
}

#[doc(hidden)]
pub use run::{run_batch, run_choices, run_event};

/// A destination: one method for each event type that it takes, the others answer "unsupported".
///
/// A fresh instance of the whole program serves each call, so nothing in memory survives from one event to the next.
pub trait Destination {
    /// What a customer configures; read from the settings' JSON. Use [`Value`] to take it as it is.
    ///
    /// Settings that cannot be read as this type end the call as [`Error::InvalidSettings`].
    type Settings: DeserializeOwned;

    /// Something a user did.
    fn track(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// Who a user is.
    fn identify(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// A web page that was viewed.
    fn page(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// A screen of an app that was viewed.
    fn screen(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// The account or team that a user belongs to.
    fn group(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// Two ids that are the same user.
    fn alias(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// A user whose data must be erased.
    fn delete(_event: &Event, _settings: &Self::Settings) -> Result {
        Err(Error::Unsupported)
    }

    /// Several events at once, of any types, with one result for each in their order.
    ///
    /// Called only if `function.toml` has a `[batch]`. Without a method of its own, a destination deals with the
    /// events one after the other.
    fn batch(events: &[Event], settings: &Self::Settings) -> Vec<Result> {
        events.iter().map(|event| Self::event(event, settings)).collect()
    }

    /// What a setting may be, where only the partner knows: the lists of the customer's account, for one.
    ///
    /// Called while a customer fills in the settings, for those that `function.toml` gives `choices_from = "function"`. The settings are as they
    /// are so far, so what is required may be missing; secrets are handles, as ever.
    fn choices(setting: &str, _settings: &Value) -> Result<Vec<Choice>> {
        Err(Error::InvalidSettings(format!("this function has no choices for `{setting}`")))
    }

    /// Any event: calls the method for its type. For destinations that treat all alike.
    fn event(event: &Event, settings: &Self::Settings) -> Result {
        match event.event_type {
            EventType::Track => Self::track(event, settings),
            EventType::Identify => Self::identify(event, settings),
            EventType::Page => Self::page(event, settings),
            EventType::Screen => Self::screen(event, settings),
            EventType::Group => Self::group(event, settings),
            EventType::Alias => Self::alias(event, settings),
            EventType::Delete => Self::delete(event, settings),
        }
    }
}

/// Makes this [`Destination`] the function that the component exports. Once in a crate, at its root.
#[macro_export]
macro_rules! export {
    ($destination:ty) => {
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::tidegate::destination::handler::Guest for Component {
                fn handle_event(
                    event: $crate::bindings::tidegate::destination::types::Event,
                    settings: String,
                ) -> $crate::bindings::tidegate::destination::types::Answer {
                    $crate::run_event::<$destination>(event, &settings)
                }

                fn handle_batch(
                    events: Vec<$crate::bindings::tidegate::destination::types::Event>,
                    settings: String,
                ) -> Vec<$crate::bindings::tidegate::destination::types::Answer> {
                    $crate::run_batch::<$destination>(events, &settings)
                }
            }

            impl $crate::bindings::exports::tidegate::destination::choices::Guest for Component {
                fn get_choices(
                    setting: String,
                    settings: String,
                ) -> ::core::result::Result<
                    Vec<$crate::bindings::exports::tidegate::destination::choices::Choice>,
                    String,
                > {
                    $crate::run_choices::<$destination>(&setting, &settings)
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
