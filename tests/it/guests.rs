//! The probe and hostile guests of `tests/guests/`: one behaviour each, named for what they do.
//!
//! A guest that no test uses is a constant that nobody reads, which stops the build.

use std::collections::BTreeSet;
use std::path::Path;

use tidegate::catalog::component::{WIT, component_from_core};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// One guest.
pub struct Guest {
    pub name: &'static str,
    wat: &'static str,
}

impl Guest {
    /// As a component.
    pub fn component(&self) -> Vec<u8> {
        let manifest = format!("name = \"{}\"\nversion = \"1\"\nevents = [\"track\"]\n", self.name.replace('_', "-"));
        let core = match self.wat {
            wat if wat.contains("\"wasi:") => embedded(wat, include_str!("wasi.wit"), "guest"),
            wat if wat.contains("[export]things") => embedded(wat, WITH_RESOURCE, "with-resource"),
            wat => wat.into(),
        };
        component_from_core(&core, &manifest).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// What a guest with a resource of its own exports besides a function's handler.
const WITH_RESOURCE: &str = "package tests:hostile;
    world with-resource { include tidegate:destination/destination@0.1.0; export things: interface { resource thing; } }";

/// A core module with what a toolchain leaves in it: the world that it was made for.
fn embedded(wat: &str, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("destination.wit", WIT).expect("the contract");
    let package = resolve.push_str("guest.wit", wit).expect("a package");
    let world = resolve.select_world(&[package], Some(world)).expect("a world");
    let mut module = wat::parse_str(wat).expect("a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it can be embedded");
    module
}

macro_rules! guests {
    ($($constant:ident $file:literal)*) => {
        $(pub const $constant: Guest =
            Guest { name: $file, wat: include_str!(concat!("../guests/", $file, ".wat")) };)*

        #[test]
        fn every_guest_compiles_says_what_it_does_and_is_listed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
            let found: BTreeSet<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let listed: BTreeSet<String> = [$(format!("{}.wat", $file)),*].into();
            assert_eq!(found, listed);
            for guest in [$($constant),*] {
                guest.component();
                assert!(guest.wat.starts_with(";; "), "{} begins with one line that says what it does", guest.name);
                assert!(guest.wat.lines().count() <= 45, "{} has one behaviour", guest.name);
            }
        }
    };
}

guests! {
    AMPLIFIED_HEADERS "amplified_headers"
    CACHE_COUNTER "cache_counter"
    CACHE_FLOOD "cache_flood"
    CACHE_OVERSIZE "cache_oversize"
    CLOCK "clock"
    COUNTER "counter"
    DELIVERED "delivered"
    ECHO_SETTINGS "echo_settings"
    FORGED_CASE "forged_case"
    FORGED_HANDLE "forged_handle"
    FORGED_LIST_LENGTH "forged_list_length"
    FORGED_TEXT_POINTER "forged_text_pointer"
    GIANT_LIST "giant_list"
    GROW_MEMORY "grow_memory"
    GROW_MEMORY_POLITELY "grow_memory_politely"
    GROW_TABLE "grow_table"
    HOST_CALL_STORM "host_call_storm"
    HUGE_ANSWER "huge_answer"
    LARGE_MEMORY "large_memory"
    LARGE_SEND "large_send"
    LOG_FLOOD "log_flood"
    LONG_ANSWER "long_answer"
    LONG_BODY "long_body"
    RANDOM "random"
    RANDOM_FLOOD "random_flood"
    REALLOC_OUT_OF_BOUNDS "realloc_out_of_bounds"
    REALLOC_OVERLAPS "realloc_overlaps"
    REALLOC_REENTERS "realloc_reenters"
    REALLOC_UNALIGNED "realloc_unaligned"
    RECURSE "recurse"
    REQUEST_STORM "request_storm"
    RESOURCE_FLOOD "resource_flood"
    SEND "send"
    SEND_FOREVER "send_forever"
    SLEEP_FOREVER "sleep_forever"
    SPIN_DESTRUCTOR "spin_destructor"
    SPIN_HANDLER "spin_handler"
    SPIN_POST_RETURN "spin_post_return"
    SPIN_REALLOC "spin_realloc"
    SPIN_START "spin_start"
    TRAP "trap"
    WAIT_ANY "wait_any"
    WASI_CLOCK "wasi_clock"
    WASI_CLOCK_STORM "wasi_clock_storm"
    WASI_EMPTY_FIELDS "wasi_empty_fields"
    WASI_ENDLESS_BODY "wasi_endless_body"
    WASI_EXIT "wasi_exit"
    WASI_FIELDS_FLOOD "wasi_fields_flood"
    WASI_HANDLE_FLOOD "wasi_handle_flood"
    WASI_PRINT_FLOOD "wasi_print_flood"
    WASI_PROBE "wasi_probe"
    WASI_RANDOM "wasi_random"
    WASI_RANDOM_FLOOD "wasi_random_flood"
    WASI_REQUEST_STORM "wasi_request_storm"
    WASI_SEND "wasi_send"
    WASI_SOCKET_STORM "wasi_socket_storm"
    WASI_UNFINISHED_BODY "wasi_unfinished_body"
    WASI_WAIT_FOREVER "wasi_wait_forever"
    WRONG_ANSWER_COUNT "wrong_answer_count"
}
