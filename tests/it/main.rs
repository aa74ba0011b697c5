//! Everything that looks at more than one part from outside, in one program so that it is linked once.

mod api;
mod backups;
mod bad_input;
mod cache;
mod clients;
mod crash;
mod delivering;
mod deploy;
mod destinations;
mod egress;
mod functions;
mod fuzz;
mod guests;
mod host;
mod hostile_host;
mod hostile_javascript;
mod http;
mod javascript;
mod local_loop;

mod leaks;
mod logs;
mod outlets;
mod overload;
mod partners;
mod promoting;
mod replays;
mod sandbox;
mod schedule;
mod secrets;
mod tenants;
mod tidy;
mod trials;
mod uploads;
mod vault;
mod wasi;
