//! What the prelude has computed in Rust: nothing here touches the world.

pub mod digest;
pub mod encoding;
pub mod url;
