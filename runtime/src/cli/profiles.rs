//! The file of profiles: hosts and the keys that were stored for them.
//!
//! Guarantees: nobody but its user may read it, before the first byte is in it; it is replaced as a whole or not at all; no error
//! shows what is in it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Characters of a profile's name.
const NAME: usize = 64;

/// A host, and as whom it is asked. It has a token: nothing prints it whole.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The host's control API.
    pub(super) api: String,
    /// The key to show.
    pub(super) token: Option<String>,
    /// The id of that key.
    pub(super) key: Option<String>,
    /// What the key may do.
    pub(super) role: Option<String>,
    /// The workspace to work in, for operators.
    pub(super) workspace: Option<String>,
    /// The partner to work for, for operators.
    pub(super) partner: Option<String>,
    /// A file with the authority that vouches for the host's certificate.
    pub(super) ca: Option<PathBuf>,
}

/// All of a user's profiles.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    /// The one that is used where none is named.
    current: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// There is no such profile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile `{name}`{others}; `tidegate login --profile {name}` makes it")]
pub(super) struct NoProfile {
    name: String,
    others: String,
}

impl Profiles {
    /// Those in this file; none if there is no file.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let metadata = match fs::metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            found => found.with_context(|| format!("`{}` cannot be read", file.display()))?,
        };
        let mode = metadata.permissions().mode() & 0o777;
        anyhow::ensure!(
            mode & 0o077 == 0,
            "`{0}` has tokens and its mode is {mode:03o}, so that others may read them: chmod 600 '{0}'",
            file.display()
        );
        let text = fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        // The parser's own message quotes the line, which may be that of a token.
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            anyhow::anyhow!(
                "`{}` is no file of profiles, from line {line} on: mend it, or remove it and log in",
                file.display()
            )
        })
    }

    /// Writes them in place of what the file has.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let failed = || format!("`{}` cannot be written", file.display());
        let folder = file.parent().context("a file lies in a folder")?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
        // Made for its user alone, and renamed once it is whole.
        let mut new = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        let text = toml::to_string(self).with_context(failed)?;
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).with_context(failed)?;
        new.persist(file).with_context(failed)?;
        Ok(())
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Result<&Profile, NoProfile> {
        self.profiles.get(name).ok_or_else(|| {
            let others: Vec<_> = self.profiles.keys().map(|name| format!("`{name}`")).collect();
            let others =
                if others.is_empty() { ", and none at all" } else { &format!(" (there is {})", others.join(", ")) };
            NoProfile { name: name.to_owned(), others: others.to_owned() }
        })
    }

    /// The one that is used where none is named.
    pub(super) fn current(&self) -> Result<Option<(&str, &Profile)>, NoProfile> {
        self.current.as_deref().map(|name| Ok((name, self.get(name)?))).transpose()
    }

    /// The name of that one.
    pub(super) fn current_name(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.profiles.iter().map(|(name, profile)| (name.as_str(), profile))
    }

    /// Uses one from here on.
    pub(super) fn choose(&mut self, name: &str) -> Result<(), NoProfile> {
        self.get(name)?;
        self.current = Some(name.to_owned());
        Ok(())
    }

    /// Keeps one under a name, in place of what was there.
    pub(super) fn put(&mut self, name: &str, profile: Profile) {
        self.profiles.insert(name.to_owned(), profile);
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, name: &str) -> Result<Profile, NoProfile> {
        let removed = self.get(name)?.clone();
        self.profiles.remove(name);
        self.current.take_if(|current| current == name);
        Ok(removed)
    }
}

/// Whether a profile may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME).contains(&name.len()) && name.chars().all(plain)
}

/// Whether two addresses of control APIs are the same.
pub(super) fn same_host(one: &str, other: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Profiles {
        let mut profiles = Profiles::default();
        profiles.put(
            "a",
            Profile { api: "https://a.example".to_owned(), token: Some("tgk_a".to_owned()), ..Profile::default() },
        );
        profiles.choose("a").unwrap();
        profiles
    }

    #[test]
    fn profiles_are_kept_in_a_file_for_their_user_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("tidegate/profiles.toml");
        assert!(Profiles::read(&file).unwrap() == Profiles::default());
        some().write(&file).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert!(Profiles::read(&file).unwrap() == some());
        Profiles::default().write(&file).unwrap();
        assert!(Profiles::read(&file).unwrap() == Profiles::default());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_mends_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = Profiles::read(file.path()).err().unwrap().to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{mode:03o}")), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_file_and_the_line_and_shows_no_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, line) in [
            ("x = 1", 1),
            ("[profiles.a]\napi = \"\"\ntoken = \"tgk_secret", 3),
            ("[profiles.a]\napi = 1\ntoken = \"tgk_secret\"", 2),
        ] {
            fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", Profiles::read(file.path()).err().unwrap());
            assert!(!error.contains("tgk_secret") && error.contains(&format!("line {line}")), "{error}");
        }
    }

    #[test]
    fn what_is_forgotten_is_no_longer_the_current_one() {
        let mut profiles = some();
        assert!(profiles.remove("b").is_err());
        assert_eq!(profiles.remove("a").unwrap().api, "https://a.example");
        assert!(profiles == Profiles::default());
        assert!(profiles.choose("a").unwrap_err().to_string().contains("none at all"));
    }

    #[test]
    fn a_name_is_letters_digits_and_some_marks() {
        for name in ["a", "my-host_2.prod"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn an_address_is_the_same_whatever_its_last_slash_and_case() {
        assert!(same_host("https://A.example", "https://a.example/"));
        for other in ["http://a.example", "https://a.example:8443", "https://a.example.evil", "https://a.example/x"] {
            assert!(!same_host("https://a.example", other), "{other}");
        }
    }
}
