//! Before any event: a file with types or exports becomes a script, which is what the engine loads.
//!
//! Guarantees: an exported handler is one as if it stood there plainly; a script without types is left as it is, and one
//! that only exports keeps every line and column; where code is made anew, a table says where it comes from.
//! Leaves to others: files that import others (`bundle`), whether names and types make sense.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use oxc_allocator::Allocator;
use oxc_ast::ast::{ExportDefaultDeclarationKind, ExportNamedDeclaration, ModuleExportName, Program, Statement};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_semantic::SemanticBuilder;
use oxc_span::GetSpan;
use oxc_syntax::module_record::ModuleRecord;
use oxc_transformer::{TransformOptions, Transformer};

use super::javascript::HANDLERS;
use super::javascript_check::{Finding, Severity};
use super::javascript_read::{finding, is_typescript, parse, reading};
use crate::sandbox::{Mapping, SourceMap};

/// Where the default export goes: as many letters as `export default`, so that nothing behind it moves.
const DEFAULT: &str = "var $exported=";

/// A script that the engine can load.
#[derive(Debug)]
pub(super) struct Made<'a> {
    /// Its text.
    pub(super) code: Cow<'a, str>,
    /// Where its pieces come from, unless each stands where it stood.
    pub(super) map: Option<SourceMap>,
}

/// The script that this file is.
///
/// # Errors
/// What keeps it from being one.
pub(super) fn make<'a>(source: &'a str, file: &str) -> Result<Made<'a>, Finding> {
    match reading(source, || made(source, file)) {
        Ok(made) => made,
        // The engine reads what only the checks leave unread.
        Err(_) if !is_typescript(file) => Ok(Made { code: Cow::Borrowed(source), map: None }),
        Err(why) => Err(finding(source, file, 0, Severity::Error, format!("{why}: split it, with a `package.json`"))),
    }
}

/// What a file needs of a bundler.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Whether it imports; else it only calls `require`.
    pub(super) imports: bool,
    /// What to put behind its text, so that it exports the handlers that it only declares.
    pub(super) exports: String,
}

/// What this file needs of a bundler; `None` if it asks for no other file, or cannot be read.
pub(super) fn needs_of(source: &str, file: &str) -> Option<Needs> {
    reading(source, || {
        let allocator = Allocator::default();
        let parsed = parse(&allocator, source, file).ok()?;
        let record = &parsed.module_record;
        let semantic = SemanticBuilder::new().build(&parsed.program).semantic;
        let scoping = semantic.scoping();
        let requires = scoping.root_unresolved_references().keys().any(|name| name.as_str() == "require");
        let imports = first_import(record).is_some() || !record.dynamic_imports.is_empty();
        if !imports && !requires {
            return None;
        }
        let declared = scoping.iter_bindings_in(scoping.root_scope_id());
        let declared: Vec<&str> = declared
            .filter(|&symbol| scoping.symbol_flags(symbol).is_value())
            .map(|symbol| scoping.symbol_name(symbol))
            .filter(|name| !record.exported_bindings.keys().any(|exported| exported.as_str() == *name))
            .collect();
        let open: Vec<&str> = HANDLERS.into_iter().filter(|handler| declared.contains(handler)).collect();
        let exports = if record.has_module_syntax {
            format!("\nexport {{ {} }};\n", open.join(", "))
        } else {
            open.iter().map(|name| format!("\nmodule.exports.{name} = {name};")).collect()
        };
        Some(Needs { imports, exports })
    })
    .ok()
    .flatten()
}

/// Where it first asks for another module that is more than types.
fn first_import(exports: &ModuleRecord<'_>) -> Option<usize> {
    let asked = exports.requested_modules.values().flatten().filter(|asked| !asked.is_type);
    asked.map(|asked| asked.statement_span.start as usize).min()
}

