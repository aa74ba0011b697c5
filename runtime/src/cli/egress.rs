//! `tidegate egress check`: asks the gate whom a function may reach, without sending anything; `tidegate egress
//! ranges` prints the table of closed addresses.
//!
//! The verdict is the first word on stdout, then which rule answered and why. Exit code 0 for allow, 1 for deny.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, str::FromStr};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{
    Exit,
    print::{self, Format},
    target::ServerArgs,
};
use crate::{
    egress::{Denial, EgressConfig, Gate, Grant, Range, Rule, Target, Verdict, ranges},
    model::Manifest,
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Say whether a request for a URL would be sent, and which rule says so.
    Check(Box<CheckArgs>),
    /// List the addresses that are closed although a name may lead there, each range with its source. An IPv6 address outside
    /// of 2000::/3, or one that carries an IPv4 address, is closed too.
    Ranges,
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("policy").required(true).multiple(true).args(["function", "allow"]))]
pub(super) struct CheckArgs {
    /// Whose manifest is the policy: a folder, a component, or the name of a function on the host.
    #[arg(long, value_name = "DIR|WASM|NAME")]
    function: Option<String>,
    /// An origin that may be reached, as in a manifest's `egress.allow`. Several may follow each other.
    #[arg(long, value_name = "ORIGIN")]
    allow: Vec<String>,
    /// Take these addresses for a name instead of asking the name servers.
    #[arg(long, value_name = "NAME=IP[,IP…]")]
    resolve: Vec<Resolved>,
    /// A file with the customer's settings, a JSON object: what the manifest's `{settings.NAME}` stand for.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The URL that a function would ask for; origins before it belong to `--allow`.
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// One `--resolve`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Resolved {
    name: String,
    addresses: Vec<IpAddr>,
}

impl FromStr for Resolved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, list) = text.split_once('=').ok_or("write it as NAME=IP[,IP…]")?;
        let address =
            |text: &str| text.trim_matches(['[', ']']).parse().map_err(|_| format!("`{text}` is not an IP address"));
        let addresses = list.split(',').map(address).collect::<Result<_, String>>()?;
        Ok(Self { name: name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), addresses })
    }
}

/// Runs the command under the operator's configuration. `load` finds the manifest that `--function` names.
///
/// # Errors
///
/// There is no such function, or the command line or the settings make no policy.
pub(super) async fn run(
    command: Command,
    output: Format,
    config: &EgressConfig,
    load: impl AsyncFnOnce(&str, ServerArgs) -> anyhow::Result<Manifest>,
) -> anyhow::Result<u8> {
    let args = match command {
        Command::Check(args) => *args,
        Command::Ranges => return Ok(closed(output)),
    };
    let manifest = match &args.function {
        Some(function) => Some(load(function, args.server.clone()).await?),
        None => None,
    };
    check(args, output, config, manifest.as_ref()).await
}

async fn check(
    args: CheckArgs,
    output: Format,
    config: &EgressConfig,
    manifest: Option<&Manifest>,
) -> anyhow::Result<u8> {
    let settings = settings(&args, manifest)?;
    let (url, mut allow) = urls(&args)?;
    allow.extend(manifest.into_iter().flat_map(|manifest| manifest.egress.allow.iter().cloned()));
    let mut overrides: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for resolved in args.resolve {
        overrides.entry(resolved.name).or_default().extend(resolved.addresses);
    }
    let gate = Gate::new(config).map_err(|error| Exit::BadConfig(error.to_string()))?;
    // A URL that nobody could allow is denied, whatever the policy is.
    let verdict = match Target::parse(&url) {
        Err(error) => Verdict::Deny(Denial::from(error)),
        Ok(_) => {
            let grant = Grant::new(&allow, &settings, "check").map_err(|error| Exit::Misuse(error.to_string()))?;
            gate.check(&url, &grant, &overrides).await
        }
    };
    let (code, report) = report(&url, &verdict);
    match output {
        Format::Json => println!("{report:#}"),
        Format::Table => println!(
            "{}\n{}: {}",
            report["verdict"].as_str().unwrap_or_default(),
            report["rule"].as_str().unwrap_or_default(),
            report["reason"].as_str().unwrap_or_default(),
        ),
    }
    Ok(code)
}

fn closed(output: Format) -> u8 {
    let row = |range: &Range| {
        let opens = if range.always { "never" } else { "allow_addresses" };
        json!({"range": range.to_string(), "name": range.name, "source": range.source, "opens": opens})
    };
    let rows: Vec<Value> = ranges().map(row).collect();
    let columns = [("range", "/range"), ("opens", "/opens"), ("name", "/name"), ("source", "/source")];
    print::list(output, &json!({ "items": rows }), &rows, &columns);
    0
}

