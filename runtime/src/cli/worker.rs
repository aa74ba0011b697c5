//! `tidegate compile-worker`: what the host starts for each upload. Not for people, hence hidden.

use crate::catalog::workshop::{Bounds, work};
use crate::hardening;

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
    // Whoever listens to this process could not tell a gap from the upload's own messages; the host that started it has
    // said what its kernel does not offer.
    drop(hardening::compiling());
    work(Bounds { cpu_s: args.cpu_s, memory_bytes: args.memory_bytes })?;
    Ok(0)
}
