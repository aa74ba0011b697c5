//! A customer's values on the command line: `--set`, `--unset` and `--settings`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Exit;
use super::client::{Client, encode};
use super::destination::json_object;
use crate::model::{Setting, SettingType};

/// The customer's values for a function.
#[derive(clap::Args)]
pub(super) struct SettingsArgs {
    /// One setting. A text where the function's setting is one; else the value is JSON where it is valid JSON. Repeat for more.
    /// Anybody who lists this machine's processes can read it: give secrets by --settings.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A file with a JSON object of settings; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Changes to the customer's values.
#[derive(clap::Args)]
pub(super) struct ChangesArgs {
    /// Change one setting; all others stay as they are, secrets too. A text where the function's setting is one; else the value is JSON
    /// where it is valid JSON, and of an object only the members that are named change. Repeat for more. Anybody who lists this machine's
    /// processes can read it: give secrets by --settings, or from a file by `--set NAME="$(cat FILE)"` where nobody else works.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Take one setting away; all others stay. Repeat for more.
    #[arg(long, value_name = "NAME", conflicts_with = "settings")]
    unset: Vec<String>,
    /// Replace ALL settings by the JSON object in this file; `-` reads standard input. What it does not name is gone, secrets too,
    /// unless it has `••••` in their place.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// What a command wants done with the settings.
#[derive(PartialEq, Debug)]
pub(super) enum Changes {
    /// Nothing.
    None,
    /// These instead of all.
    All(Map<String, Value>),
    /// These, and `null` for those that go.
    Some(Map<String, Value>),
}

/// Whose settings they are, as far as a command knows: it is asked for only where a value may be meant in two ways.
pub(super) enum Schema<'a> {
    /// A function, by name or id, and a version of it.
    Function(&'a Client, &'a str, Option<&'a str>),
    /// A destination, by its id.
    Destination(&'a Client, &'a str),
}

impl SettingsArgs {
    /// The settings, if any were given.
    pub(super) async fn read(&self, schema: Schema<'_>) -> anyhow::Result<Option<Value>> {
        let mut settings = match &self.settings {
            Some(file) => json_object(file)?,
            None if self.set.is_empty() => return Ok(None),
            None => Map::new(),
        };
        settings.extend(set(&self.set, schema).await?);
        Ok(Some(Value::Object(settings)))
    }
}

impl ChangesArgs {
    /// What they come to.
    pub(super) async fn read(&self, schema: Schema<'_>) -> anyhow::Result<Changes> {
        let set = set(&self.set, schema).await?;
        if let Some(file) = &self.settings {
            let mut all = json_object(file)?;
            all.extend(set);
            return Ok(Changes::All(all));
        }
        if let Some(name) = self.unset.iter().find(|name| set.contains_key(*name)) {
            return Err(
                Exit::Misuse(format!("`{name}` is to be set and taken away: give one of --set and --unset")).into()
            );
        }
        let unset = self.unset.iter().map(|name| (name.clone(), Value::Null));
        let some: Map<String, Value> = set.into_iter().chain(unset).collect();
        Ok(if some.is_empty() { Changes::None } else { Changes::Some(some) })
    }
}

/// The values of some `--set`, each of the type that its setting has.
async fn set(pairs: &[String], schema: Schema<'_>) -> anyhow::Result<Map<String, Value>> {
    let pairs = pairs.iter().map(|pair| {
        pair.split_once('=').ok_or_else(|| Exit::Misuse(format!("`--set {pair}` has no `=`: write --set name=value")))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    // Most values are plain texts, and the host need not be asked what they are.
    let declared = if pairs.iter().any(|(_, text)| is_ambiguous(text)) { schema.declared().await } else { None };
    let kind = |name: &str| declared.as_ref()?.get(name).map(|setting| setting.kind);
    let values: Map<String, Value> =
        pairs.into_iter().map(|(name, text)| (name.to_owned(), value(text, kind(name)))).collect();
    match values.iter().find(|(_, value)| value.is_null()) {
        Some((name, _)) => {
            Err(Exit::Misuse(format!("`--set {name}=null` sets nothing: leave it out, or take away what is stored with `tidegate destination update --unset {name}`")).into())
        }
        None => Ok(values),
    }
}

/// Whether a text is JSON, but no JSON text.
fn is_ambiguous(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| !value.is_string())
}

/// A value as it is meant.
fn value(text: &str, kind: Option<SettingType>) -> Value {
    match serde_json::from_str(text) {
        // `--set id=12345` means a text where the setting is one.
        Ok(value @ Value::String(_)) => value,
        Ok(value) if kind != Some(SettingType::String) => value,
        _ => Value::from(text),
    }
}

impl Schema<'_> {
    /// The settings that the function declares. Who cannot be told so gets the host's own word on the values.
    async fn declared(&self) -> Option<Declared> {
        let (client, function, version) = match self {
            Self::Function(client, function, version) => (client, (*function).to_owned(), version.map(str::to_owned)),
            Self::Destination(client, id) => {
                let destination = client.get(&format!("/api/v1/destinations/{}", encode(id))).await.ok()?;
                let text = |name: &str| destination[name].as_str().map(str::to_owned);
                (client, text("function")?, text("pinned").or_else(|| text("held")))
            }
        };
        let at = format!("/api/v1/functions/{}", encode(&function));
        let version = match version {
            Some(version) => version,
            None => client.get(&at).await.ok()?["current"].as_str()?.to_owned(),
        };
        let version = client.get(&format!("{at}/versions/{}", encode(&version))).await.ok()?;
        serde_json::from_value(version["manifest"]["settings"].clone()).ok()
    }
}

/// Settings as a manifest declares them.
type Declared = std::collections::BTreeMap<String, Setting>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nobody() -> Client {
        Client::at("http://127.0.0.1:1".to_owned(), None).unwrap()
    }

