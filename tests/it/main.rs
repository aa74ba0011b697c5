//! Everything that looks at more than one part from outside, in one program so that it is linked once.

mod api;
mod egress;
mod functions;
mod guests;
mod outlets;
mod sandbox;
