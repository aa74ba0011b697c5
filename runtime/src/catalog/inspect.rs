//! Before any event: uploaded bytes become a checked component, or a refusal that says why.
//!
//! Guarantees: nothing but a whole component passes; it is valid WebAssembly of the feature set we run, within the
//! caps of `structure`, fits our world, and has exactly one valid manifest.
//! Compiling it, whether what it imports of WASI has WASI's types, and what it does when it runs, are the sandbox's.

use sha2::{Digest as _, Sha256};
use wasmparser::component_types::ComponentEntityType;
use wasmparser::{Parser, Payload, Validator, WasmFeatures, types::Types};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, Span, WorldItem, WorldKey};

use super::component::{CHOICES, HANDLER, MANIFEST_SECTION, WORLD};
use super::javascript_check::Finding;
use super::manifest::{self, ManifestError};
use super::secret_check;
use super::structure::{self, StructureError};
use crate::model::{Digest, Inspection, Manifest};
use crate::sandbox::WASI;

/// What the core code may use: WebAssembly 2.0, so no threads, 64-bit or several memories, garbage collection,
/// exceptions or stack switching; and sums in constants, without which libraries cannot be linked dynamically. The
/// sandbox's engine has the same set.
const FEATURES: WasmFeatures =
    WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST).union(WasmFeatures::COMPONENT_MODEL);

/// A component that passed.
#[derive(Clone, PartialEq, Debug)]
pub struct Inspected {
    /// What identifies it from here on.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// How many bytes it has.
    pub size: u64,
    /// What it is made of.
    pub inspection: Inspection,
    /// What the author of its manifest should look at; none of it is an error.
    pub findings: Vec<Finding>,
}

/// Why bytes are not a function.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Another kind of file.
    #[error("this is {what}, not a WebAssembly component; {fix}")]
    NotAComponent {
        /// What it looks like.
        what: &'static str,
        /// What to do instead.
        fix: &'static str,
    },
    /// Too large, too deep, or cut off.
    #[error("this component is refused: {0}")]
    Structure(#[from] StructureError),
    /// Not valid, or of a feature set that is not lent.
    #[error(
        "this component is not valid here: {0}; the feature set is WebAssembly 2.0, extended constants and the component model"
    )]
    Invalid(String),
    /// An import that this host does not have.
    #[error("this component imports `{import}`, which this host does not lend; it lends {lent}")]
    Import {
        /// The offending import, with the function where only that is unknown.
        import: String,
        /// What there is.
        lent: String,
    },
    /// No handler.
    #[error("this component does not export `{HANDLER}`; it exports {exports}")]
    NoHandler {
        /// What it does export.
        exports: String,
    },
    /// A setting whose choices nobody can be asked for.
    #[error(
        "the setting `{setting}` has its choices from the function, and this component does not export `{CHOICES}`: build it anew"
    )]
    NoChoices {
        /// The setting.
        setting: String,
    },
    /// An import or the handler has other types than the contract.
    #[error(
        "this component disagrees with the types of `tidegate:destination@0.1.0`: {0}; build it against this host's `wit/`"
    )]
    Types(String),
    /// No manifest, or several.
    #[error(
        "this component has {0} custom sections `{MANIFEST_SECTION}` instead of one; `tidegate function build` writes it"
    )]
    ManifestCount(usize),
    /// A manifest that makes no sense.
    #[error("the manifest in this component: {0}")]
    Manifest(#[from] ManifestError),
}

/// Checks bytes from a stranger.
///
/// Takes about 10 ms for each megabyte, twice that where WASI is imported, all of it on the calling thread.
///
/// # Errors
/// The first reason to refuse them.
pub fn inspect(bytes: &[u8]) -> Result<Inspected, InspectError> {
    recognise(bytes)?;
    let structure = structure::check(bytes)?;
    let text = manifest_text(bytes)?;
    let manifest = manifest::parse(&text)?;
    let findings = secret_check::check(&manifest, &text);
    let types = Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(|error| InspectError::Invalid(error.to_string()))?;
    let (imports, exports) = names(bytes)?;
    check_imports(&imports, &types)?;
    if !exports.iter().any(|name| name == HANDLER) {
        return Err(InspectError::NoHandler { exports: list(&exports) });
    }
    let mut asked = manifest.settings.iter().filter(|(_, setting)| setting.choices_from.is_some());
    if let (Some((setting, _)), false) = (asked.next(), exports.iter().any(|name| name == CHOICES)) {
        return Err(InspectError::NoChoices { setting: setting.clone() });
    }
    check_types(bytes, imports.iter().any(|import| is_wasi(import)))?;
    let digest = Digest(Sha256::digest(bytes).into());
    let inspection = Inspection { imports, exports, structure };
    Ok(Inspected { digest, manifest, size: bytes.len() as u64, inspection, findings })
}

