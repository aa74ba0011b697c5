//! Before any event: a core module becomes a component that speaks `wit/` and carries its manifest.
//!
//! Guarantees: the result has the types of our own world, is valid, and its manifest is the text that was given.
//! Whether the manifest makes sense is [`manifest`](super::manifest)'s, whether the component may be loaded is
//! [`inspect`](mod@super::inspect)'s.

use std::borrow::Cow;
use std::sync::LazyLock;

use wasm_encoder::{Encode, Section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// The contract between host and guest, as text.
pub const WIT: &str = include_str!("../../../wit/destination.wit");

/// The custom section that holds a component's manifest, as TOML.
pub const MANIFEST_SECTION: &str = "tidegate:manifest";

/// The interface that a function exports.
pub const HANDLER: &str = "tidegate:destination/handler@0.1.0";

/// The interface that a function exports too if it is asked for choices.
pub const CHOICES: &str = "tidegate:destination/choices@0.1.0";

/// What a toolchain with bindings of its own leaves in the core module.
const BINDINGS_SECTION: &str = "component-type";

/// Why a core module cannot become a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Neither a core module in binary nor one in text form.
    #[error("this is not a WebAssembly module: {0}")]
    NotAModule(String),
    /// A valid module that does not fit the world.
    #[error(
        "this module does not fit the world `tidegate:destination/destination`: {0}; \
         it must export the functions of `{HANDLER}` and import nothing but `tidegate:destination/*`"
    )]
    WrongWorld(String),
}

/// The worlds of `wit/`, parsed.
pub(super) struct World {
    /// Every type and function.
    pub(super) resolve: Resolve,
    /// The world `destination` in it.
    pub(super) id: WorldId,
    /// The world `destination-with-choices` in it.
    with_choices: WorldId,
}

/// Parsed once: encoding and inspecting both need it.
pub(super) static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    // The text is part of this program; a test holds that it parses.
    let package = resolve.push_str("wit/destination.wit", WIT).expect("wit/destination.wit parses");
    let id = resolve.select_world(&[package], Some("destination")).expect("wit/destination.wit has its world");
    let world = resolve.select_world(&[package], Some("destination-with-choices"));
    let with_choices = world.expect("wit/destination.wit has its wider world");
    World { resolve, id, with_choices }
});

/// Makes a component of a core module, in binary or text form, and puts `manifest_toml` into it as it is.
///
/// The module exports `memory`, `cabi_realloc` and the handler's functions under their canonical names, such as
/// `tidegate:destination/handler@0.1.0#handle-event`.
///
/// # Errors
/// If it is no module, or does not have the world's imports and exports.
pub fn component_from_core(core: &[u8], manifest_toml: &str) -> Result<Vec<u8>, ComponentError> {
    let binary = wat::parse_bytes(core).map_err(|error| ComponentError::NotAModule(error.to_string()))?;
    let module = with_bindings(binary)?;
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| ComponentError::WrongWorld(format!("{error:#}")))?;
    Ok(with_manifest(component, manifest_toml))
}

/// Appends the manifest to a component that has none.
pub(super) fn with_manifest(component: Vec<u8>, manifest_toml: &str) -> Vec<u8> {
    with_section(component, MANIFEST_SECTION, manifest_toml.as_bytes())
}

/// The same component as another function or version: with this name and version in its manifest, and nothing else changed but the
/// manifest's layout. None if it carries no manifest that can be read.
pub fn renamed(component: &[u8], name: &str, version: &str) -> Option<Vec<u8>> {
    let (mut at, mut depth) = (None, 0);
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload.ok()? {
            wasmparser::Payload::ModuleSection { .. } | wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            wasmparser::Payload::CustomSection(section) if depth == 0 && section.name() == MANIFEST_SECTION => {
                at = Some((section.data_offset(), section.data().len()));
            }
            _ => {}
        }
    }
    let (begin, length) = at?;
    let mut manifest: toml::Table = std::str::from_utf8(&component[begin..begin + length]).ok()?.parse().ok()?;
    manifest.insert("name".to_owned(), name.into());
    manifest.insert("version".to_owned(), version.into());
    // Name and length stand before it: as long as they were when it was appended.
    let header = with_section(Vec::new(), MANIFEST_SECTION, &component[begin..begin + length]).len() - length;
    let rest = [&component[..begin - header], &component[begin + length..]].concat();
    Some(with_manifest(rest, &manifest.to_string()))
}

