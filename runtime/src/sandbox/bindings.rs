//! What `wit/` says, as Rust: generated, so that host and contract cannot drift apart.
//!
//! Calls that may wait (a request, a pause) are asynchronous; all others stay plain calls, which are cheaper.
//! Every import may trap, because every import counts towards a budget.

#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "destination",
    imports: {
        "tidegate:destination/http.send": async | trappable,
        "tidegate:destination/http.wait-any": async | trappable,
        "tidegate:destination/clock.sleep": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    // Events go in by reference: their JSON is shared with the store's copy and is not copied on the way.
    ownership: Borrowing { duplicate_if_necessary: true },
    with: { "tidegate:destination/http.pending": super::requests::Pending },
});
