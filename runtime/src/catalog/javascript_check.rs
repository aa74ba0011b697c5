//! Before any event: a JavaScript file is read without being run, for mistakes that would otherwise show with an event.
//!
//! Guarantees: what stops a build is no JavaScript at all; everything else is a warning, since code that never runs may
//! say what it likes. No text ends the process: one that could exhaust the stack is left unread, with a warning.
//! Leaves to others: what the file does when it is loaded (`javascript`), what a request may reach (`egress`).

use std::collections::BTreeSet;
use std::fmt;

use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, UnaryOperator};
use oxc_semantic::{Scoping, Semantic, SemanticBuilder};
use oxc_span::GetSpan;
use oxc_syntax::module_record::ModuleRecord;
use serde::{Deserialize, Serialize};

use super::javascript_hosts::{named, unreachable};
use super::javascript_read::{finding, parse, reading};
use crate::model::{EventType, Manifest};

/// Findings of one file: a person mends the first ones first.
const MAX_FINDINGS: usize = 100;

/// The handlers that a function may have beside one for each event type.
const BATCH: &str = "onBatch";

/// The names that a function finds: the language's own, then the prelude's. `arguments` is one inside functions only.
const GLOBALS: &str = "Object Function Error EvalError RangeError ReferenceError SyntaxError TypeError URIError \
    InternalError AggregateError Array parseInt parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI \
    encodeURIComponent escape unescape Infinity NaN undefined Number Boolean String Math Reflect Symbol eval globalThis \
    Date RegExp JSON Proxy Map Set WeakMap WeakSet ArrayBuffer SharedArrayBuffer Uint8ClampedArray Int8Array Uint8Array \
    Int16Array Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array Float16Array Float32Array Float64Array \
    DataView Promise BigInt WeakRef FinalizationRegistry Iterator SuppressedError DisposableStack \
    AsyncDisposableStack \
    EventNotSupported InvalidEventPayload ValidationError RetryError InvalidSettings DropEvent DOMException setTimeout \
    clearTimeout setInterval clearInterval setImmediate clearImmediate queueMicrotask console URL URLSearchParams Event \
    EventTarget AbortController AbortSignal Blob File FormData Headers Request Response fetch atob btoa TextEncoder \
    TextDecoder Buffer crypto CryptoKey structuredClone process performance cache idempotencyKey attemptOf \
    global _";

/// What a bundler gives the files that it puts together.
const BUNDLED: [&str; 3] = ["require", "module", "exports"];

/// What a file finds that is no bundle, since it may be tested with Node: the engine gives it these where it needs them.
const ALONE: [&str; 2] = ["module", "exports"];

/// The functions of those globals of which only a part is here.
const MEMBERS: [(&str, &str); 2] = [
    (
        "crypto",
        "createHash createHmac getHashes randomBytes randomFillSync randomInt randomUUID timingSafeEqual \
         getRandomValues",
    ),
    (
        "_",
        "chunk compact concat countBy difference differenceBy drop dropRight each every filter find findIndex findLast \
         findLastIndex flatMap flatten flattenDeep forEach fromPairs groupBy head includes indexOf initial intersection \
         intersectionBy join keyBy last map max maxBy mean meanBy min minBy nth orderBy partition pull range reduce \
         reduceRight reject remove reverse size slice some sortBy sum sumBy tail take takeRight times toArray union \
         unionBy uniq uniqBy uniqWith unzip without xor zip zipObject first assign assignIn castArray clone cloneDeep \
         defaults defaultsDeep defaultTo eq findKey forIn forOwn get gt gte has invert isArray isArrayLike isBoolean \
         isBuffer isDate isEmpty isEqual isError isFinite isFunction isInteger isMap isMatch isNaN isNil isNull \
         isNumber isObject isObjectLike isPlainObject isRegExp isSet isString isSymbol isUndefined keys keysIn lt lte \
         mapKeys mapValues merge mergeWith omit omitBy pick pickBy result set toPairs transform unset update values \
         entries extend add attempt camelCase capitalize ceil clamp constant debounce deburr divide endsWith escape \
         escapeRegExp floor flow identity inRange iteratee kebabCase lowerCase lowerFirst matches memoize multiply \
         negate noop now once pad padEnd padStart partial property random repeat replace round sample shuffle snakeCase \
         split startCase startsWith subtract toInteger toLower toNumber toPath toUpper trim trimEnd trimStart truncate \
         unescape uniqueId upperCase upperFirst words chain",
    ),
];

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot be built.
    Error,
    /// It can, and is probably not what was meant.
    Warning,
}

