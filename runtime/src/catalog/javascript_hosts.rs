//! Before any event: the hosts that a file names in its code, and that its manifest does not let it reach.
//!
//! Guarantees: only what is written out is judged: a text that stands where a URL belongs, pieced together of constants
//! at most, up to the end of its host. What comes from an event or a setting is for the gate.

use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, BinaryOperator, Expression, IdentifierReference};
use oxc_semantic::Semantic;
use oxc_span::GetSpan;

use crate::egress::{AllowEntry, BadUrl, Target};
use crate::model::Manifest;

/// Constants that are looked up within constants: people name a host, and a URL of it.
const MAX_STEPS: usize = 8;

/// Modules that are `fetch` by another name.
const FETCH_MODULES: [&str; 2] = ["node-fetch", "cross-fetch"];

/// Each place with the host that cannot be reached from there, and what to do.
pub(super) fn unreachable(semantic: &Semantic<'_>, manifest: &Manifest) -> Vec<(usize, String)> {
    let entries: Vec<AllowEntry> =
        manifest.egress.allow.iter().filter_map(|entry| AllowEntry::parse(entry).ok()).collect();
    let refused = |(at, origin): (usize, String)| refused(&origin, &entries).map(|text| (at, text));
    origins(semantic).filter_map(refused).collect()
}

/// The origins that are named where a request goes, and that a manifest may let it reach; each once.
pub(super) fn named(semantic: &Semantic<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (_, origin) in origins(semantic) {
        let Ok(target) = Target::parse(&origin) else { continue };
        let origin = target.origin.to_string();
        if !found.contains(&origin) && AllowEntry::parse(&origin).is_ok() {
            found.push(origin);
        }
    }
    found
}

/// Scheme, host and port wherever a request goes to one that is written out, with its place.
fn origins(semantic: &Semantic<'_>) -> impl Iterator<Item = (usize, String)> {
    semantic.nodes().iter().filter_map(|node| {
        let url = match node.kind() {
            AstKind::CallExpression(call) if is_fetch(semantic, &call.callee) => first(&call.arguments),
            AstKind::NewExpression(made) => match &made.callee {
                Expression::Identifier(name) if is_global(semantic, name, &["URL"]) => {
                    absolute(semantic, &made.arguments)
                }
                Expression::Identifier(name) if is_global(semantic, name, &["Request"]) => first(&made.arguments),
                _ => None,
            },
            _ => None,
        }?;
        origin(&known(semantic, url, 0)).map(|origin| (url.span().start as usize, origin))
    })
}

fn first<'a>(arguments: &'a [Argument<'a>]) -> Option<&'a Expression<'a>> {
    arguments.first().and_then(Argument::as_expression)
}

/// Of the two arguments of `new URL`, the one that says the host.
fn absolute<'a>(semantic: &Semantic<'_>, arguments: &'a [Argument<'a>]) -> Option<&'a Expression<'a>> {
    let url = first(arguments)?;
    let Some(base) = arguments.get(1).and_then(Argument::as_expression) else { return Some(url) };
    let Known { text, whole } = known(semantic, url, 0);
    let is_path = !text.contains("//") && (text.starts_with('/') || (whole && !text.contains(':')));
    Some(if is_path { base } else { url })
}

/// Why requests to this origin are refused whatever the settings are; `None` if they may pass.
fn refused(origin: &str, entries: &[AllowEntry]) -> Option<String> {
    match Target::parse(origin) {
        Ok(target) if entries.iter().any(|entry| entry.could_open(&target.origin)) => None,
        Ok(target) => {
            let origin = target.origin;
            Some(format!("`{origin}` is not in `egress.allow` of `function.toml`: requests there are refused"))
        }
        Err(error @ BadUrl::Host { .. }) => Some(error.to_string()),
        // Whoever builds something else of it knows better.
        Err(BadUrl::Malformed { .. }) => None,
    }
}