/// The URL, and every origin of `--allow`.
fn urls(args: &CheckArgs) -> anyhow::Result<(String, Vec<String>)> {
    let mut allow = args.allow.clone();
    let Some((url, more)) = args.urls.split_last() else {
        return Err(Exit::Misuse("there is no URL to ask for".into()).into());
    };
    if !more.is_empty() && allow.is_empty() {
        return Err(Exit::Misuse(format!("one URL is asked for at a time, not {}", args.urls.len())).into());
    }
    allow.extend_from_slice(more);
    Ok((url.clone(), allow))
}

/// The customer's settings over the manifest's defaults.
fn settings(args: &CheckArgs, manifest: Option<&Manifest>) -> anyhow::Result<Map<String, Value>> {
    let declared = manifest.into_iter().flat_map(|manifest| &manifest.settings);
    let mut settings: Map<String, Value> =
        declared.filter_map(|(name, setting)| Some((name.clone(), setting.default.clone()?))).collect();
    if let Some(file) = &args.settings {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let given: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| Exit::Misuse(format!("`{}` is not a JSON object: {error}", file.display())))?;
        settings.extend(given);
    }
    Ok(settings)
}

fn report(url: &str, verdict: &Verdict) -> (u8, Value) {
    match verdict {
        Verdict::Allow { addresses } => {
            let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let reason =
                format!("the origin is in `egress.allow`, and every address may be dialled: {}", shown.join(", "));
            let rule = Rule::Address.as_str();
            (0, json!({"verdict": "allow", "rule": rule, "reason": reason, "url": url, "addresses": shown}))
        }
        Verdict::Deny(Denial { rule, reason }) => {
            (1, json!({"verdict": "deny", "rule": rule.as_str(), "reason": reason, "url": url, "addresses": []}))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckArgs,
    }

    fn line(arguments: &[&str]) -> Result<CheckArgs, clap::Error> {
        Line::try_parse_from([&["check"], arguments].concat()).map(|line| line.args)
    }

    async fn code(arguments: &[&str]) -> u8 {
        let args = line(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let nothing = async |_: &str, _: ServerArgs| anyhow::bail!("there are no functions");
        run(Command::Check(Box::new(args)), Format::Json, &EgressConfig::default(), nothing).await.expect("a verdict")
    }

    #[tokio::test]
    async fn the_exit_code_is_the_verdict() {
        let allow = "https://api.example.com";
        for (arguments, expected) in [
            (&["--allow", allow, "--resolve", "api.example.com=93.184.215.14", "https://api.example.com/x"][..], 0),
            (
                &[
                    "--allow",
                    allow,
                    "--resolve",
                    "API.example.com.=93.184.215.14,2606:4700::1111",
                    "https://api.example.com/x",
                ],
                0,
            ),
            (
                &[
                    "--allow",
                    "https://b.example",
                    allow,
                    "--resolve",
                    "api.example.com=93.184.215.14",
                    "https://api.example.com/x",
                ],
                0,
            ),
            (
                &["--allow", allow, "--resolve", "api.example.com=93.184.215.14,10.0.0.1", "https://api.example.com/x"],
                1,
            ),
            (&["--allow", allow, "--resolve", "api.example.com=93.184.215.14", "http://api.example.com/x"], 1),
            (&["--allow", allow, "https://other.example.com/"], 1),
            (&["--allow", "https://1.1.1.1", "https://1.1.1.1/"], 0),
            (&["--allow", "https://169.254.169.254", "https://169.254.169.254/"], 1),
            (&["--allow", "https://0251.0376.0251.0376", "https://0251.0376.0251.0376/"], 1),
            (&["--allow", "https://localhost", "https://localhost/"], 1),
            (&["--allow", "https://a.example", "nonsense"], 1),
        ] {
            assert_eq!(code(arguments).await, expected, "{arguments:?}");
        }
    }

    #[tokio::test]
    async fn misuse_is_not_a_verdict() {
        for arguments in [
            &["https://a.example/"][..],
            &["--allow", "https://a.example"],
            &["--allow", "https://a.example", "--resolve", "a.example", "https://a.example/"],
            &["--allow", "https://a.example", "--resolve", "a.example=300.1.1.1", "https://a.example/"],
        ] {
            assert!(line(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [
            &["--allow", "https://*.com", "https://a.example/"][..],
            &["--function", "slack", "https://a.example/", "https://b.example/"],
        ] {
            let args = line(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            let error = check(args, Format::Table, &EgressConfig::default(), None).await.expect_err("misuse");
            assert!(matches!(error.downcast_ref(), Some(Exit::Misuse(_))), "{error}");
        }
    }
}
