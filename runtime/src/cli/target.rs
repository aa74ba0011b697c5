//! Whom a command asks, and as whom: what the command line says, then the environment, then a profile.

use std::path::PathBuf;

use super::profiles::{self, Profiles};
use super::{Exit, profile};

/// Where `tidegate serve` has its control API unless it is told otherwise.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:8081";

/// Where the host is, and who asks.
#[derive(clap::Args, Clone, Default)]
pub(super) struct ServerArgs {
    /// The host's control API [env: TIDEGATE_SERVER] [default: the profile's, else http://127.0.0.1:8081].
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    /// The key to show [env: TIDEGATE_TOKEN]. `tidegate serve` prints one at its first start, and `tidegate login` keeps one.
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// The workspace to work in, by name or id [env: TIDEGATE_WORKSPACE]. For operators; other keys know theirs.
    #[arg(long, value_name = "WORKSPACE")]
    pub(super) workspace: Option<String>,
    /// The partner to work for, by name or id [env: TIDEGATE_PARTNER]. For operators; other keys know theirs.
    #[arg(long, value_name = "PARTNER")]
    pub(super) partner: Option<String>,
    /// A PEM file with the authority that vouches for the host's certificate, beside the system's [env: TIDEGATE_CA].
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Ask the host, and as whom, that `tidegate login` stored under this name [env: TIDEGATE_PROFILE].
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
}

/// Whom to ask, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) server: String,
    pub(super) token: Option<String>,
    pub(super) workspace: Option<String>,
    pub(super) partner: Option<String>,
    pub(super) ca: Option<PathBuf>,
    /// Why a profile's token is not shown, if there is one that is not.
    pub(super) kept_back: Option<String>,
    /// The flag that names another host, for hints.
    pub(super) flag: &'static str,
}

impl Target {
    /// What these arguments, the process's environment and the stored profiles come to.
    pub(super) fn of(args: &ServerArgs) -> anyhow::Result<Self> {
        settle(args, environment, profile::stored)
    }

    /// This server with this key, whatever anything else says.
    pub(super) fn plain(server: String, token: Option<String>) -> Self {
        Self { server, token, workspace: None, partner: None, ca: None, kept_back: None, flag: "--server" }
    }
}