/// One mistake and its place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to write instead where that is known.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{}:{}:{}: {severity}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Which part of a function a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// The file of a bundle whose exports are the handlers.
    Entry,
    /// Another file of a bundle.
    Other,
}

/// What every object and function has.
const INHERITED: [&str; 9] = [
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
    "bind",
    "call",
    "apply",
];

/// What is wrong with a file, in the order of its text. Without a manifest nothing is said about events and hosts.
pub fn check(source: &str, file: &str, part: Part, manifest: Option<&Manifest>) -> Vec<Finding> {
    reading(source, || read(source, file, part, manifest)).unwrap_or_else(|why| {
        let message = format!("{why}: its names, handlers and hosts are not checked");
        vec![finding(source, file, 0, Severity::Warning, message)]
    })
}

/// The origins that a file names where a request goes, each once, in the order of its text. None if it cannot be read.
pub(super) fn hosts(source: &str, file: &str) -> Vec<String> {
    let read = reading(source, || {
        let allocator = Allocator::default();
        let parsed = parse(&allocator, source, file).ok()?;
        Some(named(&SemanticBuilder::new().with_build_nodes(true).build(&parsed.program).semantic))
    });
    read.ok().flatten().unwrap_or_default()
}

fn read(source: &str, file: &str, part: Part, manifest: Option<&Manifest>) -> Vec<Finding> {
    let allocator = Allocator::default();
    let parsed = match parse(&allocator, source, file) {
        Ok(parsed) => parsed,
        Err(finding) => return vec![finding],
    };
    let semantic = SemanticBuilder::new().with_build_nodes(true).build(&parsed.program).semantic;
    let mut found = unknown_names(&semantic, part);
    found.extend(unknown_members(&semantic));
    if part != Part::Other {
        found.extend(handlers(&semantic, &parsed.module_record, manifest));
    }
    if let Some(manifest) = manifest {
        found.extend(unreachable(&semantic, manifest));
    }
    found.sort();
    found.truncate(MAX_FINDINGS);
    found.into_iter().map(|(at, text)| finding(source, file, at, Severity::Warning, text)).collect()
}

/// Names that are used, and that neither the file nor the host gives a meaning. A name that is assigned anywhere, or
/// asked for with `typeof`, is the author's own affair.
fn unknown_names(semantic: &Semantic<'_>, part: Part) -> Vec<(usize, String)> {
    let (scoping, nodes) = (semantic.scoping(), semantic.nodes());
    let bundled = if part == Part::Whole { &ALONE[..] } else { &BUNDLED };
    let known: BTreeSet<&str> =
        GLOBALS.split_whitespace().chain(["arguments"]).chain(bundled.iter().copied()).collect();
    let given = properties_of_the_global_object(semantic);
    let mut found = Vec::new();
    for (name, references) in scoping.root_unresolved_references() {
        let name = name.as_str();
        let asked = |parent: AstKind<'_>| matches!(parent, AstKind::UnaryExpression(unary) if unary.operator == UnaryOperator::Typeof);
        let meant = references.iter().map(|&id| scoping.get_reference(id));
        let own = meant.clone().any(|one| one.is_write() || asked(nodes.parent_kind(one.node_id())));
        // What only stands for a type is gone before the code runs.
        let types = meant.clone().all(|one| !one.is_value());
        if own || types || known.contains(name) || given.contains(name) {
            continue;
        }
        if let Some(first) = meant.map(|one| semantic.reference_span(one).start as usize).min() {
            let near = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            found.push((first, format!("`{name}` is not defined{}", near.unwrap_or_default())));
        }
    }
    found
}

