//! Where values come from: default file, operator's file, variables; and how a mistake in one of them is told.

use std::path::Path;

use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{ConfigError, DEFAULT, RawConfig};

/// What the name of a variable that is an option begins with.
const PREFIX: &str = "TIDEGATE__";

/// One environment variable, as a provider of its own so that an error can name it.
struct Variable {
    name: String,
    value: String,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("variable `{}`", self.name))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let key = self.name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        // The same reading that figment gives its own variables: numbers, booleans, arrays, else text. It cannot fail.
        let value: Value = match self.value.parse() {
            Ok(value) => value,
            Err(never) => match never {},
        };
        let dict = figment::util::nest(&key, value).into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

impl RawConfig {
    /// Reads defaults, file and variables; see [`super::Config::load`].
    ///
    /// # Errors
    /// See [`super::Config::load`].
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULT));
        if let Some(path) = file {
            // Read here only to say why it cannot be read; figment would take a missing file for an empty one.
            if let Err(why) = std::fs::read_to_string(path) {
                return Err(ConfigError::Unreadable { path: path.to_owned(), why });
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        for (name, value) in variables {
            if name.len() > PREFIX.len() && name.starts_with(PREFIX) {
                figment = figment.merge(Variable { name, value });
            }
        }
        figment.extract().map_err(|error| ConfigError::Wrong(explain(&figment, error)))
    }

    /// This configuration as a file that reads back to the same. There is no secret among the options.
    pub fn to_toml(&self) -> String {
        // Every value is a number, a text, or a list of texts, which TOML can all say.
        toml::to_string_pretty(self).unwrap_or_default()
    }
}

fn explain(written: &Figment, errors: figment::Error) -> String {
    let lines: Vec<String> = errors.into_iter().map(|error| explain_one(written, &error)).collect();
    lines.join("\n")
}

fn explain_one(written: &Figment, error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map_or_else(String::new, |from| match &from.source {
        Some(source) => format!(" in {source}"),
        None => format!(" in {}", from.name),
    });
    let mut path = error.path.clone();
    if let Kind::UnknownField(name, known) = &error.kind {
        if path.last().is_none_or(|last| last != name) {
            path.push(name.clone());
        }
        let (key, known) = (path.join("."), known.join("`, `"));
        return format!("configuration key `{key}`{place} is unknown; at this place there are `{known}`");
    }
    if path.is_empty() {
        return format!("the configuration{place} cannot be read: {}", error.kind);
    }
    let key = path.join(".");
    let value = written.find_value(&key).ok().and_then(|value| value.into_string());
    let value = value.map_or_else(String::new, |value| format!(" cannot be `{value}`"));
    format!("configuration key `{key}`{place}{value}: {}", error.kind)
}
