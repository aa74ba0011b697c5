//! Everything that looks at Tidegate from outside.

mod guests;
mod outlets;
mod sandbox;