fn is_fetch(semantic: &Semantic<'_>, callee: &Expression<'_>) -> bool {
    match callee {
        Expression::Identifier(name) => is_global(semantic, name, &["fetch"]) || is_imported_fetch(semantic, name),
        Expression::StaticMemberExpression(member) => match &member.object {
            Expression::Identifier(object) => {
                member.property.name == "fetch" && is_global(semantic, object, &["globalThis", "global"])
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_global(semantic: &Semantic<'_>, name: &IdentifierReference<'_>, names: &[&str]) -> bool {
    names.contains(&name.name.as_str()) && semantic.is_reference_to_global_variable(name)
}

fn is_imported_fetch(semantic: &Semantic<'_>, name: &IdentifierReference<'_>) -> bool {
    let Some(symbol) = semantic.scoping().get_reference(name.reference_id()).symbol_id() else { return false };
    let declared = semantic.scoping().symbol_declaration(symbol);
    matches!(semantic.nodes().kind(declared), AstKind::ImportDefaultSpecifier(_))
        && matches!(semantic.nodes().parent_kind(declared), AstKind::ImportDeclaration(import)
            if FETCH_MODULES.contains(&import.source.value.as_str()))
}

/// The beginning of a text, as far as it is written in the code.
struct Known {
    text: String,
    /// Whether that is all of it.
    whole: bool,
}

fn known(semantic: &Semantic<'_>, expression: &Expression<'_>, steps: usize) -> Known {
    if steps > MAX_STEPS {
        return Known::nothing();
    }
    match expression {
        Expression::StringLiteral(literal) => Known::all(&literal.value),
        Expression::TemplateLiteral(template) => {
            let mut text = Known::all("");
            for (at, quasi) in template.quasis.iter().enumerate() {
                text.push(quasi.value.cooked.map_or_else(Known::nothing, |cooked| Known::all(&cooked)));
                if let Some(expression) = template.expressions.get(at) {
                    text.push(known(semantic, expression, steps + 1));
                }
            }
            text
        }
        Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition => {
            let mut text = known(semantic, &sum.left, steps + 1);
            text.push(known(semantic, &sum.right, steps + 1));
            text
        }
        Expression::ParenthesizedExpression(inner) => known(semantic, &inner.expression, steps + 1),
        Expression::TSAsExpression(inner) => known(semantic, &inner.expression, steps + 1),
        Expression::Identifier(name) => {
            constant(semantic, name).map_or_else(Known::nothing, |value| known(semantic, value, steps + 1))
        }
        _ => Known::nothing(),
    }
}

impl Known {
    fn all(text: &str) -> Self {
        Self { text: text.to_owned(), whole: true }
    }

    fn nothing() -> Self {
        Self { text: String::new(), whole: false }
    }

    fn push(&mut self, next: Self) {
        if self.whole {
            self.text.push_str(&next.text);
            self.whole = next.whole;
        }
    }
}

/// What a `const` of the same file is made of.
fn constant<'a>(semantic: &'a Semantic<'a>, name: &IdentifierReference<'a>) -> Option<&'a Expression<'a>> {
    let symbol = semantic.scoping().get_reference(name.reference_id()).symbol_id()?;
    let AstKind::VariableDeclarator(declarator) = semantic.symbol_declaration(symbol).kind() else { return None };
    let plain = semantic.scoping().symbol_flags(symbol).is_const_variable() && declarator.id.is_binding_identifier();
    declarator.init.as_ref().filter(|_| plain)
}

/// Scheme, host and port at the beginning of a text, if the host's end is known.
fn origin(known: &Known) -> Option<String> {
    let (scheme, rest) = known.text.split_once("://")?;
    if !["http", "https"].iter().any(|one| scheme.eq_ignore_ascii_case(one)) {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).or(known.whole.then_some(rest.len()))?;
    Some(format!("{scheme}://{}", &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::super::javascript_check::{Part, check};
    use super::super::manifest;

    fn found(source: &str) -> Vec<String> {
        let toml = "name = \"a\"\nversion = \"1\"\nevents = [\"track\"]\n\
                    [settings.region]\ntype = \"string\"\n\
                    [egress]\nallow = [\"https://api.example.com\", \"https://{settings.region}.data.example.com\"]";
        let source = format!(
            "const BASE = 'https://evil.example'; let settings, event; async function onTrack() {{\n{source}\n}}"
        );
        let manifest = manifest::parse(toml).unwrap();
        check(&source, "a.ts", Part::Whole, Some(&manifest)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_host_that_is_written_out_and_not_allowed_is_found_where_it_stands() {
        let cases = [
            ("fetch('https://evil.example/x')", "a.ts:2:7: warning: `https://evil.example` is not in `egress.allow`"),
            ("fetch(\"HTTPS://EVIL.example\")", "a.ts:2:7: warning: `https://evil.example` is not"),
            ("fetch(`https://evil.example/${event.id}`)", "a.ts:2:7"),
            ("fetch('https://evil.example/' + event.id)", "a.ts:2:7"),
            ("fetch(`${BASE}/v1/${event.id}`, {})", "a.ts:2:7"),
            ("fetch((BASE as string))", "a.ts:2:7"),
            ("fetch(BASE + '?x')", "a.ts:2:7"),
            ("new URL('https://evil.example')", "a.ts:2:9"),
            ("new URL('/x', BASE)", "a.ts:2:15"),
            ("new Request('https://evil.example')", "a.ts:2:13"),
            ("globalThis.fetch('https://api.example.com:444')", "`https://api.example.com:444` is not"),
            ("fetch('http://api.example.com')", "`http://api.example.com` is not"),
            ("fetch('https://a.b.data.example.com')", "a.ts:2:7"),
            ("fetch('http://localhost:3000/x')", "the host `localhost` is not reachable"),
        ];
        for (source, expected) in cases {
            let found = found(source);
            assert!(found.len() == 1 && found[0].contains(expected), "{source}: {found:?}");
        }
    }

    #[test]
    fn what_is_allowed_or_known_only_to_an_event_is_not_found() {
        let sources = [
            "fetch('https://api.example.com/x')",
            "fetch('https://eu.data.example.com/')",
            "fetch(settings.url)",
            "fetch(`https://${settings.region}.evil.example/`)",
            "fetch('https://evil.' + settings.domain)",
            "fetch(`https://evil.example${settings.path}`)",
            "fetch('/relative')",
            "fetch(event.url ?? BASE)",
            "new URL(event.path, BASE)",
            "new URL('https://api.example.com', BASE)",
            "const fetch = (url) => url; fetch(BASE)",
            "let base = 'https://evil.example'; base = settings.url; fetch(base)",
            "console.log('https://evil.example')",
            "fetch('ftp://evil.example')",
            "fetch('https://not a host/')",
            "const a = b, b = a; fetch(a)",
            "fetch(); new URL(); fetch(...event.all)",
        ];
        for source in sources {
            assert_eq!(found(source), [""; 0], "{source}");
        }
    }
}