/// Tells a component from everything that people upload instead.
fn recognise(bytes: &[u8]) -> Result<(), InspectError> {
    const BUILD: &str = "`tidegate function build` makes a component";
    let refuse = |what, fix| Err(InspectError::NotAComponent { what, fix });
    match bytes {
        [] => refuse("an empty file", BUILD),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            refuse("a core module", "`tidegate function build` makes a component of it")
        }
        [0, b'a', b's', b'm', ..] => refuse("WebAssembly of another version, or the beginning of some", BUILD),
        [0x7f, b'E', b'L', b'F', ..] => {
            refuse("an ELF file, so native or precompiled code", "upload the component itself: this host compiles it")
        }
        [0x1f, 0x8b, ..] => refuse("gzip data", "upload it uncompressed"),
        [b'P', b'K', 3, 4, ..] => refuse("a zip archive", "upload the component alone"),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            refuse("WebAssembly in text form", "put it as `main.wat` beside a `function.toml` and build that folder")
        }
        _ => refuse("an unknown kind of file", BUILD),
    }
}

/// The text of the one manifest section of the outermost component.
fn manifest_text(bytes: &[u8]) -> Result<String, InspectError> {
    let invalid = |error: wasmparser::BinaryReaderError| InspectError::Invalid(error.to_string());
    let (mut depth, mut found) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 1 && section.name() == MANIFEST_SECTION => {
                found.push(section.data());
            }
            _ => {}
        }
    }
    match found[..] {
        [one] => Ok(String::from_utf8_lossy(one).into_owned()),
        _ => Err(InspectError::ManifestCount(found.len())),
    }
}

/// Imports and exports of the outermost component, each sorted.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), InspectError> {
    let invalid = |error: wasmparser::BinaryReaderError| InspectError::Invalid(error.to_string());
    let (mut depth, mut imports, mut exports) = (0, Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    imports.sort();
    exports.sort();
    Ok((imports, exports))
}

/// Every import must be one of the world's interfaces, of which every function must be there, or one of WASI's.
fn check_imports(imports: &[String], types: &Types) -> Result<(), InspectError> {
    let world = &WORLD.resolve.worlds[WORLD.id];
    let lent: Vec<(String, &WorldItem)> =
        world.imports.iter().map(|(key, item)| (interface_name(&WORLD.resolve, key), item)).collect();
    let names: Vec<String> = lent.iter().map(|(name, _)| name.clone()).collect();
    let lends = || format!("{} and, in any version 0.2 of WASI, {}", list(&names), list(&WASI));
    let refuse = |import: String| Err(InspectError::Import { import, lent: lends() });
    for import in imports.iter().filter(|import| !is_wasi(import)) {
        let Some((_, WorldItem::Interface { id, .. })) = lent.iter().find(|(name, _)| name == import) else {
            return refuse(import.clone());
        };
        let Some(ComponentEntityType::Instance(instance)) =
            types.as_ref().component_item_for_import(import).map(|item| item.ty)
        else {
            return refuse(format!("{import} (not as an interface)"));
        };
        for (name, item) in &types[instance].exports {
            let known = WORLD.resolve.interfaces[*id].functions.contains_key(name);
            if matches!(item.ty, ComponentEntityType::Func(_)) && !known && !name.starts_with('[') {
                return refuse(format!("{import}#{name}"));
            }
        }
    }
    Ok(())
}

/// Whether this is an interface of WASI that the sandbox lends.
fn is_wasi(import: &str) -> bool {
    let of = |(name, patch): (&str, &str)| WASI.contains(&name) && patch.bytes().all(|byte| byte.is_ascii_digit());
    import.split_once("@0.2.").is_some_and(of)
}

/// The handler and the world's interfaces must have the contract's types. What the component imports of WASI is taken as
/// the component has it: the contract does not speak of it.
fn check_types(bytes: &[u8], with_wasi: bool) -> Result<(), InspectError> {
    let widened = with_wasi.then(|| widened(bytes)).transpose().map_err(InspectError::Types)?;
    let resolve = widened.as_ref().unwrap_or(&WORLD.resolve);
    wit_component::targets(resolve, WORLD.id, bytes)
        .map_err(|error| InspectError::Types(error.root_cause().to_string()))
}

/// The contract, its world widened by what a component imports of WASI.
fn widened(bytes: &[u8]) -> Result<Resolve, String> {
    let decoded = wit_component::decode(bytes).map_err(|error| error.root_cause().to_string())?;
    let mut resolve = WORLD.resolve.clone();
    let DecodedWasm::Component(theirs, their_world) = decoded else { return Ok(resolve) };
    let merged = resolve.merge(theirs).map_err(|error| error.to_string())?;
    let their_world = merged.map_world(their_world, Span::default()).map_err(|error| error.to_string())?;
    let imports = resolve.worlds[their_world].imports.clone();
    let wasi = imports.into_iter().filter(|(key, _)| is_wasi(&resolve.name_world_key(key))).collect::<Vec<_>>();
    resolve.worlds[WORLD.id].imports.extend(wasi);
    Ok(resolve)
}

