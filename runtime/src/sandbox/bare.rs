//! The same component through bare wasmtime, which the benchmark holds the sandbox against.
//!
//! The plainest program that could be written: the sandbox's own engine, one `InstancePre`, and for each call a
//! new store, an instance and a plain call, with host functions that do nothing. No limits, no deadline, no
//! counting, no record; nothing here may run a stranger's function.

#![allow(missing_docs)]

use wasmtime::component::{Component, HasSelf, Linker, Resource};
use wasmtime::{Engine, Result, Store};

use crate::model::Event;

use self::tidegate::destination::types::EventType;
use self::tidegate::destination::{cache, clock, http, log, random, sign, types};

wasmtime::component::bindgen!({
    path: "../wit",
    world: "destination",
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// Host functions that do nothing.
struct Nothing;

/// A component that is ready to be called.
pub struct Bare {
    engine: Engine,
    linked: DestinationPre<Nothing>,
}

impl Bare {
    /// Nothing for a component that imports WASI, of which this lends none.
    pub(super) fn new(component: &Component) -> Result<Option<Self>> {
        let engine = component.engine();
        if component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:")) {
            return Ok(None);
        }
        let mut linker = Linker::new(engine);
        Destination::add_to_linker::<_, HasSelf<_>>(&mut linker, |nothing| nothing)?;
        let linked = DestinationPre::new(linker.instantiate_pre(component)?)?;
        Ok(Some(Self { engine: engine.clone(), linked }))
    }

    /// One call with one event, as a track; whether it was delivered.
    pub fn call(&self, event: &Event, json: &str, settings: &str) -> Result<bool, String> {
        let mut store = Store::new(&self.engine, Nothing);
        // Far enough for any call, and the engine is compiled to look at it.
        store.set_epoch_deadline(u64::MAX / 2);
        let event = types::Event {
            message_id: &event.message_id,
            event_type: EventType::Track,
            user_id: event.user_id.as_deref(),
            anonymous_id: event.anonymous_id.as_deref(),
            name: event.name.as_deref(),
            attempt: 1,
            received_at: event.received_at.as_millis(),
            json,
        };
        let instance = self.linked.instantiate(&mut store).map_err(|error| error.to_string())?;
        let handler = instance.tidegate_destination_handler();
        let answer = handler.call_handle_event(&mut store, event, settings).map_err(|error| error.to_string())?;
        Ok(matches!(answer, types::Answer::Delivered))
    }
}

impl http::Host for Nothing {
    fn send(&mut self, _: http::Request) -> Result<http::Response, http::Error> {
        Ok(http::Response { status: 200, headers: Vec::new(), body: Vec::new() })
    }

    fn start(&mut self, _: http::Request) -> Result<Resource<http::Pending>, http::Error> {
        Ok(Resource::new_own(0))
    }

    fn wait_any(
        &mut self,
        _: Vec<Resource<http::Pending>>,
        _: Option<u64>,
    ) -> Option<(u32, Result<http::Response, http::Error>)> {
        Some((0, Ok(http::Response { status: 200, headers: Vec::new(), body: Vec::new() })))
    }
}

impl http::HostPending for Nothing {
    fn drop(&mut self, _: Resource<http::Pending>) -> Result<()> {
        Ok(())
    }
}

impl types::Host for Nothing {}

impl log::Host for Nothing {
    fn write(&mut self, _: log::Level, _: String) {}
}

impl clock::Host for Nothing {
    fn now(&mut self) -> u64 {
        0
    }

    fn monotonic(&mut self) -> u64 {
        0
    }

    fn sleep(&mut self, _: u64) {}
}

impl random::Host for Nothing {
    fn bytes(&mut self, count: u32) -> Vec<u8> {
        vec![0; count as usize]
    }
}

impl sign::Host for Nothing {
    fn hmac_sha256(&mut self, _: String, _: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(vec![0; 32])
    }
}

impl cache::Host for Nothing {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }

    fn set(&mut self, _: String, _: String, _: Option<u64>) -> Result<(), String> {
        Ok(())
    }

    fn delete(&mut self, _: String) {}
}
