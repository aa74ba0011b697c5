//! *Invocation*, for components of stock toolchains: WASI 0.2, lent within the same bounds as the host's own interfaces.
//!
//! Guarantees: every call counts, and so does every byte that crosses; requests take the way of all others, through the
//! outlet, and are recorded; time and randomness are the invocation's; what is printed is log. There is no file, no
//! socket, no environment, no argument and no input: the interfaces are there because toolchains import them, and what
//! they would open is refused or empty. An invocation that calls none of this pays nothing for it.
//! Leaves to others: the meaning of `wasi:http` and of streams (wasmtime-wasi-http, wasmtime-wasi), whom a guest may
//! reach (`egress`).

mod cli;
mod clocks;
mod crossing;
mod http;
mod io;
mod random;

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};
use wasmtime_wasi_http::p2::bindings::http as wasi_http;

use super::host::Run;

pub(super) use cli::Exited;

/// The interfaces of WASI that this host lends, without their version, which is any 0.2.
pub const WASI: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What WASI adds to an invocation, made when it is first called.
#[derive(Default)]
pub(super) struct Wasi {
    console: cli::Console,
    slept: clocks::Slept,
    http: http::Context,
    /// Without a folder.
    filesystem: WasiFilesystemCtx,
    /// The default of this library refuses every socket and every name.
    sockets: WasiSocketsCtx,
}

impl Run {
    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_default()
    }
}

/// Lends them all.
pub(super) fn link(linker: &mut Linker<Run>) -> Result<()> {
    link_own(linker)?;
    // Without a folder and a socket to begin with, nearly all of these functions cannot be called. The few that can
    // are counted without being refused: the next tick ends an invocation that calls too often.
    let files: fn(&mut Run) -> WasiFilesystemCtxView<'_> = |run| {
        run.budget.unrefusable_call();
        let wasi = run.wasi.get_or_insert_default();
        WasiFilesystemCtxView { ctx: &mut wasi.filesystem, table: &mut run.table }
    };
    wasi::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    wasi::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    let sockets: fn(&mut Run) -> WasiSocketsCtxView<'_> = |run| {
        run.budget.unrefusable_call();
        let wasi = run.wasi.get_or_insert_default();
        WasiSocketsCtxView { ctx: &mut wasi.sockets, table: &mut run.table }
    };
    wasi::sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    wasi::sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    wasi::sockets::network::add_to_linker::<_, WasiSockets>(linker, &Default::default(), sockets)?;
    wasi::sockets::tcp::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    wasi::sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    wasi::sockets::udp::add_to_linker::<_, WasiSockets>(linker, sockets)?;
    wasi::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(linker, sockets)
}

/// What is implemented here, or asked of the library call by call.
fn link_own(linker: &mut Linker<Run>) -> Result<()> {
    let run: fn(&mut Run) -> &mut Run = |run| run;
    wasi::cli::environment::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::exit::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::stderr::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::stdin::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::stdout::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::terminal_input::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::terminal_output::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::terminal_stderr::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::terminal_stdin::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::cli::terminal_stdout::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::clocks::monotonic_clock::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::clocks::wall_clock::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::io::error::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::io::poll::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::io::streams::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::random::insecure::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::random::insecure_seed::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi::random::random::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi_http::outgoing_handler::add_to_linker::<_, HasSelf<Run>>(linker, run)?;
    wasi_http::types::add_to_linker::<_, HasSelf<Run>>(linker, &Default::default(), run)
}