fn made<'a>(source: &'a str, file: &str) -> Result<Made<'a>, Finding> {
    let allocator = Allocator::default();
    let parsed = parse(&allocator, source, file)?;
    if let Some(at) = first_import(&parsed.module_record) {
        let text = "a file that imports others is bundled: put a `package.json` beside it, and build the folder with \
                    `tidegate function build`";
        return Err(finding(source, file, at, Severity::Error, text.to_owned()));
    }
    let (script, tail) = if parsed.module_record.has_module_syntax {
        let (script, tail) = without_exports(source, file, &parsed.program)?;
        (Cow::Owned(script), tail)
    } else {
        (Cow::Borrowed(source), String::new())
    };
    if !is_typescript(file) {
        return Ok(Made {
            code: if tail.is_empty() { script } else { Cow::Owned(script.into_owned() + &tail) },
            map: None,
        });
    }
    let (code, map) = without_types(&script, file)?;
    Ok(Made { code: Cow::Owned(code + &tail), map: Some(map) })
}

/// The text with every export undone, each thing where it was, and what makes handlers of those that have other names.
fn without_exports(source: &str, file: &str, program: &Program<'_>) -> Result<(String, String), Finding> {
    let mut text = source.as_bytes().to_vec();
    let mut tail = String::new();
    for statement in &program.body {
        let start = statement.span().start as usize;
        match statement {
            Statement::ExportDeclaration(export) => blank(&mut text, start, export.declaration.span().start as usize),
            Statement::ExportNamedDeclaration(export) => {
                blank(&mut text, start, export.span.end as usize);
                // What stands before it may end without a semicolon.
                text[start] = b';';
                tail += &renamed(export);
            }
            Statement::ExportDefaultDeclaration(export) => {
                let named = match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.id.is_some(),
                    ExportDefaultDeclarationKind::ClassDeclaration(class) => class.id.is_some(),
                    ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => true,
                    _ => false,
                };
                blank(&mut text, start, export.declaration.span().start as usize);
                if named {
                    continue;
                }
                let room = text[start..].iter().take_while(|&&byte| byte == b' ').count();
                if room < DEFAULT.len() {
                    let text = "write `export default` on one line".to_owned();
                    return Err(finding(source, file, start, Severity::Error, text));
                }
                text[start..start + DEFAULT.len()].copy_from_slice(DEFAULT.as_bytes());
                tail += &format!(
                    "\n;(function () {{ for (const name of {HANDLERS:?}) if ($exported && typeof $exported[name] === \
                     'function') globalThis[name] = $exported[name].bind($exported); }})();"
                );
            }
            _ => {}
        }
    }
    // Whole characters became spaces, so it is text as before.
    Ok((String::from_utf8_lossy(&text).into_owned(), tail))
}

