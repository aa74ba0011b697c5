//! Before the first event: what the operator wrote ([`RawConfig`]) becomes what it means ([`Config`]), once, at start.
//!
//! Guarantees: every value comes from the default file, one file or the environment, in that order, and the last wins;
//! an unknown key, a value of the wrong kind and a value that cannot work are errors that name the key, where it was
//! written and what would be right. Nothing else in the product reads the environment for an option.
//!
//! Leaves to others: opening what is configured. A valid configuration can still name a port that is taken.

mod raw;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use raw::{
    Control, Delivery, Egress, Hardening, Http, Ingest, Log, LogFormat, RawConfig, Replay, Sandbox, Store, Telemetry,
    Vault,
};

use crate::model::{FunctionId, Limits};
use crate::store::StoreConfig;

/// The default configuration, which is also the reference of all options.
pub const DEFAULT: &str = include_str!("../../config.default.toml");

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{path}`: {why}; give a readable TOML file with --config")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// Something in it is not an option, or not of its kind. One line for each.
    #[error("{0}")]
    Wrong(String),
    /// An option has a value that cannot work.
    #[error("configuration key `{key}`: `{value}` cannot be used, {rule}")]
    OutOfRange {
        /// The option.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        rule: String,
    },
}

/// What the configuration means: checked, and typed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tracking API's address.
    pub listen: SocketAddr,
    /// The control API's address.
    pub admin_listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Bounds of both listeners.
    pub http: HttpConfig,
    /// Bounds of the tracking API.
    pub ingest: IngestConfig,
    /// Bounds of the control API.
    pub control: ControlConfig,
    /// Ceiling of every invocation.
    pub limits: Limits,
    /// CPU time of single functions in the place of the ceiling's, in milliseconds.
    pub function_cpu_ms: BTreeMap<FunctionId, u64>,
    /// Size of the sandbox.
    pub sandbox: Sandbox,
    /// How deliveries are made.
    pub delivery: DeliveryConfig,
    /// How deliveries are given back.
    pub replay: Replay,
    /// What the gate may do beyond the public internet.
    pub egress: Egress,
    /// How the store works.
    pub store: StoreConfig,
    /// What the serving process gives up.
    pub hardening: Hardening,
    /// What is logged, and how.
    pub log: Log,
    /// Where spans go, if anywhere.
    pub spans: Option<SpansConfig>,
}

/// Where spans go.
#[derive(Clone, PartialEq, Debug)]
pub struct SpansConfig {
    /// The collector's address, with scheme and host; spans go to `/v1/traces` below it.
    pub endpoint: http::Uri,
    /// The share of traces that are kept, from 0 to 1.
    pub sample_ratio: f64,
    /// Spans that may wait.
    pub waiting: usize,
}

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct HttpConfig {
    /// Connections at the same time.
    pub connections: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
}

/// Bounds of the tracking API.
#[derive(Clone, Copy, Debug)]
pub struct IngestConfig {
    /// Bytes of a body after decompression.
    pub body_bytes: usize,
    /// Bytes of one event.
    pub event_bytes: usize,
    /// Events in one batch.
    pub batch_events: usize,
    /// Requests read at the same time.
    pub concurrent_requests: usize,
    /// Requests a second and source, on average.
    pub source_requests_per_s: NonZeroU64,
    /// Requests of one source at once.
    pub source_burst: NonZeroU64,
    /// What a client is asked to wait when the host is full.
    pub retry_after: Duration,
    /// The share of the memory that this process may use while it takes new events, in percent.
    pub memory_percent: f64,
}

/// Bounds of the control API.
#[derive(Clone, Copy, Debug)]
pub struct ControlConfig {
    /// Bytes of a body that is not an upload.
    pub body_bytes: usize,
    /// Bytes of an uploaded component.
    pub upload_bytes: usize,
    /// Uploads at the same time.
    pub concurrent_uploads: usize,
    /// Processor time of the process that checks and compiles one upload.
    pub upload_cpu: Duration,
    /// Bytes of memory of that process.
    pub upload_memory_bytes: u64,
    /// How long that process may take.
    pub upload_deadline: Duration,
    /// Calls that one key may make in a second, on average.
    pub key_requests_per_s: NonZeroU64,
    /// Calls of one key at once.
    pub key_burst: NonZeroU64,
    /// Wrong keys that one address may show at once.
    pub wrong_keys: NonZeroU64,
    /// After how long it may show one more.
    pub wrong_key_pause: Duration,
}

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryConfig {
    /// Under way at the same time, overall.
    pub in_flight: usize,
    /// Under way at the same time, for one destination.
    pub in_flight_per_destination: usize,
    /// Under way at the same time, for destinations of one partner's host.
    pub in_flight_per_host: usize,
    /// How long after acceptance a delivery is tried again.
    pub retry_window: Duration,
    /// The same for one that others wait behind.
    pub ordered_window: Duration,
    /// The longest wish to wait that is granted.
    pub retry_after_cap: Duration,
    /// The bound of the first wait.
    pub backoff_base: Duration,
    /// The bound of every wait.
    pub backoff_cap: Duration,
    /// Percent of failed attempts at which a breaker opens.
    pub breaker_failure_percent: u32,
    /// Attempts that a breaker looks at.
    pub breaker_attempts: u32,
    /// From when on an attempt is slow.
    pub breaker_slow: Duration,
    /// How long a breaker waits before its first probe.
    pub breaker_probe: Duration,
    /// The longest that it waits.
    pub breaker_probe_cap: Duration,
    /// How long a stopping host waits.
    pub drain: Duration,
}

impl Config {
    /// Reads the defaults, then `file` if one is given, then those of `variables` that begin with `TIDEGATE__`.
    ///
    /// # Errors
    /// [`ConfigError`], with every unknown key and wrong value that was found.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::try_from(RawConfig::read(file, variables)?)
    }

    /// [`Config::load`] with the variables of this process. Variables that are not Unicode are no options of ours.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn from_process(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load(file, process_variables())
    }
}

/// The variables of this process that are Unicode.
pub fn process_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

/// The bound of anything counted in memory: sums of several stay far from overflow on every platform.
const MOST: u64 = 1 << 31;

fn count(key: &'static str, value: u64, least: u64) -> Result<usize, ConfigError> {
    if (least..=MOST).contains(&value) {
        return Ok(usize::try_from(value).unwrap_or(usize::MAX));
    }
    let rule = format!("it must be from {least} to {MOST}");
    Err(ConfigError::OutOfRange { key, value: value.to_string(), rule })
}

fn within(key: &'static str, value: u32, least: u32, most: u32) -> Result<u32, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::OutOfRange { key, value: value.to_string(), rule: format!("it must be from {least} to {most}") })
}

fn positive(key: &'static str, value: u64) -> Result<NonZeroU64, ConfigError> {
    count(key, value, 1)?;
    NonZeroU64::new(value).ok_or(ConfigError::OutOfRange { key, value: value.to_string(), rule: "not 0".to_owned() })
}

fn percent(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value > 0.0 && value <= 100.0 {
        return Ok(value);
    }
    Err(ConfigError::OutOfRange {
        key,
        value: value.to_string(),
        rule: "it must be above 0, and 100 at most".to_owned(),
    })
}

fn seconds(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    count(key, value, 1).map(|_| Duration::from_secs(value))
}

fn millis(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    count(key, value, 1).map(|_| Duration::from_millis(value))
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let config = Self {
            listen: raw.listen,
            admin_listen: raw.admin_listen,
            data_dir: raw.data_dir,
            http: http(&raw.http)?,
            ingest: ingest(&raw.ingest)?,
            control: control(&raw.control)?,
            limits: raw.limits,
            function_cpu_ms: function_cpu_ms(raw.function_cpu_ms)?,
            sandbox: raw.sandbox,
            delivery: delivery(&raw.delivery)?,
            replay: raw.replay,
            egress: raw.egress,
            store: store(&raw.store, &raw.vault)?,
            hardening: raw.hardening,
            log: raw.log,
            spans: spans(&raw.telemetry)?,
        };
        check_limits(&config.limits)?;
        count("sandbox.max_instances", config.sandbox.max_instances.into(), 1)?;
        count("sandbox.max_loaded_versions", config.sandbox.max_loaded_versions, 1)?;
        percent("sandbox.memory_percent", config.sandbox.memory_percent)?;
        check_replay(&config.replay)?;
        Ok(config)
    }
}

fn http(raw: &Http) -> Result<HttpConfig, ConfigError> {
    Ok(HttpConfig {
        connections: count("http.connections", raw.connections, 1)?,
        header_timeout: seconds("http.header_timeout_s", raw.header_timeout_s)?,
        body_timeout: seconds("http.body_timeout_s", raw.body_timeout_s)?,
    })
}

fn ingest(raw: &Ingest) -> Result<IngestConfig, ConfigError> {
    Ok(IngestConfig {
        body_bytes: count("ingest.body_bytes", raw.body_bytes, 1024)?,
        event_bytes: count("ingest.event_bytes", raw.event_bytes, 1024)?,
        batch_events: count("ingest.batch_events", raw.batch_events, 1)?,
        concurrent_requests: count("ingest.concurrent_requests", raw.concurrent_requests, 1)?,
        source_requests_per_s: positive("ingest.source_requests_per_s", raw.source_requests_per_s)?,
        source_burst: positive("ingest.source_burst", raw.source_burst)?,
        retry_after: seconds("ingest.retry_after_s", raw.retry_after_s)?,
        memory_percent: percent("ingest.memory_percent", raw.memory_percent)?,
    })
}

fn control(raw: &Control) -> Result<ControlConfig, ConfigError> {
    Ok(ControlConfig {
        body_bytes: count("control.body_bytes", raw.body_bytes, 1024)?,
        upload_bytes: count("control.upload_bytes", raw.upload_bytes, 1024)?,
        concurrent_uploads: count("control.concurrent_uploads", raw.concurrent_uploads, 1)?,
        upload_cpu: seconds("control.upload_cpu_s", raw.upload_cpu_s)?,
        upload_memory_bytes: count("control.upload_memory_bytes", raw.upload_memory_bytes, 64 << 20)? as u64,
        upload_deadline: seconds("control.upload_deadline_s", raw.upload_deadline_s)?,
        key_requests_per_s: positive("control.key_requests_per_s", raw.key_requests_per_s)?,
        key_burst: positive("control.key_burst", raw.key_burst)?,
        wrong_keys: positive("control.wrong_keys", raw.wrong_keys)?,
        wrong_key_pause: seconds("control.wrong_key_pause_s", raw.wrong_key_pause_s)?,
    })
}

fn delivery(raw: &Delivery) -> Result<DeliveryConfig, ConfigError> {
    Ok(DeliveryConfig {
        in_flight: count("delivery.in_flight", raw.in_flight, 1)?,
        in_flight_per_destination: count("delivery.in_flight_per_destination", raw.in_flight_per_destination, 1)?,
        in_flight_per_host: count("delivery.in_flight_per_host", raw.in_flight_per_host, 1)?,
        retry_window: seconds("delivery.retry_window_s", raw.retry_window_s)?,
        ordered_window: seconds("delivery.ordered_window_s", raw.ordered_window_s)?,
        retry_after_cap: seconds("delivery.retry_after_cap_s", raw.retry_after_cap_s)?,
        backoff_base: millis("delivery.backoff_base_ms", raw.backoff_base_ms)?,
        backoff_cap: millis("delivery.backoff_cap_ms", raw.backoff_cap_ms)?,
        breaker_failure_percent: within("delivery.breaker_failure_percent", raw.breaker_failure_percent, 1, 100)?,
        breaker_attempts: within("delivery.breaker_attempts", raw.breaker_attempts, 2, 64)?,
        breaker_slow: millis("delivery.breaker_slow_ms", raw.breaker_slow_ms)?,
        breaker_probe: millis("delivery.breaker_probe_ms", raw.breaker_probe_ms)?,
        breaker_probe_cap: millis("delivery.breaker_probe_cap_ms", raw.breaker_probe_cap_ms)?,
        drain: millis("delivery.drain_ms", raw.drain_ms)?,
    })
}

fn store(raw: &Store, vault: &Vault) -> Result<StoreConfig, ConfigError> {
    count("store.readers", raw.readers.into(), 1)?;
    count("store.keep_days", raw.keep_days.into(), 1)?;
    Ok(StoreConfig {
        queue_events: count("store.queue_events", raw.queue_events, 1)?,
        queue_bytes: count("store.queue_bytes", raw.queue_bytes, 1 << 20)?,
        max_commit_events: count("store.max_commit_events", raw.max_commit_events, 1)?,
        // None is a wait like any other here: it bounds nothing.
        max_commit_wait: Duration::from_millis(count("store.max_commit_wait_ms", raw.max_commit_wait_ms, 0)? as u64),
        readers: raw.readers,
        cache_bytes: count("store.cache_bytes", raw.cache_bytes, 1 << 20)?,
        keep_days: raw.keep_days,
        min_free_bytes: min_free_bytes(raw.min_free_bytes)?,
        key_file: Some(vault.key_file.clone()).filter(|path| !path.as_os_str().is_empty()),
    })
}

fn min_free_bytes(value: u64) -> Result<u64, ConfigError> {
    let rule = || "it must be 1 or more: a disk without any room cannot settle what was taken".to_owned();
    let zero = || ConfigError::OutOfRange { key: "store.min_free_bytes", value: value.to_string(), rule: rule() };
    if value == 0 { Err(zero()) } else { Ok(value) }
}

fn spans(raw: &Telemetry) -> Result<Option<SpansConfig>, ConfigError> {
    let (key, value) = ("telemetry.sample_ratio", raw.sample_ratio);
    if !(value > 0.0 && value <= 1.0) {
        let rule = "it must be above 0, and 1 at most".to_owned();
        return Err(ConfigError::OutOfRange { key, value: value.to_string(), rule });
    }
    let waiting = count("telemetry.queue_spans", raw.queue_spans, 1)?;
    if raw.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let wrong = |rule: &str| ConfigError::OutOfRange {
        key: "telemetry.otlp_endpoint",
        // What stands before an `@` may be a password.
        value: raw.otlp_endpoint.rsplit('@').next().unwrap_or_default().to_owned(),
        rule: rule.to_owned(),
    };
    let form = "it must be an address such as `http://127.0.0.1:4318`; spans go to `/v1/traces` below it";
    let endpoint: http::Uri = raw.otlp_endpoint.parse().map_err(|_| wrong(form))?;
    let authority = endpoint.authority().filter(|_| matches!(endpoint.scheme_str(), Some("http" | "https")));
    let authority = authority.ok_or_else(|| wrong(form))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it must have no user name or password: keep those in a collector of your own"));
    }
    if endpoint.query().is_some() {
        return Err(wrong("it must have no query"));
    }
    Ok(Some(SpansConfig { endpoint, sample_ratio: value, waiting }))
}