fn interface_name(resolve: &Resolve, key: &WorldKey) -> String {
    resolve.name_world_key(key)
}

fn list<S: std::fmt::Display>(names: &[S]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::component::tests::{DELIVERED_WAT, MANIFEST};
    use super::super::component::with_manifest;
    use super::super::component_from_core;
    use super::*;

    fn probe() -> Vec<u8> {
        component_from_core(DELIVERED_WAT.as_bytes(), MANIFEST).unwrap()
    }

    fn with(text: &str) -> Vec<u8> {
        with_manifest(wat::parse_str(text).unwrap(), MANIFEST)
    }

    #[test]
    fn a_built_component_passes_with_its_manifest_and_digest() {
        let bytes = probe();
        let inspected = inspect(&bytes).unwrap();
        assert_eq!(inspected.manifest.name, "probe");
        assert_eq!(inspected.inspection.exports, [HANDLER]);
        assert_eq!(inspected.size, bytes.len() as u64);
        assert_eq!(inspected.digest, inspect(&bytes).unwrap().digest);
    }

    #[test]
    fn what_is_not_a_component_is_called_by_its_name() {
        let core = wat::parse_str("(module)").unwrap();
        let cases: [(&[u8], &str); 8] = [
            (b"", "an empty file"),
            (&core, "a core module"),
            (b"\0asm", "the beginning of some"),
            (b"\x7fELF\x02\x01\x01", "an ELF file"),
            (b"\x1f\x8b\x08", "gzip data"),
            (b"PK\x03\x04", "a zip archive"),
            (b" (component)", "text form"),
            (b"hello", "an unknown kind of file"),
        ];
        for (bytes, expected) in cases {
            let message = inspect(bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_component_that_is_cut_off_anywhere_is_refused() {
        let bytes = probe();
        for length in 0..bytes.len() {
            assert!(inspect(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn the_offending_import_export_feature_or_section_is_named() {
        let no_manifest = wat::parse_str("(component)").unwrap();
        let unlent = r#"(component (import "wasi:http/incoming-handler@0.2.0" (instance)))"#;
        let later = r#"(component (import "wasi:cli/environment@0.3.0" (instance)))"#;
        let unknown_function = r#"(component (import "tidegate:destination/log@0.1.0"
            (instance (export "steal" (func)))))"#;
        let wrong_type = format!(r#"(component (instance $i) (export "{HANDLER}" (instance $i)))"#);
        let threads = "(component (core module (memory 1 1 shared)))";
        let cases = [
            (no_manifest.clone(), "has 0 custom sections"),
            (with_manifest(with_manifest(no_manifest, MANIFEST), MANIFEST), "has 2 custom sections"),
            (with(unlent), "imports `wasi:http/incoming-handler@0.2.0`, which this host does not lend"),
            (with(later), "imports `wasi:cli/environment@0.3.0`, which this host does not lend; it lends `tidegate"),
            (with(unknown_function), "`tidegate:destination/log@0.1.0#steal`"),
            (with("(component)"), "does not export `tidegate:destination/handler@0.1.0`; it exports nothing"),
            (with(&wrong_type), "disagrees with the types"),
            (with(threads), "threads"),
            (with_manifest(wat::parse_str("(component)").unwrap(), "nam = 1"), "the manifest in this component"),
        ];
        for (bytes, expected) in cases {
            let message = inspect(&bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_imports_wasi_passes_and_is_still_held_to_the_contract() {
        let mut resolve = WORLD.resolve.clone();
        let package = resolve.push_str("python.wit", include_str!("python.wit")).unwrap();
        let world = resolve.select_world(&[package], Some("function")).unwrap();
        let import = "(module (import \"wasi:clocks/monotonic-clock@0.2.12\" \"now\" (func (result i64)))";
        let mut core = wat::parse_str(DELIVERED_WAT.replacen("(module", import, 1)).unwrap();
        wit_component::embed_component_metadata(&mut core, &resolve, world, wit_component::StringEncoding::UTF8)
            .unwrap();
        let inspected = inspect(&component_from_core(&core, MANIFEST).unwrap()).unwrap();
        let imports = ["tidegate:destination/types@0.1.0", "wasi:clocks/monotonic-clock@0.2.12"];
        assert_eq!(inspected.inspection.imports, imports);

        let wrong = format!(
            r#"(component (import "wasi:cli/environment@0.2.3" (instance)) (instance $i) (export "{HANDLER}" (instance $i)))"#
        );
        let message = inspect(&with(&wrong)).unwrap_err().to_string();
        assert!(message.contains("disagrees with the types"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0_usize..4_000, byte: u8) {
            let mut bytes = probe();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = inspect(&bytes);
        }
    }
}
