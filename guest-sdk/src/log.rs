//! Lines for the person who operates or debugs the function. Do not log secrets or personal data.

use crate::bindings::tidegate::destination::log::{Level, write};

/// Only for debugging.
pub fn debug(text: &str) {
    write(Level::Debug, text);
}

/// Worth knowing.
pub fn info(text: &str) {
    write(Level::Info, text);
}

/// Looks wrong but works.
pub fn warn(text: &str) {
    write(Level::Warn, text);
}

/// Does not work.
pub fn error(text: &str) {
    write(Level::Error, text);
}