    #[test]
    fn a_value_is_a_text_where_its_setting_is_one_and_else_json_where_it_can_be() {
        let table = [
            ("12345", None, json!(12345)),
            ("12345", Some(SettingType::Number), json!(12345)),
            ("12345", Some(SettingType::String), json!("12345")),
            ("00123", Some(SettingType::String), json!("00123")),
            ("1e3", Some(SettingType::String), json!("1e3")),
            ("true", Some(SettingType::String), json!("true")),
            ("true", Some(SettingType::Boolean), json!(true)),
            ("null", Some(SettingType::String), json!("null")),
            ("{\"a\":1}", Some(SettingType::String), json!("{\"a\":1}")),
            ("{\"a\":\"1\"}", Some(SettingType::Map), json!({"a": "1"})),
            ("[\"a\"]", Some(SettingType::Array), json!(["a"])),
            ("\"12\"", Some(SettingType::String), json!("12")),
            ("\"12\"", None, json!("12")),
            ("x=y", None, json!("x=y")),
            ("", Some(SettingType::String), json!("")),
        ];
        for (text, kind, expected) in table {
            assert_eq!(value(text, kind), expected, "{text} {kind:?}");
        }
    }

    #[tokio::test]
    async fn a_setting_is_json_where_it_can_be_and_text_otherwise_where_nobody_says_what_it_is() {
        let args = |set: &[&str]| SettingsArgs { set: set.iter().map(|s| (*s).to_owned()).collect(), settings: None };
        let client = nobody();
        let schema = || Schema::Function(&client, "f", None);
        let read = args(&["a=1", "b=true", "c=x=y", "d=\"1\""]).read(schema()).await.unwrap();
        assert_eq!(read, Some(json!({"a": 1, "b": true, "c": "x=y", "d": "1"})));
        assert!(args(&["broken"]).read(schema()).await.is_err());
        assert_eq!(args(&[]).read(schema()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_set_and_unset_is_a_patch_and_a_file_is_everything() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"b": 2}"#).unwrap();
        let client = nobody();
        let read = async |set: &[&str], unset: &[&str], settings: Option<PathBuf>| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let args = ChangesArgs { set: texts(set), unset: texts(unset), settings };
            args.read(Schema::Destination(&client, "dst_1")).await
        };
        let object = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(read(&[], &[], None).await.unwrap(), Changes::None);
        let some = Changes::Some(object(json!({"a": "x", "b": null})));
        assert_eq!(read(&["a=x"], &["b"], None).await.unwrap(), some);
        let all = Changes::All(object(json!({"b": 2, "a": "x"})));
        assert_eq!(read(&["a=x"], &[], Some(file.path().to_owned())).await.unwrap(), all);
        assert!(read(&["a=x"], &["a"], None).await.is_err());
    }
}