/// Appends a custom section.
pub(super) fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let section = wasm_encoder::CustomSection { name: name.into(), data: Cow::Borrowed(data) };
    component.push(section.id());
    section.encode(&mut component);
    component
}

/// Tells the encoder which world this is, unless the module's own toolchain did.
fn with_bindings(binary: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, ComponentError> {
    let (mut has_bindings, mut world) = (false, WORLD.id);
    for payload in wasmparser::Parser::new(0).parse_all(&binary) {
        let payload = payload.map_err(|error| ComponentError::NotAModule(error.to_string()))?;
        if let wasmparser::Payload::Version { encoding: wasmparser::Encoding::Component, .. } = payload {
            return Err(ComponentError::NotAModule("it is a component already".to_owned()));
        }
        if let wasmparser::Payload::CustomSection(section) = payload {
            has_bindings |= section.name().starts_with(BINDINGS_SECTION);
        } else if let wasmparser::Payload::ExportSection(section) = payload {
            let mut names = section.into_iter().flatten().map(|export| export.name);
            if names.any(|name| name.strip_prefix(CHOICES).is_some_and(|rest| rest.starts_with('#'))) {
                world = WORLD.with_choices;
            }
        }
    }
    if has_bindings {
        return Ok(binary);
    }
    let mut module = binary.into_owned();
    embed_component_metadata(&mut module, &WORLD.resolve, world, StringEncoding::UTF8)
        .map_err(|error| ComponentError::WrongWorld(format!("{error:#}")))?;
    Ok(Cow::Owned(module))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest function: answers `delivered` to everything. An answer is returned through memory; all zeros is
    /// the first case, and an empty list.
    pub(crate) const DELIVERED_WAT: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32) (i32.const 0))
        (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32)
            (i32.const 0)))"#;

    pub(crate) const MANIFEST: &str = "name = \"probe\"\nversion = \"1\"\nevents = [\"track\"]\n";

    #[test]
    fn the_contract_parses() {
        assert_eq!(WORLD.resolve.worlds[WORLD.id].name, "destination");
    }

    #[test]
    fn a_text_module_becomes_a_component_with_its_manifest() {
        let component = component_from_core(DELIVERED_WAT.as_bytes(), MANIFEST).unwrap();
        let decoded = wit_component::decode(&component).unwrap();
        let wit_component::DecodedWasm::Component(resolve, world) = decoded else { panic!("not a component") };
        assert_eq!(resolve.worlds[world].exports.len(), 1);
        assert!(component.windows(MANIFEST.len()).any(|window| window == MANIFEST.as_bytes()));
    }

    #[test]
    fn a_component_becomes_another_function_by_its_manifest_alone() {
        let component = component_from_core(DELIVERED_WAT.as_bytes(), MANIFEST).unwrap();
        let other = renamed(&component, "other", "7").unwrap();
        let inspected = crate::catalog::inspect(&other).unwrap();
        assert_eq!((inspected.manifest.name.as_str(), inspected.manifest.version.as_str()), ("other", "7"));
        let back = renamed(&other, "probe", "1").unwrap();
        assert_eq!(crate::catalog::inspect(&back).unwrap().manifest.events, inspected.manifest.events);
        assert_eq!(renamed(b"nothing", "a", "1"), None);
    }

    #[test]
    fn a_module_outside_the_world_is_refused_by_the_name_of_what_does_not_fit() {
        let cases = [
            ("(module", "not a WebAssembly module"),
            ("(module)", "handle-event"),
            (r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#, "wasi_snapshot_preview1"),
            ("(component)", "component already"),
        ];
        for (text, expected) in cases {
            let message = component_from_core(text.as_bytes(), MANIFEST).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
