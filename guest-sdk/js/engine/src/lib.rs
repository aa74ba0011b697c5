//! The JavaScript engine of a function: QuickJS, what it needs from the host, and the globals that partners' code expects.
//!
//! The host runs [`load`] once, when a function is built: the prelude and the partner's file are evaluated, and the
//! memory that this leaves becomes the function's own module. An invocation begins there, with everything in place.
//!
//! Guarantees: a thrown value, a promise that never settles and a handler that is missing are answers; what the file
//! does while it is loaded cannot reach the world.

mod call;
mod engine;
mod fetch;
mod host;
mod load;
mod natives;
mod requests;
mod text;
mod uncaught;

pub use load::{Loaded, load};
