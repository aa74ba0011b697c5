//! `tidegate signing-key`, and the signing part of `tidegate function`: who made an upload.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};
use crate::catalog;
use crate::catalog::signature::{MAX_SEQUENCE, PrivateKey, Signature};
use crate::clock::Clock;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a key pair here: the private half goes into a new file, the public one is printed. No host is asked.
    New {
        /// The file to make, which nobody but you may read. `openssl genpkey -algorithm ed25519` makes such files too.
        file: PathBuf,
    },
    /// Register a public key with the host, so that it takes what its owner signs.
    Add {
        /// What people call it.
        name: String,
        /// The public key, 64 hexadecimal digits.
        #[arg(long, value_name = "HEX", conflicts_with = "public", required_unless_present = "public")]
        key: Option<String>,
        /// A file with the public key: digits, or PEM as `openssl pkey -pubout` writes it.
        #[arg(long, value_name = "FILE")]
        public: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the partner's signing keys, also those that were taken back.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a key back: nothing that it signed is taken any more. Versions that it signed stay.
    Revoke {
        /// Its id, `sgk_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Refuse unsigned uploads of the partner from now on (`on`), take them again (`off`), or show which it is.
    Require {
        /// Left out, nothing changes.
        #[arg(value_enum)]
        what: Option<Switch>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Whether something holds.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Switch {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// How a component is signed.
#[derive(clap::Args)]
pub(super) struct SignArgs {
    /// The component; `tidegate function build` writes one.
    component: PathBuf,
    /// The private key, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signature [default: the component's name and `.sig`].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The version's place among the signed ones of its function, larger than all before; without it the time in milliseconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_SEQUENCE))]
    sequence: Option<u64>,
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("public key", "/public_key"),
    ("created", "/created_at"),
    ("revoked", "/revoked_at"),
];

const KEYS: &str = "/api/v1/signing-keys";
const POLICY: &str = "/api/v1/signature-policy";

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::New { file } => new(&file, format)?,
        Command::Add { name, key, public, server } => {
            let key = match (key, public) {
                (Some(key), _) => key,
                (None, Some(file)) => super::destination::text(&file)?,
                (None, None) => return Err(Exit::Misuse("give --key or --public".to_owned()).into()),
            };
            let body = json!({ "name": name, "public_key": key });
            print::one(format, &Client::new(server)?.post(KEYS, &body).await?);
        }
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("{KEYS}{}", args.query())).await?, COLUMNS);
        }
        Command::Revoke { id, server } => {
            Client::new(server)?.delete(&format!("{KEYS}/{}", encode(&id))).await?;
            eprintln!("revoked {id}");
        }
        Command::Require { what, server } => {
            let client = Client::new(server)?;
            let policy = match what {
                Some(what) => client.patch(POLICY, &json!({ "required": what == Switch::On })).await?,
                None => client.get(POLICY).await?,
            };
            print::one(format, &policy);
        }
    }
    Ok(0)
}

fn new(file: &Path, format: Format) -> anyhow::Result<()> {
    let text = PrivateKey::generate();
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("`{}` cannot be made; a file that is there is never replaced", file.display()))?;
    made.write_all(text.as_bytes()).with_context(|| format!("`{}` cannot be written", file.display()))?;
    let public = PrivateKey::read(&text)?.public();
    print::one(format, &json!({ "file": file.display().to_string(), "public_key": public }));
    eprintln!("Register the public key: tidegate signing-key add NAME --key {public}");
    Ok(())
}

fn private(file: &Path) -> anyhow::Result<PrivateKey> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    PrivateKey::read(&text).with_context(|| format!("`{}`", file.display()))
}

/// Signs a component as it would be uploaded.
pub(super) fn signature(component: &[u8], key: &Path, sequence: Option<u64>) -> anyhow::Result<Signature> {
    let key = private(key)?;
    let inspected = catalog::inspect(component)?;
    let sequence = sequence.unwrap_or_else(|| Clock::System.now().as_millis());
    Ok(key.sign(inspected.digest, &inspected.manifest, sequence))
}

/// `function sign`: writes the signature beside the component.
pub(super) fn sign(args: &SignArgs, format: Format) -> anyhow::Result<()> {
    let file = &args.component;
    if file.is_dir() {
        let why = "is a folder: build it, and sign the component (`tidegate function build`)";
        return Err(Exit::Misuse(format!("`{}` {why}", file.display())).into());
    }
    let component = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let signature = signature(&component, &args.key, args.sequence)?;
    let out = args.out.clone().unwrap_or_else(|| {
        let mut name = file.as_os_str().to_owned();
        name.push(".sig");
        PathBuf::from(name)
    });
    std::fs::write(&out, format!("{signature}\n")).with_context(|| format!("`{}` cannot be written", out.display()))?;
    let shown: Value =
        json!({ "file": out.display().to_string(), "public_key": signature.key, "sequence": signature.sequence });
    print::one(format, &shown);
    Ok(())
}
