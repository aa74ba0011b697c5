//! *Engine start*: the one wasmtime configuration that every guest is compiled for and runs under.
//!
//! Guarantees: proposals that no guest of ours needs are off; the pools are large enough for every invocation that
//! holds a permit, so a guest never fails because another one is greedy.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use super::SandboxError;
use super::memory::{INSTANCES, MEMORIES, TABLES};

/// A guest's own stack. wasmtime's default: Rust and JavaScript guests stay far below it.
pub(super) const MAX_WASM_STACK: usize = 512 << 10;
/// The whole stack of an invocation: the guest's and, above it, what host calls need. TLS in an unoptimised build
/// is the hungriest of them and stays under 1 MiB.
const ASYNC_STACK: usize = 2 << 20;
/// The most that one memory can grow to, whatever the limits say: the size of a pool slot's mapping. Virtual.
const MAX_MEMORY: usize = 1 << 30;
/// The most elements of one table. Uploads may have 20,000 functions, each of which may be in the table.
const TABLE_ELEMENTS: usize = 32_768;
/// What stays resident of a memory between invocations. A Rust guest touches a few hundred KiB of its 1.7 MB, a
/// function in JavaScript begins with 3.8 MB; only pages that were written are reset, and what lies beyond is mapped
/// anew for each invocation, page by page.
const MEMORY_KEEP: usize = 4 << 20;
/// The same for a table: 512 entries.
const TABLE_KEEP: usize = 4 << 10;
/// How many unused slots may stay warm: with `MEMORY_KEEP` at most 256 MiB beyond what is running.
const WARM_SLOTS: u32 = 64;

/// Builds the engine for at most this many invocations at a time.
pub(super) fn engine(max_instances: u32) -> Result<Engine, SandboxError> {
    Engine::new(&config(max_instances)).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

pub(super) fn config(max_instances: u32) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(MAX_WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .memory_init_cow(true)
        .parallel_compilation(true)
        // Sixteen frames show where a guest crashed; a recursion has a hundred thousand.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pools(max_instances)));
    proposals(&mut config);
    config
}

/// On is what stable toolchains emit without being asked (Rust's and LLVM's baseline), and SIMD, which they emit for
/// code that asks for it. Everything else is off until somebody shows a guest that needs it.
pub(super) fn proposals(config: &mut Config) {
    config
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_branch_hinting(false)
        .wasm_custom_page_sizes(false)
        .wasm_function_references(false)
        .wasm_wide_arithmetic(false)
        .wasm_gc(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_exceptions(false)
        .wasm_stack_switching(false)
        .shared_memory(false);
}

fn pools(max_instances: u32) -> PoolingAllocationConfig {
    let mut pools = PoolingAllocationConfig::new();
    pools
        .total_component_instances(max_instances)
        .total_core_instances(max_instances.saturating_mul(INSTANCES))
        .total_memories(max_instances.saturating_mul(MEMORIES))
        .total_tables(max_instances.saturating_mul(TABLES))
        .total_stacks(max_instances)
        .total_gc_heaps(max_instances)
        .max_core_instances_per_component(INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(1)
        .max_tables_per_module(4)
        .max_memory_size(MAX_MEMORY)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS)
        .table_keep_resident(TABLE_KEEP);
    // Without the scan for written pages (Linux 6.7) keeping memory means rewriting all of it each time.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pools.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(MEMORY_KEEP);
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_this_and_changes_only_on_purpose() {
        let engine = engine(8).unwrap();
        let features: Vec<&str> = engine.get_wasm_features().iter_names().map(|(name, _)| name).collect();
        assert_eq!(
            features,
            [
                "MUTABLE_GLOBAL",
                "SATURATING_FLOAT_TO_INT",
                "SIGN_EXTENSION",
                "REFERENCE_TYPES",
                "MULTI_VALUE",
                "BULK_MEMORY",
                "SIMD",
                "FLOATS",
                "EXTENDED_CONST",
                "COMPONENT_MODEL",
                // The types that reference types need, not the proposal.
                "GC_TYPES",
            ]
        );
        assert_eq!(engine.get_strategy(), Some(Strategy::Cranelift));
        assert!(engine.get_epoch_interruption() && engine.get_memory_init_cow());
        assert!(!engine.get_concurrency_support() && !engine.get_shared_memory() && !engine.get_consume_fuel());
        assert!(engine.get_guard_before_linear_memory() && engine.get_signals_based_traps());
        assert_eq!((engine.get_max_wasm_stack(), engine.get_async_stack_size()), (512 << 10, 2 << 20));
        let pools = engine.get_pooling_config().unwrap();
        let totals = [
            pools.get_total_component_instances(),
            pools.get_total_core_instances(),
            pools.get_total_memories(),
            pools.get_total_tables(),
            pools.get_total_stacks(),
        ];
        assert_eq!(totals, [8, 128, 16, 64, 8]);
        assert_eq!((pools.get_max_memory_size(), pools.get_table_elements()), (1 << 30, 32_768));
    }
}
