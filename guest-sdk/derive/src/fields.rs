//! A struct: each field is a setting.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, Field, Result, Token};

use crate::attributes::Attributes;
use crate::json;

/// The implementation that carries the schema, and the section that tells it.
pub(crate) fn schema(input: &DeriveInput, fields: &Punctuated<Field, Token![,]>) -> Result<TokenStream> {
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename_all") {
                return Err(meta.error("a setting's name is its field's; rename single ones with `#[serde(rename)]`"));
            }
            if let Ok(value) = meta.value() {
                value.parse::<syn::Expr>()?;
            }
            Ok(())
        })?;
    }
    let mut pieces = vec![quote!("{")];
    for (at, field) in fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        pieces.extend(setting(comma, field)?);
    }
    pieces.push(quote!("}\n"));
    let name = &input.ident;
    Ok(quote! {
        impl ::tidegate_sdk::settings::Schema for #name {
            const JSON: &'static str = {
                const PIECES: &[&str] = &[#(#pieces),*];
                const BYTES: [u8; ::tidegate_sdk::settings::length(PIECES)] =
                    ::tidegate_sdk::settings::joined(PIECES);
                match ::core::str::from_utf8(&BYTES) {
                    Ok(text) => text,
                    Err(_) => ::core::unreachable!(),
                }
            };
        }

        #[cfg(target_family = "wasm")]
        const _: () = {
            const JSON: &str = <#name as ::tidegate_sdk::settings::Schema>::JSON;
            #[used]
            #[unsafe(link_section = "tidegate:settings")]
            static SECTION: [u8; JSON.len()] = ::tidegate_sdk::settings::joined(&[JSON]);
        };
    })
}

/// One setting: what the macro knows, around what only the field's type knows.
fn setting(comma: &str, field: &Field) -> Result<Vec<TokenStream>> {
    let Some(ident) = &field.ident else { return Err(Error::new_spanned(field, "a setting has a name")) };
    let read = Attributes::read(&field.attrs)?;
    if read.secret && read.default.is_some() {
        return Err(Error::new_spanned(ident, "a secret has no default: everybody could read it in the manifest"));
    }
    if !read.binds.is_empty() && !read.secret {
        return Err(Error::new_spanned(ident, "only a `secret` is bound"));
    }
    if read.reveal && !read.secret {
        return Err(Error::new_spanned(ident, "only a `secret` is revealed"));
    }
    let name = read.rename.clone().unwrap_or_else(|| ident.unraw().to_string());
    let mut rest = String::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            rest.push_str(&format!(",\"{key}\":{value}"));
        }
    };
    add("label", read.label.as_deref().map(json::string));
    add("description", read.description().as_deref().map(json::string));
    add("pattern", read.pattern.as_deref().map(json::string));
    add("secret", read.secret.then(|| "true".to_owned()));
    add("reveal", read.reveal.then(|| "true".to_owned()));
    add("bind", Some(format!("[{}]", read.binds.join(","))).filter(|_| !read.binds.is_empty()));
    let may_miss = (read.default.is_some() || read.optional) && !read.required;
    add("default", read.default);
    let (start, ty) = (format!("{comma}{}:{{", json::string(&name)), &field.ty);
    let required = quote! {
        if #may_miss || <#ty as ::tidegate_sdk::settings::SettingType>::OPTIONAL { "}" } else { ",\"required\":true}" }
    };
    Ok(vec![quote!(#start), quote!(<#ty as ::tidegate_sdk::settings::SettingType>::SCHEMA), quote!(#rest), required])
}