/// A variable of the process's environment; an empty one says nothing.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What counts: a flag, then the environment, then the profile; and a profile that a flag names counts as a flag, since who
/// writes `--profile` means that host and that key. A profile's token and tenants go to the profile's own host and nowhere else. Stored
/// profiles are read only where something is left to say.
fn settle(
    args: &ServerArgs,
    environment: impl Fn(&str) -> Option<String>,
    stored: impl FnOnce() -> anyhow::Result<Profiles>,
) -> anyhow::Result<Target> {
    let said = |name| environment(name);
    let [server, token, workspace, partner] =
        ["TIDEGATE_SERVER", "TIDEGATE_TOKEN", "TIDEGATE_WORKSPACE", "TIDEGATE_PARTNER"].map(said);
    let ca = said("TIDEGATE_CA").map(PathBuf::from);
    let named = args.profile.clone().or_else(|| said("TIDEGATE_PROFILE"));
    let all_said =
        args.server.as_ref().or(server.as_ref()).is_some() && args.token.as_ref().or(token.as_ref()).is_some();
    let (name, profile) = match named {
        None if all_said => (String::new(), None),
        Some(name) => {
            let stored = stored()?;
            let profile = stored.get(&name).map_err(|error| Exit::Misuse(error.to_string()))?.clone();
            (name, Some(profile))
        }
        None => {
            let stored = stored()?;
            let current = stored.current().map_err(|error| Exit::Misuse(error.to_string()))?;
            current.map_or((String::new(), None), |(name, profile)| (name.to_owned(), Some(profile.clone())))
        }
    };
    let by_flag = args.profile.is_some();
    let profile = profile.unwrap_or_default();
    let own = |flag: &Option<String>, said: Option<String>, kept: &Option<String>| {
        let rest = if by_flag { kept.clone().or(said) } else { said.or_else(|| kept.clone()) };
        flag.clone().or(rest)
    };
    let kept_server = Some(profile.api.clone()).filter(|api| !api.is_empty());
    let server = own(&args.server, server, &kept_server).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let at_home = kept_server.as_deref().is_some_and(|api| profiles::same_host(api, &server));
    let kept_token = profile.token.clone().filter(|_| at_home);
    let token = own(&args.token, token, &kept_token);
    let as_kept = at_home && token == profile.token;
    let tenant = |kept: &Option<String>| kept.clone().filter(|_| as_kept);
    let ca = match (by_flag, profile.ca.clone().filter(|_| at_home)) {
        (true, Some(kept)) => Some(kept),
        (_, kept) => ca.or(kept),
    };
    let elsewhere = (!at_home && profile.token.is_some() && token.is_none())
        .then(|| format!("the profile `{name}` is for {}, and its token goes nowhere else", profile.api));
    Ok(Target {
        workspace: own(&args.workspace, workspace, &tenant(&profile.workspace)),
        partner: own(&args.partner, partner, &tenant(&profile.partner)),
        ca: args.ca.clone().or(ca),
        server,
        token,
        kept_back: elsewhere,
        flag: "--server",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::profiles::Profile;

    fn stored() -> Profiles {
        let profile = |api: &str, token: &str| Profile {
            api: api.to_owned(),
            token: Some(token.to_owned()),
            workspace: Some(format!("{token}'s")),
            ..Profile::default()
        };
        let mut profiles = Profiles::default();
        profiles.put("work", profile("https://work.example", "work-key"));
        profiles.put("home", profile("http://127.0.0.1:8081", "home-key"));
        profiles.choose("work").unwrap();
        profiles
    }

    fn settled(args: &ServerArgs, environment: &[(&str, &str)]) -> Target {
        let said = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        settle(args, said, || Ok(stored())).unwrap()
    }

    fn flags(pairs: &[(&str, &str)]) -> ServerArgs {
        let flag = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ServerArgs {
            server: flag("server"),
            token: flag("token"),
            workspace: flag("workspace"),
            profile: flag("profile"),
            ..ServerArgs::default()
        }
    }

    #[test]
    fn a_flag_comes_before_the_environment_and_that_before_a_profile() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        type Found<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
        let home = "http://127.0.0.1:8081";
        let work = "https://work.example";
        let other = "https://other.example";
        let table: &[(Pairs<'_>, Pairs<'_>, Found<'_>)] = &[
            (&[], &[], (work, Some("work-key"), Some("work-key's"))),
            (&[], &[("TIDEGATE_PROFILE", "home")], (home, Some("home-key"), Some("home-key's"))),
            (&[("profile", "work")], &[("TIDEGATE_PROFILE", "home")], (work, Some("work-key"), Some("work-key's"))),
            // What the environment says comes first, also the token alone: it is somebody else's, and so are its tenants.
            (&[], &[("TIDEGATE_TOKEN", "env")], (work, Some("env"), None)),
            (&[], &[("TIDEGATE_TOKEN", "env"), ("TIDEGATE_SERVER", other)], (other, Some("env"), None)),
            (&[("token", "flag")], &[("TIDEGATE_TOKEN", "env")], (work, Some("flag"), None)),
            // Who names a profile by a flag means it.
            (
                &[("profile", "home")],
                &[("TIDEGATE_TOKEN", "env"), ("TIDEGATE_SERVER", other)],
                (home, Some("home-key"), Some("home-key's")),
            ),
            (&[("profile", "home"), ("token", "flag")], &[("TIDEGATE_TOKEN", "env")], (home, Some("flag"), None)),
            (&[("workspace", "w")], &[("TIDEGATE_WORKSPACE", "x")], (work, Some("work-key"), Some("w"))),
            (&[], &[("TIDEGATE_WORKSPACE", "x")], (work, Some("work-key"), Some("x"))),
            // A profile's token goes to the profile's host only.
            (&[("server", other)], &[], (other, None, None)),
            (&[], &[("TIDEGATE_SERVER", other)], (other, None, None)),
            (
                &[("server", "https://work.example/")],
                &[],
                ("https://work.example/", Some("work-key"), Some("work-key's")),
            ),
        ];
        for (given, environment, (server, token, workspace)) in table {
            let found = settled(&flags(given), environment);
            let found = (found.server.as_str(), found.token.as_deref(), found.workspace.as_deref());
            assert_eq!(found, (*server, *token, *workspace), "{given:?} {environment:?}");
        }
        let kept_back = settled(&flags(&[("server", other)]), &[]).kept_back.unwrap();
        assert!(kept_back.contains("work") && kept_back.contains("https://work.example"), "{kept_back}");
    }

    #[test]
    fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
        let error = settle(&flags(&[("profile", "nowhere")]), |_| None, || Ok(stored())).err().unwrap().to_string();
        for word in ["nowhere", "home", "work", "tidegate login --profile nowhere"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn stored_profiles_are_read_only_where_something_is_left_to_say() {
        let said = |name: &str| ["TIDEGATE_SERVER", "TIDEGATE_TOKEN"].contains(&name).then(|| name.to_lowercase());
        let unread = || -> anyhow::Result<Profiles> { panic!("nothing is left to say") };
        assert_eq!(settle(&ServerArgs::default(), said, unread).unwrap().server, "tidegate_server");
        let broken = || -> anyhow::Result<Profiles> { anyhow::bail!("cannot be read") };
        assert!(settle(&ServerArgs::default(), |_| None, broken).is_err());
    }

    #[test]
    fn without_anything_said_the_host_of_this_machine_is_asked() {
        let target = settle(&ServerArgs::default(), |_| None, || Ok(Profiles::default())).unwrap();
        assert!(target == Target::plain(DEFAULT_SERVER.to_owned(), None));
    }
}