/// Calls of functions that `crypto` and `_` do not have.
fn unknown_members(semantic: &Semantic<'_>) -> Vec<(usize, String)> {
    let of = |object: &Expression<'_>| match object {
        Expression::Identifier(name) if semantic.is_reference_to_global_variable(name) => {
            MEMBERS.iter().find(|(global, _)| *global == name.name.as_str())
        }
        _ => None,
    };
    let called = semantic.nodes().iter().filter_map(|node| match node.kind() {
        AstKind::CallExpression(call) if !call.optional => call.callee.as_member_expression(),
        _ => None,
    });
    let given = properties_of_the_global_object(semantic);
    called
        .filter_map(|member| {
            let ((global, has), name) = (of(member.object())?, member.static_property_name()?);
            let has_it = has.split_whitespace().chain(INHERITED).any(|one| one == name);
            let own = has_it || given.contains(global) || assigned(semantic, global);
            let near = nearest(name, has.split_whitespace()).map(|near| format!("; did you mean `{global}.{near}`?"));
            let text = format!("`{global}.{name}` is not here{}", near.unwrap_or_default());
            (!own && !member.optional()).then(|| (member.span().start as usize, text))
        })
        .collect()
}

/// Whether the file puts something else, or something more, where a global was.
fn assigned(semantic: &Semantic<'_>, global: &str) -> bool {
    let (scoping, nodes) = (semantic.scoping(), semantic.nodes());
    let Some(references) = scoping.root_unresolved_references().get(global) else { return false };
    references.iter().map(|&id| scoping.get_reference(id)).any(|one| {
        let member = nodes.parent_node(one.node_id());
        let target = matches!(nodes.parent_kind(member.id()), AstKind::AssignmentExpression(whole) if whole.left.span() == member.span());
        // What is handed to a function may be given more there, as `_.mixin(…)` and `Object.assign(_, …)` do.
        one.is_write() || target || matches!(member.kind(), AstKind::CallExpression(_))
    })
}

/// The names `x` of every `globalThis.x`: who writes it that way knows that it may be missing, or puts it there.
fn properties_of_the_global_object<'a>(semantic: &Semantic<'a>) -> BTreeSet<&'a str> {
    let global = |of: &Expression<'_>| match of {
        Expression::Identifier(name) => ["globalThis", "global"].contains(&name.name.as_str()),
        Expression::ThisExpression(_) => true,
        _ => false,
    };
    let kinds = semantic.nodes().iter().map(|node| node.kind());
    kinds
        .filter_map(|kind| match kind {
            AstKind::StaticMemberExpression(one) if global(&one.object) => Some(one.property.name.as_str()),
            _ => None,
        })
        .collect()
}

