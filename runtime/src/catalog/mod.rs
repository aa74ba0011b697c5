//! Before any event: a partner's folder becomes one component, and uploaded bytes become a checked function version.
//!
//! Guarantees: what [`inspect()`] lets through is a whole component within the structural caps, imports only what this
//! host lends, exports a destination's handler, and carries a valid [`Manifest`](crate::model::Manifest).
//! Nothing here opens a socket or touches a store, and of guest code only the loading of a JavaScript file is run; compiling to machine code is the sandbox's.

pub mod access;
pub mod build;
pub mod bundle;
pub mod cases;
pub mod cases_write;
pub mod checklist;
pub mod compare;
pub mod component;
pub mod content_digest;
pub mod declared;
pub mod inspect;
pub mod javascript;
pub mod javascript_check;
mod javascript_hosts;
mod javascript_make;
mod javascript_read;
pub mod manifest;
mod python;
pub mod secret_check;
pub mod settings;
pub mod signature;
mod structure;
pub mod workshop;

pub use build::{BuildError, Built, Toolchain, build};
pub use component::{ComponentError, component_from_core};
pub use inspect::{InspectError, Inspected, inspect};
pub use javascript_check::{Finding, Severity};
