//! Tidegate: a host for destination functions.
//!
//! An event's way: [`clock`] and [`model`] are shared by all steps; the steps follow in the order an event meets them.

#![deny(missing_docs)]

pub mod api;
pub mod app;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod egress;
pub mod hardening;
pub mod ingest;
pub mod model;
pub mod replay;
pub mod sandbox;
pub mod seats;
pub mod shutdown;
pub mod slices;
pub mod store;
pub mod telemetry;
pub mod vault;
