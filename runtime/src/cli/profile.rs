//! `tidegate login`, `logout` and `profile`: a host and a key under a name, so that nothing need be exported.
//!
//! Guarantees: a token comes from standard input or from a prompt that does not show it, is tried before it is stored, and is
//! printed nowhere.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use etcetera::BaseStrategy;
use serde_json::{Value, json};

use super::Exit;
use super::client::Client;
use super::print::{self, Format};
use super::profiles::{Profile, Profiles, is_name, same_host};
use super::target::{DEFAULT_SERVER, Target, environment};

/// The profile of who names none.
const DEFAULT: &str = "default";

/// Characters of a token, far beyond any.
const TOKEN: u64 = 4096;

#[derive(clap::Args)]
pub(super) struct LoginArgs {
    /// The host's control API [default: TIDEGATE_SERVER, else the profile's, else http://127.0.0.1:8081].
    #[arg(long, visible_alias = "server", value_name = "URL")]
    api: Option<String>,
    /// The workspace to work in, by name or id. For operators; other keys know theirs.
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// The partner to work for, by name or id. For operators; other keys know theirs.
    #[arg(long, value_name = "PARTNER")]
    partner: Option<String>,
    /// A PEM file with the authority that vouches for the host's certificate, beside the system's [env: TIDEGATE_CA].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
pub(super) struct LogoutArgs {
    #[command(flatten)]
    which: Which,
}

/// Which profile.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Its name [env: TIDEGATE_PROFILE] [default: the current one].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List profiles. No token is shown.
    List,
    /// Use a profile from here on, where neither --profile nor TIDEGATE_PROFILE names another.
    Use {
        /// Its name.
        name: String,
    },
    /// Show a profile. Its token is not shown.
    Show {
        /// Its name; the current one if it is left out.
        name: Option<String>,
        #[command(flatten)]
        which: Which,
    },
}

impl Which {
    /// What the command line or the environment says, else the current one.
    fn name(self, profiles: &Profiles) -> Option<String> {
        let named = self.profile.or_else(|| environment("TIDEGATE_PROFILE"));
        named.or_else(|| profiles.current_name().map(str::to_owned))
    }
}

/// Where profiles are.
fn file() -> anyhow::Result<PathBuf> {
    let places = etcetera::choose_base_strategy().context("there is no home directory: set XDG_CONFIG_HOME or HOME")?;
    Ok(places.config_dir().join("tidegate").join("profiles.toml"))
}

/// The profiles that are stored. Without a place for them there are none.
pub(super) fn stored() -> anyhow::Result<Profiles> {
    file().map_or_else(|_| Ok(Profiles::default()), |file| Profiles::read(&file))
}

pub(super) async fn login(args: LoginArgs, format: Format) -> anyhow::Result<u8> {
    let file = file()?;
    let mut profiles = Profiles::read(&file)?;
    let named = args.which.profile.is_some();
    let name = args.which.name(&profiles).unwrap_or_else(|| DEFAULT.to_owned());
    if !is_name(&name) {
        let rule = "letters, digits, `-`, `_` and `.`, 64 of them at most";
        return Err(
            Exit::Misuse(format!("`{}` is no name for a profile: use {rule}", print::cell(&name.into()))).into()
        );
    }
    let before = profiles.get(&name).cloned().unwrap_or_default();
    let known = Some(before.api.clone()).filter(|api| !api.is_empty());
    // A profile that is named here means its own host.
    let surrounding = environment("TIDEGATE_SERVER");
    let (first, second) = if named { (known, surrounding) } else { (surrounding, known) };
    let api = args.api.or(first).or(second).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let same = same_host(&api, &before.api);
    let ca = args.ca.or_else(|| environment("TIDEGATE_CA").map(PathBuf::from)).or(before.ca);
    // What is stored is used from other folders too.
    let ca = ca.map(|ca| std::path::absolute(&ca).with_context(|| format!("`{}`", ca.display()))).transpose()?;
    let (workspace, partner) = match (args.workspace, args.partner) {
        (None, None) if same => (before.workspace, before.partner),
        given => given,
    };
    let token = Some(token(&api)?);
    let target = Target {
        server: api.clone(),
        token: token.clone(),
        workspace: workspace.clone(),
        partner: partner.clone(),
        ca: ca.clone(),
        kept_back: None,
        flag: "--api",
    };
    let client = Client::to(target)?;
    if client.is_readable_on_the_way() {
        eprintln!(
            "warning: {api} is asked without TLS, and whoever is on the way reads the token: use an https address"
        );
    }
    let who = client.get("/api/v1/whoami").await.context("the token was not stored")?;
    let text = |name: &str| who[name].as_str().map(str::to_owned);
    profiles.put(&name, Profile { api, token, key: text("key"), role: text("role"), workspace, partner, ca });
    profiles.choose(&name)?;
    profiles.write(&file)?;
    print::one(format, &shown(&name, profiles.get(&name)?, true));
    eprintln!("stored in {}; this profile is used from here on", file.display());
    for name in ["TIDEGATE_TOKEN", "TIDEGATE_SERVER"].into_iter().filter(|name| environment(name).is_some()) {
        eprintln!("{name} is set and comes before the profile: unset {name}, or name the profile with --profile");
    }
    Ok(0)
}

