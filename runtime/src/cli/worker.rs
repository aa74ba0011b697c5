//! `tidegate compile-worker`: what the host starts for each upload. Not for people, hence hidden.

use crate::catalog::workshop::{Bounds, work};

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
    work(Bounds { cpu_s: args.cpu_s, memory_bytes: args.memory_bytes })?;
    Ok(0)
}
