//! What stands above a field: `#[setting(…)]`, serde's attributes that change its name, and its comment.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, ExprLit, ExprUnary, Lit, LitStr, Meta, Result, UnOp};

use crate::json;

/// One field's attributes, as JSON where they have values.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) rename: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) pattern: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) secret: bool,
    pub(crate) reveal: bool,
    pub(crate) required: bool,
    /// Serde fills it in where it is missing.
    pub(crate) optional: bool,
    pub(crate) binds: Vec<String>,
    comment: Vec<String>,
}

impl Attributes {
    /// Reads them all.
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("setting") {
                attribute.parse_nested_meta(|meta| read.setting(&meta))?;
            } else if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| read.serde(&meta))?;
            } else if let Meta::NameValue(pair) = &attribute.meta
                && attribute.path().is_ident("doc")
                && let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value
            {
                read.comment.push(line.value().trim().to_owned());
            }
        }
        Ok(read)
    }

    /// The help text: as given, else the comment's first paragraph.
    pub(crate) fn description(&self) -> Option<String> {
        let paragraph = self.comment.iter().take_while(|line| !line.is_empty());
        let comment = paragraph.map(String::as_str).collect::<Vec<_>>().join(" ");
        self.help.clone().or_else(|| Some(comment.trim_end_matches('.').to_owned()).filter(|text| !text.is_empty()))
    }

    fn setting(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "label" => self.label = Some(text(meta)?),
            "help" => self.help = Some(text(meta)?),
            "pattern" => self.pattern = Some(text(meta)?),
            "default" => self.default = Some(literal(&meta.value()?.parse()?)?),
            "secret" => self.secret = true,
            "reveal" => self.reveal = true,
            "required" => self.required = true,
            "bind" => self.binds.push(bind(meta)?),
            _ => {
                let known = "`label`, `help`, `pattern`, `default`, `secret`, `reveal`, `required` and `bind`";
                return Err(meta.error(format!("a setting has no such attribute; it has {known}")));
            }
        }
        Ok(())
    }

    fn serde(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("rename") {
            self.rename = Some(text(meta)?);
            return Ok(());
        }
        if meta.path.is_ident("default") {
            self.optional = true;
        } else if ["flatten", "skip", "skip_deserializing"].iter().any(|name| meta.path.is_ident(name)) {
            return Err(meta.error("the host would not know this setting; give it a field of its own"));
        }
        // Whatever else serde has is its own business; what follows must be taken off the input all the same.
        if let Ok(value) = meta.value() {
            value.parse::<Expr>()?;
        }
        Ok(())
    }
}

/// The text after `=`.
pub(crate) fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    Ok(meta.value()?.parse::<LitStr>()?.value())
}

/// A text, a number or a truth value as JSON.
fn literal(value: &Expr) -> Result<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(json::string(&text.value())),
        Expr::Lit(ExprLit { lit: Lit::Bool(truth), .. }) => Ok(truth.value.to_string()),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(number.base10_digits().to_owned()),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => Ok(number.base10_digits().to_owned()),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => Ok(format!("-{}", literal(expr)?)),
        _ => Err(syn::Error::new_spanned(value, "a default is a text, a number, `true` or `false`")),
    }
}

/// `bind(origin = "…", place = "…", name = "…")` as in `function.toml`.
fn bind(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let mut pairs = Vec::new();
    meta.parse_nested_meta(|inner| {
        let key = inner.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if !["origin", "place", "name"].contains(&key.as_str()) {
            return Err(inner.error("a bind has `origin`, `place` and, for a header or query, `name`"));
        }
        pairs.push(format!("{}:{}", json::string(&key), json::string(&text(&inner)?)));
        Ok(())
    })?;
    Ok(format!("{{{}}}", pairs.join(",")))
}
