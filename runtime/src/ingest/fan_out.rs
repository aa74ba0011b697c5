//! What an event owes: one entry for every connection of its source. Pure.

use std::sync::Arc;

use super::complete::integrations;
use super::fields::Fields;
use crate::model::{Event, FilterReason, Integrations};
use crate::store::{ConnectionRoute, Owed, OwedState, SourceRoute};

/// What this event owes to each connection of its source: a delivery, or the reason why not. Nothing is left out.
pub fn fan_out(event: &Event, integrations: &Integrations, route: &SourceRoute) -> Vec<Owed> {
    let owed = |way: &Arc<ConnectionRoute>| Owed {
        connection: way.connection.id,
        destination: way.destination.destination.id,
        state: state(event, integrations, way),
    };
    route.connections.iter().map(owed).collect()
}

/// What an event that was accepted before would owe to this connection now: the same question, asked anew.
pub fn owed_now(event: &Event, way: &ConnectionRoute) -> OwedState {
    // What was stored is an object that ingest wrote; were it none, it would say nothing about who may have it.
    let event_fields = serde_json::from_slice(&event.json).ok().and_then(Fields::of).unwrap_or_default();
    let said = event_fields.get("integrations").and_then(Fields::of).unwrap_or_default();
    state(event, &integrations(&said), way)
}

/// The customer's switches first, then the event's own wish, then what the function can do: a person who asks why
/// reads the reason that is nearest to them.
fn state(event: &Event, integrations: &Integrations, way: &ConnectionRoute) -> OwedState {
    let to = &way.destination;
    if !way.connection.enabled {
        OwedState::Filtered(FilterReason::ConnectionDisabled)
    } else if !to.destination.enabled {
        OwedState::Filtered(FilterReason::DestinationDisabled)
    } else if !integrations.allows(&to.destination.name) {
        OwedState::Filtered(FilterReason::Integrations)
    } else if !to.version.manifest.events.contains(&event.event_type) {
        OwedState::Filtered(FilterReason::EventType)
    } else {
        OwedState::Pending
    }
}