/// The token, from standard input, or asked for where that is a terminal.
fn token(api: &str) -> anyhow::Result<String> {
    let text = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Token for {api} (it is not shown): "))
            .context("no token can be asked for")?
    } else {
        let mut text = String::new();
        std::io::stdin().take(TOKEN + 1).read_to_string(&mut text).context("standard input cannot be read")?;
        text
    };
    checked(&text).map(str::to_owned).map_err(|why| Exit::Misuse(format!("what was given is no token: {why}")).into())
}

/// A token in what was typed or piped. What is wrong with it is said without showing it.
fn checked(text: &str) -> Result<&str, &'static str> {
    let token = text.trim();
    if token.is_empty() {
        return Err("it is empty: pipe it in (`tidegate login < FILE`), or run this in a terminal, which asks for it");
    }
    if token.len() as u64 >= TOKEN {
        return Err("it is too long");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has spaces, line breaks or other characters that no token has: give the `tgk_…` alone");
    }
    Ok(token)
}

pub(super) fn logout(args: LogoutArgs, format: Format) -> anyhow::Result<u8> {
    let file = file()?;
    let mut profiles = Profiles::read(&file)?;
    let Some(name) = args.which.name(&profiles) else {
        return Err(Exit::Misuse("no profile is the current one: name it with --profile".to_owned()).into());
    };
    let gone = profiles.remove(&name).map_err(misuse)?;
    profiles.write(&file)?;
    print::one(format, &json!({ "profile": name, "forgotten": true }));
    let key = gone.key.as_deref().unwrap_or("key_…");
    eprintln!("the key itself still works: `tidegate key revoke {key}` ends it");
    if profiles.current_name().is_none() && profiles.iter().next().is_some() {
        eprintln!("no profile is the current one now: tidegate profile use NAME");
    }
    Ok(0)
}

const COLUMNS: &[(&str, &str)] = &[
    ("profile", "/profile"),
    ("current", "/current"),
    ("api", "/api"),
    ("role", "/role"),
    ("key", "/key"),
    ("workspace", "/workspace"),
    ("partner", "/partner"),
];

pub(super) fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let file = file()?;
    let mut profiles = Profiles::read(&file)?;
    match command {
        Command::List => {
            let current = profiles.current_name();
            let rows: Vec<_> =
                profiles.iter().map(|(name, profile)| shown(name, profile, current == Some(name))).collect();
            print::list(format, &json!({ "items": rows }), &rows, COLUMNS);
            if rows.is_empty() && format == Format::Table {
                eprintln!("there is none yet: tidegate login --api URL");
            }
        }
        Command::Use { name } => {
            profiles.choose(&name).map_err(misuse)?;
            profiles.write(&file)?;
            print::one(format, &shown(&name, profiles.get(&name)?, true));
        }
        Command::Show { name, which } => {
            let Some(name) = name.or_else(|| which.name(&profiles)) else {
                let why = "no profile is the current one: name one (`tidegate profile list`), or `tidegate login`";
                return Err(Exit::Misuse(why.to_owned()).into());
            };
            let profile = profiles.get(&name).map_err(misuse)?;
            print::one(format, &shown(&name, profile, profiles.current_name() == Some(&name)));
        }
    }
    Ok(0)
}

fn misuse(error: impl std::fmt::Display) -> Exit {
    Exit::Misuse(error.to_string())
}

/// A profile without its token.
fn shown(name: &str, profile: &Profile, current: bool) -> Value {
    json!({
        "profile": name,
        "current": current,
        "api": profile.api,
        "role": profile.role,
        "key": profile.key,
        "workspace": profile.workspace,
        "partner": profile.partner,
        "ca": profile.ca,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_what_is_none_is_refused_without_showing_it() {
        assert_eq!(checked(" tgk_abc\n"), Ok("tgk_abc"));
        for text in ["", "\n", "tgk_a tgk_b", "export TIDEGATE_TOKEN=\ntgk_a", "tgk_ä", &"x".repeat(5000)] {
            let why = checked(text).unwrap_err();
            assert!(text.trim().is_empty() || !why.contains(text.trim()), "{why}");
        }
    }

    #[test]
    fn what_is_shown_of_a_profile_has_no_token() {
        let profile =
            Profile { api: "https://a.example".to_owned(), token: Some("tgk_secret".to_owned()), ..Profile::default() };
        assert!(!shown("a", &profile, true).to_string().contains("tgk_secret"));
    }
}
