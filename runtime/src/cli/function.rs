//! `tidegate function`: a partner's day.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::client::{Client, ServerArgs, encode};
use super::local;
use super::print::{self, Format};
use super::progress::Progress;
use super::settings::{Schema, SettingsArgs};
use super::source::{PageArgs, changes, page};
use super::{cases, destination, lifecycle, logs, new, once, push, signing};
use crate::catalog::access::access;
use crate::catalog::{self, BuildError, Severity, Toolchain};
use crate::model::{Bind, Setting};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a folder with a function that builds and passes its cases, to begin from.
    New(new::Args),
    /// Turn a folder into one component with its manifest inside.
    Build {
        /// The folder with `function.toml` and the source, or a script. One that imports others is bundled, with the esbuild
        /// that npm has installed for the folder.
        dir: PathBuf,
        /// Where to write the component [default: NAME.wasm in this folder].
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a function as an upload would be checked, and show what it may do. Mistakes come with file, line and column.
    Check {
        /// A folder or a script, which is built first, or a component.
        path: PathBuf,
    },
    /// Run a function's cases in the real sandbox, without a server.
    Test(cases::Args),
    /// Run a function once in the real sandbox, without a server or on one, and print what it did.
    Run(once::Args),
    /// Upload a function with its cases, which the host runs. What an operator uploads is for everybody; a partner submits it.
    Push {
        /// A folder, a script or a component. A script that imports nothing is built by the host, everything else here.
        path: PathBuf,
        /// Sign it with this private key, in PEM. It is built here then, whatever it is.
        #[arg(long, value_name = "FILE", conflicts_with = "signature")]
        sign_key: Option<PathBuf>,
        /// The signature that `tidegate function sign` wrote for this component.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Sign a component and the manifest in it; `push --signature` uploads both.
    Sign(signing::SignArgs),
    /// Ask a function on the host what a setting may be, before there is a destination.
    Choices {
        /// Its name or id.
        function: String,
        /// The setting's name.
        setting: String,
        /// A version, by id or by its own text; the current one if it is left out.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List functions.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one function and, in plain words, what it may do; with --version that version, and what was found in it.
    Show {
        /// Its name or id.
        function: String,
        /// A version, by id or by its own text.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the versions of a function, the oldest first.
    Versions {
        /// Its name or id.
        function: String,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print the JavaScript or TypeScript that the host built a version of, for its partner.
    Script {
        /// Its name or id.
        function: String,
        /// A version, by id or by its own text; the current one if it is left out.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show what a function's versions did and logged: every failed attempt, and a sample of the others.
    Logs(logs::Args),
    /// Show what a version changes: whom it reaches, secrets, settings, imports, size, limits.
    Diff {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text.
        version: String,
        /// The version before; the current one if it is left out.
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a version the current one.
    Promote {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text.
        version: String,
        /// Promote it although destinations follow whose settings may not fit.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a version back: nothing may choose it any more, and who runs it goes on.
    Yank {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text.
        version: String,
        /// Why, for those who run it.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Mark a version as one that should no longer be chosen. It still may be.
    Deprecate {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text.
        version: String,
        /// Why, for those who run it.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a version that was yanked or deprecated available again.
    Restore {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text.
        version: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    #[command(flatten)]
    Lifecycle(lifecycle::Command),
    /// Make the version before the current one the current one.
    Rollback {
        /// The function's name or id.
        function: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("name", "/name"),
    ("version", "/version"),
    ("stage", "/stage"),
    ("category", "/listing/category"),
    ("description", "/description"),
    ("id", "/id"),
];

const VERSIONS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("version", "/manifest/version"),
    ("digest", "/digest"),
    ("size", "/size"),
    ("state", "/state"),
    ("approved", "/approved"),
    ("created", "/created_at"),
];

/// What builds guests here: the compiler that `cargo xtask` found or made, else the machine's own.
pub(super) fn toolchain() -> Toolchain {
    Toolchain { rustc: std::env::var_os("TIDEGATE_GUEST_RUSTC").map(PathBuf::from) }
}

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::New(args) => return new::run(&args, format),
        Command::Build { dir, out } => build(&dir, out, format).await?,
        Command::Check { path } => {
            return check(&path, format).await;
        }
        Command::Test(args) => return cases::run(args, format).await,
        Command::Run(args) => return once::run(args).await,
        Command::Logs(args) => return logs::run(args, format).await,
        Command::Push { path, sign_key, signature, server } => {
            let client = Client::new(server)?;
            let progress = Progress::new(format);
            let answer = match (sign_key, signature) {
                (None, None) => push::push(&path, &client, &progress).await?,
                (Some(key), _) => push::push_signed(&path, &push::With::Key(key), &client, &progress).await?,
                (None, Some(file)) => {
                    push::push_signed(&path, &push::With::Signature(file), &client, &progress).await?
                }
            };
            push::show(format, &answer);
        }
        Command::Choices { function, setting, version, settings, server } => {
            let client = Client::new(server)?;
            let settings = settings.read(Schema::Function(&client, &function, version.as_deref())).await?;
            let body = changes([
                ("setting", Some(Value::from(setting))),
                ("version", version.map(Value::from)),
                ("settings", settings),
            ]);
            let path = format!("{}/choices", at(&function));
            destination::print_choices(format, &client.post(&path, &body).await?);
        }
        Command::Sign(args) => signing::sign(&args, format)?,
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("/api/v1/functions{}", args.query())).await?, COLUMNS);
        }
        Command::Show { function, version, server } => {
            show(&function, version.as_deref(), &Client::new(server)?, format).await?;
        }
        Command::Versions { function, page: args, server } => {
            let path = format!("{}/versions{}", at(&function), args.query());
            page(format, &Client::new(server)?.get(&path).await?, VERSIONS);
        }
        Command::Script { function, version, server } => {
            let client = Client::new(server)?;
            let version = match version {
                Some(version) => version,
                None => client.get(&at(&function)).await?["current"].as_str().unwrap_or_default().to_owned(),
            };
            let script = client.get(&at_version(&function, &version, "/script")).await?;
            match format {
                Format::Json => print::json(&script),
                Format::Table => print!("{}", script["text"].as_str().unwrap_or_default()),
            }
        }
        Command::Diff { function, version, from, server } => {
            let from = from.map(|from| format!("?from={}", encode(&from))).unwrap_or_default();
            let path = at_version(&function, &version, &format!("/diff{from}"));
            let diff = Client::new(server)?.get(&path).await?;
            match format {
                Format::Json => print::json(&diff),
                Format::Table => print::facts(&filled(diff)),
            }
        }
        Command::Promote { function, version, force, server } => {
            let path = at_version(&function, &version, if force { "/promote?force=true" } else { "/promote" });
            print::one(format, &Client::new(server)?.post(&path, &json!({})).await?);
        }
        Command::Yank { function, version, reason, server } => {
            let path = at_version(&function, &version, "/yank");
            print_version(format, Client::new(server)?.post(&path, &json!({ "reason": reason })).await?);
        }
        Command::Deprecate { function, version, reason, server } => {
            let path = at_version(&function, &version, "/deprecate");
            print_version(format, Client::new(server)?.post(&path, &json!({ "reason": reason })).await?);
        }
        Command::Restore { function, version, server } => {
            let path = at_version(&function, &version, "/restore");
            print_version(format, Client::new(server)?.post(&path, &json!({})).await?);
        }
        Command::Lifecycle(command) => return lifecycle::run(command, format).await,
        Command::Rollback { function, server } => {
            let path = format!("{}/rollback", at(&function));
            print::one(format, &Client::new(server)?.post(&path, &json!({})).await?);
        }
    }
    Ok(0)
}

/// Prints a version. For people its manifest is left out: `function show` says in words what it comes to.
fn print_version(format: Format, mut version: Value) {
    if let (Format::Table, Some(version)) = (format, version.as_object_mut()) {
        version.remove("manifest");
    }
    print::one(format, &version);
}

/// A value without the lists and objects in it that have nothing.
fn filled(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let some = members.into_iter().map(|(name, value)| (name, filled(value)));
            let is_some = |value: &Value| value != &json!([]) && value != &json!({});
            Value::Object(some.filter(|(_, value)| is_some(value)).collect())
        }
        other => other,
    }
}

/// The path of a function.
fn at(function: &str) -> String {
    format!("/api/v1/functions/{}", encode(function))
}

/// The path of a version, or of what is done with it.
fn at_version(function: &str, version: &str, what: &str) -> String {
    format!("{}/versions/{}{what}", at(function), encode(version))
}

/// Shows a function or a version of it, and what that may do.
async fn show(function: &str, version: Option<&str>, client: &Client, format: Format) -> anyhow::Result<()> {
    let path = version.map_or_else(|| at(function), |version| at_version(function, version, ""));
    let mut shown = client.get(&path).await?;
    let which = version.map(|version| format!("?version={}", encode(version))).unwrap_or_default();
    let access = client.get(&format!("{}/access{which}", at(function))).await?;
    match format {
        Format::Json => {
            shown["access"] = access;
            print::json(&shown);
        }
        Format::Table => {
            // The manifest is what the lines after it say.
            shown.as_object_mut().map(|shown| shown.remove("manifest"));
            print::facts(&shown);
            print::sentences("What it may do:", &access["sentences"]);
        }
    }
    Ok(())
}

/// Errors among the findings end with 1, whatever the format; warnings do not.
async fn check(path: &Path, format: Format) -> anyhow::Result<u8> {
    let (summary, sentences, findings) = match local::built(path).await {
        Ok((component, findings)) => {
            let inspected = catalog::inspect(&component)?;
            (summary(&inspected), json!(access(&inspected.manifest).sentences), findings)
        }
        Err(error) => match error.downcast::<BuildError>()? {
            BuildError::Findings(findings) => (json!({}), json!([]), findings),
            error => return Err(error.into()),
        },
    };
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    match format {
        Format::Table => findings.iter().for_each(|finding| println!("{finding}")),
        Format::Json => {
            let mut summary = summary;
            summary["findings"] = serde_json::to_value(&findings)?;
            summary["sentences"] = sentences;
            print::json(&summary);
            return Ok(u8::from(failed));
        }
    }
    if !failed {
        print::facts(&summary);
        print::sentences("What customers are told:", &sentences);
    }
    Ok(u8::from(failed))
}

async fn build(dir: &Path, out: Option<PathBuf>, format: Format) -> anyhow::Result<()> {
    let progress = Progress::new(format);
    progress.spin(format, &format!("building {}", dir.display()));
    let component = local::component(dir).await;
    progress.done();
    let component = component?;
    let inspected = catalog::inspect(&component)?;
    let out = out.unwrap_or_else(|| PathBuf::from(format!("{}.wasm", inspected.manifest.name)));
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("`{}` cannot be made", parent.display()))?;
    }
    std::fs::write(&out, &component).with_context(|| format!("`{}` cannot be written", out.display()))?;
    let mut summary = summary(&inspected);
    summary["file"] = Value::from(out.display().to_string());
    print::one(format, &summary);
    Ok(())
}

/// What a person wants to know of a component before running it.
fn summary(inspected: &catalog::Inspected) -> Value {
    let manifest = &inspected.manifest;
    let named = |is: fn(&Setting) -> bool| {
        manifest.settings.iter().filter(|(_, setting)| is(setting)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    let places = |setting: &Setting| {
        let place = |bind: &Bind| {
            let name = bind.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{}{name} of {}", bind.place.as_str(), bind.origin)
        };
        setting.bind.iter().map(place).collect::<Vec<_>>()
    };
    let secrets = manifest.settings.iter().filter(|(_, setting)| setting.secret && !setting.reveal);
    let bound: Map<String, Value> = secrets.map(|(name, setting)| (name.clone(), json!(places(setting)))).collect();
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "digest": inspected.digest,
        "size": inspected.size,
        "events": manifest.events,
        "reads": manifest.reads,
        "egress": manifest.egress.allow,
        "settings": manifest.settings.keys().collect::<Vec<_>>(),
        "secrets": named(|setting| setting.secret),
        "reveals": named(|setting| setting.reveal),
        "bound": bound,
        "imports": inspected.inspection.imports,
        "structure": inspected.inspection.structure,
    })
}