/// Handlers that will never be called, and events that nobody handles.
fn handlers(semantic: &Semantic<'_>, exports: &ModuleRecord<'_>, manifest: Option<&Manifest>) -> Vec<(usize, String)> {
    let scoping = semantic.scoping();
    let name_of = |event: EventType| {
        let (first, rest) = event.as_str().split_at(1);
        format!("on{}{rest}", first.to_uppercase())
    };
    let all: Vec<(EventType, String)> = EventType::ALL.into_iter().map(|event| (event, name_of(event))).collect();
    let mut found = Vec::new();
    let mut has = BTreeSet::new();
    for symbol in scoping.iter_bindings_in(scoping.root_scope_id()) {
        let (name, at) = (scoping.symbol_name(symbol), scoping.symbol_span(symbol).start as usize);
        if !scoping.symbol_flags(symbol).is_value() {
            continue;
        }
        has.insert(name);
        let event = all.iter().find(|(_, handler)| handler == name).map(|(event, _)| *event);
        if let (Some(event), Some(manifest)) = (event, manifest) {
            if !manifest.events.contains(&event) {
                let text = format!("`{name}` is never called: `events` in `function.toml` does not name `{event}`");
                found.push((at, text));
            }
        } else if event.is_none() && name != BATCH && unused(scoping, symbol) && name.len() > 2 {
            let near = nearest(name, all.iter().map(|(_, handler)| &**handler).chain([BATCH]));
            if let Some(near) = near.filter(|_| name[..name.floor_char_boundary(2)].eq_ignore_ascii_case("on")) {
                found.push((at, format!("`{name}` is never called; did you mean `{near}`?")));
            }
        }
    }
    // A bundle's handlers are exported, and a batch handler gets every event.
    let named = exports.exported_bindings.keys().map(|name| name.as_str());
    has.extend(named);
    let elsewhere = !exports.star_export_entries.is_empty()
        || !exports.indirect_export_entries.is_empty()
        || exports.local_export_entries.iter().any(|export| export.export_name.is_default())
        || ["module", "exports"].iter().any(|name| has.contains(name))
        || scoping.root_unresolved_references().keys().any(|name| {
            ["module", "exports"].contains(&name.as_str()) || all.iter().any(|(_, handler)| handler == name.as_str())
        })
        || has.contains(BATCH);
    let given = properties_of_the_global_object(semantic);
    for event in manifest.filter(|_| !elsewhere).iter().flat_map(|manifest| &manifest.events) {
        let name = name_of(*event);
        if !has.contains(name.as_str()) && !given.contains(name.as_str()) {
            found.push((0, format!("`events` in `function.toml` names `{event}`, and there is no `{name}`")));
        }
    }
    found
}

fn unused(scoping: &Scoping, symbol: oxc_semantic::SymbolId) -> bool {
    scoping.get_resolved_reference_ids(symbol).is_empty()
}

/// The one that is a slip of the finger away: another case, or one letter in four.
fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 4).min(2);
    let far = |one: &str| if one.eq_ignore_ascii_case(name) { 0 } else { distance(name, one) };
    // A name of another length is further away than that, and a file may have a name of any length.
    let close = all.filter(|one| one.len().abs_diff(name.len()) <= 2);
    close.map(|one| (far(one), one)).filter(|(far, _)| *far <= most).min().map(|(_, one)| one)
}

