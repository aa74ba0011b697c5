//! The allocator of every function on this SDK.
//!
//! It begins with an arena that is part of the instance's first memory. Growing the memory of an instance, and
//! shrinking it again for the next one, makes the host change page protections, which every processor must hear of:
//! measured, a tenth of an event's whole way. Most events never leave the arena.

use core::alloc::Layout;
use core::arch::wasm32::memory_grow;
use core::mem::MaybeUninit;

use talc::base::Talc;
use talc::base::binning::Binning;
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

/// What an instance has from its start. Enough for an event of 32 KB, the largest that the tracking API takes, as text and as a tree, and for its request.
/// Untouched, it costs nothing: it is zero, and mapped only where it is written.
const ARENA_BYTES: usize = 512 << 10;

static mut ARENA: [MaybeUninit<u8>; ARENA_BYTES] = [MaybeUninit::uninit(); ARENA_BYTES];

#[global_allocator]
static ALLOCATOR: TalcSyncCell<ArenaThenGrow, WasmBinning> =
    TalcSyncCell::new_wasm(ArenaThenGrow { arena_used: false });

/// A page of WebAssembly's memory.
const PAGE_BYTES: usize = 64 << 10;

/// What the memory grows by at least when the arena is full: 1 MiB, so that few steps lead to any size.
const STEP_PAGES: usize = 16;

/// What an allocation needs beside its own bytes: its tag, and what it takes to claim a region.
const OVERHEAD_BYTES: usize = 64;

/// First the arena, then new pages.
#[derive(Debug)]
struct ArenaThenGrow {
    arena_used: bool,
}

// SAFETY: `acquire` allocates nothing.
unsafe impl Source for ArenaThenGrow {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !std::mem::replace(&mut talc.source.arena_used, true) {
            // SAFETY: nothing else names the arena, and this happens once.
            return unsafe { talc.claim((&raw mut ARENA).cast(), ARENA_BYTES) }.map(drop).ok_or(());
        }
        let bytes = layout.size().checked_add(layout.align()).and_then(|sum| sum.checked_add(OVERHEAD_BYTES));
        let pages = bytes.ok_or(())?.div_ceil(PAGE_BYTES).max(STEP_PAGES);
        match memory_grow::<0>(pages) {
            usize::MAX => Err(()),
            // SAFETY: these pages are new: nothing but this allocator knows of them.
            end => unsafe { talc.claim((end * PAGE_BYTES) as *mut u8, pages * PAGE_BYTES) }.map(drop).ok_or(()),
        }
    }
}