fn check_replay(replay: &Replay) -> Result<(), ConfigError> {
    count("replay.max_events_per_s", replay.max_events_per_s.into(), 1)?;
    let (rate, most) = (replay.events_per_s, replay.max_events_per_s);
    if (1..=most).contains(&rate) {
        return Ok(());
    }
    let rule = format!("it must be from 1 to {most} (`replay.max_events_per_s`)");
    Err(ConfigError::OutOfRange { key: "replay.events_per_s", value: rate.to_string(), rule })
}

fn function_cpu_ms(raw: BTreeMap<String, u64>) -> Result<BTreeMap<FunctionId, u64>, ConfigError> {
    let read = |(function, ms): (String, u64)| {
        let key = "function_cpu_ms";
        let rule = || "it must be from 1, with the id of a function (`tidegate function list`) as its key".to_owned();
        let wrong = || ConfigError::OutOfRange { key, value: format!("{function} = {ms}"), rule: rule() };
        Ok((function.parse().ok().filter(|_| ms > 0).ok_or_else(wrong)?, ms))
    };
    raw.into_iter().map(read).collect()
}

fn check_limits(limits: &Limits) -> Result<(), ConfigError> {
    let all = [
        ("limits.deadline_ms", limits.deadline_ms),
        ("limits.cpu_ms", limits.cpu_ms),
        ("limits.memory_bytes", limits.memory_bytes),
        ("limits.host_calls", limits.host_calls),
        ("limits.requests", limits.requests.into()),
        ("limits.concurrent_requests", limits.concurrent_requests.into()),
        ("limits.bytes_in", limits.bytes_in),
        ("limits.bytes_out", limits.bytes_out),
        ("limits.response_body_bytes", limits.response_body_bytes),
        ("limits.response_headers", limits.response_headers.into()),
        ("limits.response_header_bytes", limits.response_header_bytes.into()),
        ("limits.log_lines", limits.log_lines.into()),
        ("limits.log_bytes", limits.log_bytes.into()),
        ("limits.handles", limits.handles.into()),
    ];
    all.into_iter().try_for_each(|(key, value)| count(key, value, 1).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate.toml");
        std::fs::write(&path, file).unwrap();
        Config::load(Some(&path), variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_default_file_is_complete_and_says_what_the_parts_would_do_by_themselves() {
        let config = Config::load(None, []).unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.store, StoreConfig::default());
        assert_eq!(config.ingest.body_bytes, 524_288);
        assert_eq!(config.delivery.retry_window, Duration::from_secs(4 * 3600));
        assert_eq!(config.spans, None, "nothing is sent to anybody unless somebody says where");
    }

    #[test]
    fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
        let file = "listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n[ingest]\nbatch_events = 7\n";
        let variables = [
            ("TIDEGATE__LISTEN", "127.0.0.1:0"),
            ("TIDEGATE__EGRESS__ALLOW_ADDRESSES", "[\"127.0.0.1:9\"]"),
            ("TIDEGATE__DATA_DIR", "elsewhere"),
            ("TIDEGATE_TOKEN", "another thing"),
            ("PATH", "/bin"),
        ];
        let config = load(file, &variables).unwrap();
        assert_eq!(config.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(config.admin_listen, "127.0.0.1:2".parse().unwrap());
        assert_eq!(config.ingest.batch_events, 7);
        assert_eq!(config.egress.allow_addresses, ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(config.data_dir, Path::new("elsewhere"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key_and_its_place() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case; 15] = [
            ("[ingest]\nbody_byte = 1\n", &[], &["ingest.body_byte", "tidegate.toml", "body_bytes"]),
            ("[ingres]\nbody_bytes = 1\n", &[], &["ingres", "tidegate.toml"]),
            ("colour = 1\n", &[], &["colour"]),
            ("", &[("TIDEGATE__INGEST__BODY_BYTE", "1")], &["ingest.body_byte", "TIDEGATE__INGEST__BODY_BYTE"]),
            ("", &[("TIDEGATE__LISTEN", "here")], &["listen", "TIDEGATE__LISTEN", "here"]),
            ("[function_cpu_ms]\nmailer = 5\n", &[], &["function_cpu_ms", "mailer = 5", "function list"]),
            (
                "[function_cpu_ms]\nfn_0190163d8694739b82d4d5e4d6e4d6e4 = 0\n",
                &[],
                &["function_cpu_ms", "= 0", "from 1"],
            ),
            ("[limits]\ncpu_ms = \"fast\"\n", &[], &["limits.cpu_ms", "fast"]),
            ("[limits]\ncpu_ms = 0\n", &[], &["limits.cpu_ms", "`0`", "from 1"]),
            ("[http]\nconnections = 0\n", &[], &["http.connections", "`0`"]),
            ("listen = [", &[], &["tidegate.toml"]),
            ("[telemetry]\nsample_ratio = 0.0\n", &[], &["telemetry.sample_ratio", "`0`", "above 0"]),
            ("[telemetry]\notlp_endpoint = \"127.0.0.1:4318\"\n", &[], &["telemetry.otlp_endpoint", "http://"]),
            ("[telemetry]\notlp_endpoint = \"https://u:p@there/\"\n", &[], &["`there/`", "no user name"]),
            ("[telemetry]\notlp_endpoint = \"grpc://there:4317\"\n", &[], &["telemetry.otlp_endpoint", "http://"]),
        ];
        for (file, variables, parts) in cases {
            let message = load(file, variables).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{part} is missing in: {message}");
            }
        }
        let missing = Config::load(Some(Path::new("/does/not/exist.toml")), []).unwrap_err().to_string();
        assert!(missing.contains("/does/not/exist.toml"), "{missing}");
    }

    #[test]
    fn the_effective_configuration_is_shown_as_a_file_that_reads_back() {
        let raw = RawConfig::read(None, [("TIDEGATE__LOG__FORMAT".to_owned(), "json".to_owned())]).unwrap();
        let shown = raw.to_toml();
        assert!(shown.contains("format = \"json\""), "{shown}");
        let again = load(&shown, &[]).unwrap();
        assert_eq!(again.log.format, LogFormat::Json);
    }
}