/// Letters to add, take away or change (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, &same) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != same);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::super::javascript_read::{MAX_BYTES, MAX_DEPTH};
    use super::*;

    fn texts(source: &str, manifest: Option<&str>) -> Vec<String> {
        let manifest = manifest.map(|events| {
            let toml = format!("name = \"a\"\nversion = \"1\"\nevents = {events}");
            super::super::manifest::parse(&toml).unwrap()
        });
        check(source, "a.js", Part::Whole, manifest.as_ref()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_its_remedy() {
        let cases = [
            (
                "function onTrack() {\n  é = consol.log(1);\n}",
                None,
                "a.js:2:7: warning: `consol` is not defined; did you mean `console`?",
            ),
            ("nowhere()", None, "a.js:1:1: warning: `nowhere` is not defined"),
            ("async () => {\n crypto.createSign('x') }", None, "a.js:2:2: warning: `crypto.createSign` is not here"),
            ("_.grupBy([])", None, "a.js:1:1: warning: `_.grupBy` is not here; did you mean `_.groupBy`?"),
            ("\nfunction (", None, "a.js:2:10: error: SyntaxError: "),
            ("function ontrack() {}", None, "a.js:1:10: warning: `ontrack` is never called; did you mean `onTrack`?"),
            ("const onTrak = () => {}", None, "a.js:1:7: warning: `onTrak` is never called; did you mean `onTrack`?"),
            ("function onPage() {} function onTrack() {}", Some("['page']"), "`onTrack` is never called: `events`"),
            (
                "function onPage() {}",
                Some("['page', 'track']"),
                "a.js:1:1: warning: `events` in `function.toml` names `track`",
            ),
        ];
        for (source, manifest, expected) in cases {
            let found = texts(source, manifest);
            assert!(found.len() == 1 && found[0].contains(expected), "{source}: {found:?}");
        }
    }

    #[test]
    fn what_is_right_or_the_authors_own_affair_is_not_found() {
        let sources = [
            "count = 0; function onTrack() { count += 1; return arguments.length; }",
            "function onTrack() { if (typeof require === 'function') require('x'); }",
            "globalThis.kept = {}; function onTrack() { return kept; }",
            "function onTracks() {} function onTrack() { onTracks(); undefined; NaN; _.get(); }",
            "onTrack = async () => {};",
            "module = { exports: {} }; module.exports.onTrack = () => {};",
            "var await = 1, let = 2; function onTrack(static) { with (static) { await + let; } }",
            "function onBatch(events) {}",
            "if (module) module.exports = { onTrack }; async function onTrack() {}",
            "exports.onTrack = () => {};",
            "crypto.createHash('md5'); _.map([]); crypto.subtle.digest(); _.zipWith; _.zipWith?.(); _['zip' + 1](); onTrack = 1;",
            "const _ = require2; var require2 = {}; _.zipWith(); Object.assign(crypto, {}); crypto.createSign(); onTrack = 1;",
            "crypto.createSign = () => {}; crypto.createSign(); _.toString(1); _.hasOwnProperty('map'); onTrack = 1;",
        ];
        for source in sources {
            assert_eq!(texts(source, Some("['track']")), [""; 0], "{source}");
        }
    }

    #[test]
    fn no_nesting_exhausts_the_stack() {
        for part in
            ["!", "a=>", "a?b:", "if(a)", "new ", "typeof ", "a+", "a.", "a**", "else ", "`", "/", "async ", "-"]
        {
            check(&part.repeat(MAX_BYTES / part.len()), "a.js", Part::Whole, None);
        }
        for bracket in ["[", "(", "{", "${`", "a=>{", "({a:", "(function(){", "x[", "f("] {
            let nested = bracket.repeat(MAX_DEPTH / bracket.matches(['(', '[', '{']).count().max(1));
            check(&nested, "a.js", Part::Whole, None);
            let found = texts(&bracket.repeat(20_000), None);
            assert!(found[0].contains("brackets more than 500 deep"), "{bracket}: {found:?}");
        }
        assert!(texts(&" ".repeat(MAX_BYTES + 1), None)[0].contains("that are read"));
    }

    #[test]
    fn the_names_are_those_of_the_engine() {
        let probe = format!(
            "const known = '{GLOBALS}'.split(/ +/); const has = Object.getOwnPropertyNames(globalThis);\n\
             const wrong = [...known.filter((one) => !has.includes(one)), ...has.filter((one) => !known.includes(one) && one !== 'onTrack')];\n\
             if (wrong.length > 0) throw new Error(wrong.join()); function onTrack() {{}}"
        );
        let loaded = super::super::javascript::load(&probe, "probe.js", None);
        assert!(loaded.is_ok(), "{}", loaded.err().map(|error| error.to_string()).unwrap_or_default());
    }

    #[test]
    fn the_members_are_those_of_the_engine() {
        for (global, has) in MEMBERS {
            let probe = format!(
                "const known = '{has}'.split(/ +/), has = new Set(), language = [Object.prototype, Function.prototype];\n\
                 for (let at = {global}; at && !language.includes(at); at = Object.getPrototypeOf(at))\n\
                   for (const name of Object.getOwnPropertyNames(at)) if (typeof {global}[name] === 'function') has.add(name);\n\
                 const more = [...known, ...{INHERITED:?}, 'constructor'];\n\
                 const wrong = [...known.filter((one) => !has.has(one)), ...[...has].filter((one) => !more.includes(one))];\n\
                 if (wrong.length > 0) throw new Error(wrong.join()); function onTrack() {{}}"
            );
            let loaded = super::super::javascript::load(&probe, "probe.js", None);
            assert!(loaded.is_ok(), "{global}: {}", loaded.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", code in "[a-z(){}\\[\\]`$'\"/=>.,;!\n ]{0,200}") {
            check(&text, "a.js", Part::Whole, None);
            check(&code, "a.js", Part::Whole, None);
        }
    }
}
