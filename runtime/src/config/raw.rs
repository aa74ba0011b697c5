//! The shape of what was written. Units are in the names; meanings and reasons are in `config.default.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::Limits;

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }
    )*};
}

sections! {
    /// Everything that was written, defaults included.
    RawConfig {
        /// The tracking API's address.
        listen: SocketAddr,
        /// The control API's address.
        admin_listen: SocketAddr,
        /// Where everything is kept.
        data_dir: PathBuf,
        /// Bounds of both listeners.
        http: Http,
        /// Bounds of the tracking API.
        ingest: Ingest,
        /// Bounds of the control API.
        control: Control,
        /// Ceiling of every invocation.
        limits: Limits,
        /// CPU time of single functions.
        function_cpu_ms: BTreeMap<String, u64>,
        /// Size of the sandbox.
        sandbox: Sandbox,
        /// How deliveries are made.
        delivery: Delivery,
        /// How deliveries are given back.
        replay: Replay,
        /// What the gate may do beyond the public internet.
        egress: Egress,
        /// How the store works.
        store: Store,
        /// Where the keys to secrets are.
        vault: Vault,
        /// What the serving process gives up.
        hardening: Hardening,
        /// What is logged, and how.
        log: Log,
        /// Where spans go.
        telemetry: Telemetry,
    }

    /// `[http]`
    Http {
        /// Connections at the same time.
        connections: u64,
        /// Time for a request's head, in seconds.
        header_timeout_s: u64,
        /// Time for a request's body, in seconds.
        body_timeout_s: u64,
    }

    /// `[ingest]`
    Ingest {
        /// Bytes of a body after decompression.
        body_bytes: u64,
        /// Bytes of one event.
        event_bytes: u64,
        /// Events in one batch.
        batch_events: u64,
        /// Requests read at the same time.
        concurrent_requests: u64,
        /// Requests a second and source.
        source_requests_per_s: u64,
        /// Requests of one source at once.
        source_burst: u64,
        /// Seconds that a client is asked to wait.
        retry_after_s: u64,
        /// Share of the memory above which nothing new is taken, in percent.
        memory_percent: f64,
    }

    /// `[control]`
    Control {
        /// Bytes of a body that is not an upload.
        body_bytes: u64,
        /// Bytes of an uploaded component.
        upload_bytes: u64,
        /// Uploads at the same time.
        concurrent_uploads: u64,
        /// Seconds of processor time for one upload.
        upload_cpu_s: u64,
        /// Bytes of memory for one upload.
        upload_memory_bytes: u64,
        /// Seconds for one upload.
        upload_deadline_s: u64,
        /// Calls that one key may make in a second.
        key_requests_per_s: u64,
        /// Calls of one key at once.
        key_burst: u64,
        /// Wrong keys that one address may show at once.
        wrong_keys: u64,
        /// Seconds after which it may show one more.
        wrong_key_pause_s: u64,
    }

    /// `[sandbox]`
    Sandbox {
        /// Guests at the same time.
        max_instances: u32,
        /// Versions that stay loaded.
        max_loaded_versions: u64,
        /// Percent of memory for all guests together.
        memory_percent: f64,
    }

    /// `[delivery]`
    Delivery {
        /// Under way at the same time, overall.
        in_flight: u64,
        /// Under way at the same time, for one destination.
        in_flight_per_destination: u64,
        /// Under way at the same time, for destinations of one partner's host.
        in_flight_per_host: u64,
        /// How long a delivery is tried again, in seconds.
        retry_window_s: u64,
        /// The same for a delivery that others wait behind, in seconds.
        ordered_window_s: u64,
        /// The longest wish to wait that is granted, in seconds.
        retry_after_cap_s: u64,
        /// Bound of the first wait, in milliseconds.
        backoff_base_ms: u64,
        /// Bound of every wait, in milliseconds.
        backoff_cap_ms: u64,
        /// Percent of failed attempts at which a breaker opens.
        breaker_failure_percent: u32,
        /// Attempts that a breaker looks at.
        breaker_attempts: u32,
        /// From when on an attempt is slow, in milliseconds.
        breaker_slow_ms: u64,
        /// How long a breaker waits before its first probe, in milliseconds.
        breaker_probe_ms: u64,
        /// The longest that it waits, in milliseconds.
        breaker_probe_cap_ms: u64,
        /// How long a stopping host waits, in milliseconds.
        drain_ms: u64,
    }

    /// `[replay]`
    Replay {
        /// Deliveries given back in a second by a replay that names no rate.
        events_per_s: u32,
        /// The highest rate that a replay may name.
        max_events_per_s: u32,
    }

    /// `[egress]`
    Egress {
        /// Loopback or private addresses that may be dialled.
        allow_addresses: Vec<SocketAddr>,
        /// DNS servers; none means the system's.
        dns_servers: Vec<SocketAddr>,
        /// PEM files with certificate authorities.
        extra_roots: Vec<PathBuf>,
    }

    /// `[store]`
    Store {
        /// Events that may wait.
        queue_events: u64,
        /// Bytes of events that may wait.
        queue_bytes: u64,
        /// Events in one commit.
        max_commit_events: u64,
        /// How long a commit waits for more, in milliseconds.
        max_commit_wait_ms: u64,
        /// Connections that read.
        readers: u32,
        /// Bytes of events in memory.
        cache_bytes: u64,
        /// How long settled deliveries are kept, in days.
        keep_days: u32,
        /// Bytes that must be free on the disk.
        min_free_bytes: u64,
    }

    /// `[vault]`
    Vault {
        /// The file with the master keys; empty for the one in the data directory.
        key_file: PathBuf,
    }

    /// `[hardening]`
    Hardening {
        /// Which files may be written and run.
        landlock: bool,
        /// Which system calls may be made.
        seccomp: bool,
    }

    /// `[log]`
    Log {
        /// A level or directives.
        level: String,
        /// For whom.
        format: LogFormat,
    }

    /// `[telemetry]`
    Telemetry {
        /// The collector's address; empty for none.
        otlp_endpoint: String,
        /// Share of traces that are kept.
        sample_ratio: f64,
        /// Spans that may wait.
        queue_spans: u64,
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}
