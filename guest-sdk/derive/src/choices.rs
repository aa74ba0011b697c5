//! An enum: a text with choices, under the names that serde reads.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, DataEnum, DeriveInput, Error, Expr, Fields, Result};

use crate::attributes::{Attributes, text};
use crate::json;

/// The implementation that makes the enum usable as a setting's type.
pub(crate) fn schema(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let style = style(&input.attrs)?;
    let mut names = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a choice is a plain name: a customer picks it from a list"));
        }
        let read = Attributes::read(&variant.attrs)?;
        names.push(json::string(&read.rename.unwrap_or_else(|| styled(&variant.ident.to_string(), &style))));
    }
    let schema = format!("\"type\":\"string\",\"choices\":[{}]", names.join(","));
    let name = &input.ident;
    Ok(quote! {
        impl ::tidegate_sdk::settings::SettingType for #name {
            const SCHEMA: &'static str = #schema;
        }
    })
}

fn style(attributes: &[Attribute]) -> Result<String> {
    let mut style = String::from("PascalCase");
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename_all") {
                style = text(&meta)?;
            } else if ["tag", "content", "untagged"].iter().any(|name| meta.path.is_ident(name)) {
                return Err(meta.error("a choice is a text; it has no tag"));
            } else if let Ok(value) = meta.value() {
                value.parse::<Expr>()?;
            }
            Ok(())
        })?;
    }
    Ok(style)
}

/// A variant's name in one of serde's styles. Serde itself refuses a style that it does not know.
fn styled(name: &str, style: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for character in name.chars() {
        match words.last_mut() {
            Some(word) if !character.is_uppercase() => word.push(character),
            _ => words.push(character.to_string()),
        }
    }
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    match style {
        "lowercase" => lower.concat(),
        "UPPERCASE" => lower.concat().to_uppercase(),
        "snake_case" => lower.join("_"),
        "SCREAMING_SNAKE_CASE" => lower.join("_").to_uppercase(),
        "kebab-case" => lower.join("-"),
        "SCREAMING-KEBAB-CASE" => lower.join("-").to_uppercase(),
        "camelCase" => lower[..1].concat() + &words[1..].concat(),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_named_as_serde_names_it() {
        let cases = [
            ("lowercase", "usiad02"),
            ("UPPERCASE", "USIAD02"),
            ("snake_case", "us_iad02"),
            ("SCREAMING_SNAKE_CASE", "US_IAD02"),
            ("kebab-case", "us-iad02"),
            ("SCREAMING-KEBAB-CASE", "US-IAD02"),
            ("camelCase", "usIad02"),
            ("PascalCase", "UsIad02"),
        ];
        for (style, expected) in cases {
            assert_eq!(styled("UsIad02", style), expected);
        }
    }
}
