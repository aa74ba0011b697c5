//! `tidegate compile-worker`: what the host starts for each upload. Not for people, hence hidden.

use crate::catalog::workshop::{Bounds, work};
use crate::hardening;
use crate::slices;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Seconds of processor time.
    #[arg(long)]
    cpu_s: u64,
    /// Bytes of memory.
    #[arg(long)]
    memory_bytes: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    // It computes, and has it from whoever started it. Afterwards it may not be changed any more.
    slices::usual();
    // Whoever listens to this process could not tell a gap from the upload's own messages; the host that started it has
    // said what its kernel does not offer.
    drop(hardening::compiling());
    work(Bounds { cpu_s: args.cpu_s, memory_bytes: args.memory_bytes })?;
    Ok(0)
}
