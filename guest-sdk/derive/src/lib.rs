//! `#[derive(Settings)]`: what a customer configures, told to the host by the type that reads it.
//!
//! A struct becomes one line of JSON in the custom section `tidegate:settings` of the module, in the form of
//! `[settings]` in `function.toml`; `tidegate function build` moves it into the manifest. An enum becomes a text with
//! choices. Nothing of it is left in the code that runs.

mod attributes;
mod choices;
mod fields;
mod json;

use proc_macro::TokenStream;
use syn::{Data, DeriveInput, Error, Fields};

/// Tells the host a function's settings. See `tidegate_sdk::settings`.
#[proc_macro_derive(Settings, attributes(setting))]
pub fn derive_settings(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    let written = match &input.data {
        _ if !input.generics.params.is_empty() => {
            Err(Error::new_spanned(&input.generics, "settings cannot be generic: a customer fills in one form"))
        }
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields::schema(&input, &fields.named),
            _ => Err(Error::new_spanned(&input.ident, "settings have names: use a struct with named fields")),
        },
        Data::Enum(data) => choices::schema(&input, data),
        Data::Union(_) => Err(Error::new_spanned(&input.ident, "a union cannot be read from JSON")),
    };
    written.unwrap_or_else(Error::into_compile_error).into()
}
