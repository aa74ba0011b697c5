//! The project's own measurements: what the README's figures come from.
//!
//! Guarantees: what is compared is measured in the same run, in turns, so that a busy machine slows both; figures
//! are medians over the turns.

pub mod attacks;
pub mod invoke;
pub mod simulate;
pub mod soak;
pub mod store;
