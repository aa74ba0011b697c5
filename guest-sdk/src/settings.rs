//! Settings that tell the host about themselves.
//!
//! With [`derive(Settings)`](macro@crate::Settings) a function's settings are written down once, in the type that reads
//! them; `tidegate function build` makes `[settings]` in the manifest of it, and `function.toml` needs none. Where
//! `function.toml` has one too, the two must agree.
//!
//! ```
//! use std::collections::BTreeMap;
//! use tidegate_sdk::Settings;
//!
//! #[derive(serde::Deserialize, Settings)]
//! struct Settings {
//!     /// The key of your project, from its page "API".
//!     #[setting(label = "API key", secret, bind(origin = "https://api.example.com", place = "bearer"))]
//!     api_key: String,
//!     #[setting(label = "Region", default = "eu")]
//!     region: Region,
//!     #[setting(label = "Space", help = "Leave it empty for the main one", pattern = "[a-z]{2,20}")]
//!     space: Option<String>,
//!     #[serde(default)]
//!     tags: Vec<String>,
//!     #[serde(default)]
//!     renamed: BTreeMap<String, String>,
//! }
//!
//! #[derive(serde::Deserialize, Settings)]
//! #[serde(rename_all = "lowercase")]
//! enum Region {
//!     Eu,
//!     Us,
//! }
//! # use tidegate_sdk::settings::Schema;
//! # let schema: tidegate_sdk::Value = serde_json::from_str(Settings::JSON).unwrap();
//! # assert_eq!(schema["region"]["choices"], tidegate_sdk::json!(["eu", "us"]));
//! # assert_eq!(schema["api_key"]["required"], true);
//! # assert_eq!(schema["api_key"]["description"], "The key of your project, from its page \"API\"");
//! # assert_eq!(schema["api_key"]["bind"][0]["place"], "bearer");
//! # assert_eq!(schema["tags"], tidegate_sdk::json!({"type": "array"}));
//! ```
//!
//! | above a field | |
//! | --- | --- |
//! | the comment's first paragraph | what it is for |
//! | `label = "…"` | its name for people |
//! | `help = "…"` | what it is for, instead of the comment |
//! | `secret` | a `String` kept from people and from the function, which gets a handle in its place |
//! | `bind(origin = "…", place = "…", name = "…")` | where a secret may be written into a request; as often as needed |
//! | `reveal` | the function gets the value of a secret; customers are shown that it does |
//! | `default = …` | its value where the customer gives none |
//! | `required` | needed in spite of a default of serde's |
//! | `pattern = "…"` | a regular expression for the whole text |
//!
//! Its type is `String`, `bool`, a number, `Vec<String>`, `BTreeMap<String, String>`, an enum of plain names that
//! derives `Settings` too, or an `Option` of these. What is no `Option` and has no default is required.
//!
//! The derive writes one line of JSON into the custom section `tidegate:settings` of the module, in the form of
//! `[settings]`. It costs nothing at run time.

use std::collections::BTreeMap;

/// One thing that a setting may be, as [`choices`](crate::Destination::choices) gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The setting's value.
    pub value: String,
    /// What people read instead of it; empty where the value says enough.
    pub label: String,
}

/// A struct whose schema is known; what [`derive(Settings)`](macro@crate::Settings) makes of a struct.
pub trait Schema {
    /// `[settings]` of the manifest as JSON, one line.
    const JSON: &'static str;
}

/// The type of one setting; what [`derive(Settings)`](macro@crate::Settings) makes of an enum.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a setting",
    note = "use `String`, `bool`, a number, `Vec<String>`, `BTreeMap<String, String>`, an `Option` of these, or an enum \
            that derives `Settings`"
)]
pub trait SettingType {
    /// The beginning of its entry in the manifest, without braces, as JSON.
    const SCHEMA: &'static str;
    /// Whether a customer may leave it out.
    const OPTIONAL: bool = false;
}

macro_rules! setting_types {
    ($($type:ty: $schema:literal),* $(,)?) => {
        $(impl SettingType for $type {
            const SCHEMA: &'static str = concat!("\"type\":\"", $schema, "\"");
        })*
    };
}

setting_types! {
    String: "string", bool: "boolean", Vec<String>: "array", BTreeMap<String, String>: "map",
    u8: "number", u16: "number", u32: "number", u64: "number", usize: "number", f32: "number",
    i8: "number", i16: "number", i32: "number", i64: "number", isize: "number", f64: "number",
}

impl<T: SettingType> SettingType for Option<T> {
    const SCHEMA: &'static str = T::SCHEMA;
    const OPTIONAL: bool = true;
}

/// Bytes of all pieces. For the derive.
#[doc(hidden)]
pub const fn length(pieces: &[&str]) -> usize {
    let (mut bytes, mut piece) = (0, 0);
    while piece < pieces.len() {
        bytes += pieces[piece].len();
        piece += 1;
    }
    bytes
}

/// All pieces, one after the other. For the derive, which knows some of them only when constants are computed.
#[doc(hidden)]
pub const fn joined<const BYTES: usize>(pieces: &[&str]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let (mut to, mut piece) = (0, 0);
    while piece < pieces.len() {
        let (from, mut at) = (pieces[piece].as_bytes(), 0);
        while at < from.len() {
            bytes[to] = from[at];
            to += 1;
            at += 1;
        }
        piece += 1;
    }
    bytes
}
