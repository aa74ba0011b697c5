//! Beside every step: what it is counted and timed by.
//!
//! Guarantees: a label has few values, none of which a customer, a partner or a function chooses; counting costs an atomic
//! addition or two.
//!
//! It leaves to others: when something is to be counted. What only the APIs count is in `api::metrics`.

mod metrics;

pub use metrics::{Answered, DeliveryMetrics, StoreMetrics, exposition};