/// Spaces instead of everything but ends of lines.
fn blank(text: &mut [u8], from: usize, to: usize) {
    for byte in text[from..to].iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

/// For `export { send as onTrack }`.
fn renamed(export: &ExportNamedDeclaration<'_>) -> String {
    let mut tail = String::new();
    for specifier in &export.specifiers {
        let (local, exported) = (specifier.local.name(), specifier.exported.name());
        let plain = matches!(specifier.local, ModuleExportName::IdentifierReference(_));
        if plain && local != exported && HANDLERS.contains(&exported.as_str()) {
            tail += &format!("\n;globalThis.{exported} = {local};");
        }
    }
    tail
}

/// A script in TypeScript as JavaScript.
fn without_types(source: &str, file: &str) -> Result<(String, SourceMap), Finding> {
    let allocator = Allocator::default();
    let mut program = parse(&allocator, source, file)?.program;
    let scoping = SemanticBuilder::new().with_excess_capacity(2.0).with_enum_eval(true).build(&program);
    let scoping = scoping.semantic.into_scoping();
    let options = TransformOptions::default();
    let done = Transformer::new(&allocator, Path::new(file), &options).build_with_scoping(scoping, &mut program);
    if let Some(error) = done.diagnostics.errors().next() {
        let at = error.labels.first().map_or(0, |label| label.offset() as usize);
        return Err(finding(source, file, at, Severity::Error, error.to_string()));
    }
    let options = CodegenOptions { source_map_path: Some(PathBuf::from(file)), ..CodegenOptions::default() };
    let made = Codegen::new().with_options(options).build(&program);
    let mappings = made.map.iter().flat_map(oxc_sourcemap::SourceMap::get_tokens).map(|token| Mapping {
        line: token.get_dst_line(),
        column: token.get_dst_col(),
        file: 0,
        from_line: token.get_src_line(),
        from_column: token.get_src_col(),
    });
    let map = SourceMap::new(vec![file.to_owned()], mappings.collect());
    Ok((made.code, map))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str, file: &str) -> String {
        make(source, file).unwrap().code.into_owned()
    }

    #[test]
    fn a_script_stays_as_it_is_and_an_export_leaves_everything_in_its_place() {
        let script = "with (x) { y = 1; }\nasync function onTrack() {}";
        assert_eq!(code(script, "a.js"), script);
        let cases = [
            ("é()\nexport async function onTrack() {}", "é()\n       async function onTrack() {}", ""),
            ("export const onTrack = 1", "       const onTrack = 1", ""),
            (
                "a()\nexport { send as onTrack, b as c };\n(b)",
                "a()\n;                                  \n(b)",
                "globalThis.onTrack = send;",
            ),
            ("export default { onPage() {} };", "var $exported= { onPage() {} };", "$exported[name].bind"),
            ("export default function onPage() {}", "               function onPage() {}", ""),
            ("export default async () => {}", "var $exported= async () => {}", "$exported"),
        ];
        for (source, expected, tail) in cases {
            let made = code(source, "a.js");
            assert!(made.starts_with(expected) && made.contains(tail), "{source}: {made}");
            assert_eq!(made.len() == expected.len(), tail.is_empty(), "{made}");
        }
    }

    #[test]
    fn types_are_gone_and_every_place_is_known() {
        let source = "interface Kept { a: string }\nenum Kind { A = 1, B }\n\nexport async function onTrack(event: Kept): Promise<void> {\n  \
                      const n = event.a as unknown as number;\n  throw new TypeError('x' + n! + Kind.B);\n}\nexport type { Kept };\n";
        let made = make(source, "a.ts").unwrap();
        let (code, map) = (made.code, made.map.unwrap());
        assert!(
            !code.contains("Kept") && !code.contains("unknown") && code.contains("async function onTrack(event) {"),
            "{code}"
        );
        let line = code.lines().position(|line| line.contains("throw")).unwrap();
        let column = code.lines().nth(line).unwrap().find("new").unwrap();
        assert_eq!(map.original(line + 1, column + 1), Some(("a.ts", 6, 9)), "{code}");
    }

    #[test]
    fn what_keeps_a_file_from_being_a_script_is_named_with_its_place() {
        let cases = [
            ("\n import x from 'y';", "a.js", "a.js:2:2: error: a file that imports others"),
            ("export * from './b.js';", "a.js", "a.js:1:1: error: a file that imports others"),
            ("const x: number = ;", "a.ts", "a.ts:1:19: error: SyntaxError"),
            ("export\n default {}", "a.js", "a.js:1:1: error: write `export default` on one line"),
        ];
        for (source, file, expected) in cases {
            let found = make(source, file).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found}");
        }
        assert!(make("import type { X } from 'y'; export type Y = X;", "a.ts").is_ok());
    }

    #[test]
    fn a_file_that_imports_needs_a_bundler_and_exports_its_handlers() {
        let cases = [
            ("function onTrack() {}", "a.js", None),
            ("import type { X } from 'y'; export function onTrack(x: X) {}", "a.ts", None),
            (
                "import x from 'y'; export function onTrack() {} function onPage() {}",
                "a.js",
                Some((true, "\nexport { onPage };\n")),
            ),
            (
                "const x = require('y'); const onTrack = x;",
                "a.js",
                Some((false, "\nmodule.exports.onTrack = onTrack;")),
            ),
            ("import('y').then()", "a.js", Some((true, ""))),
        ];
        for (source, file, expected) in cases {
            let expected = expected.map(|(imports, exports)| Needs { imports, exports: exports.to_owned() });
            assert_eq!(needs_of(source, file), expected, "{source}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,100}", code in "(export |default |\\{|\\}|type |x|enum | as |:|,|;|\n|é|class |\\(|\\)){0,40}") {
            for file in ["a.ts", "a.js"] {
                let _ = make(&text, file);
                let _ = make(&code, file);
                let _ = needs_of(&code, file);
            }
        }
    }
}
