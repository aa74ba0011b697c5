//! Before any event: how big and how deep an upload may be, counted before anything parses it in earnest.
//!
//! Guarantees: one pass over section headers, no recursion and no allocation that grows with the input, so hostile
//! bytes cannot hurt here; what passes is small and shallow enough for the validator and the compiler.
//! Whether the bytes are valid is left to the validator.

use wasmparser::{Encoding, Parser, Payload};

use crate::model::Structure;

/// Bytes of a component. JavaScript and Python components are 1 to 19 MB.
pub const MAX_BYTES: usize = 32 << 20;

/// Functions in all core modules together. A JavaScript engine has about 4,000, a Python one 13,500.
pub const MAX_FUNCTIONS: u32 = 20_000;

/// Bytes of one function's body: compile time grows faster than size. The largest of a JavaScript engine has 60 KiB, the
/// interpreter's loop in a Python one 417 KiB.
pub const MAX_BODY_BYTES: usize = 512 << 10;

/// Core modules. A component of one language has 3; one that links libraries dynamically about 20.
pub const MAX_MODULES: u32 = 64;

/// Components within components. Toolchains make one level, composition some more.
pub const MAX_NESTING: usize = 32;

/// Component and instance types that are declared inside others, in one type section. Readers of such types recurse,
/// so this bounds their stack. Toolchains make none or a few; each costs under a kilobyte of stack, so 256 are safe
/// on the smallest thread.
pub const MAX_NESTED_TYPES: usize = 256;

/// Why bytes that may well be WebAssembly are not looked at any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// More than a cap allows.
    #[error("it has {found} {what}; at most {most} are allowed")]
    TooMany {
        /// What was counted, with its unit.
        what: &'static str,
        /// How many were found, or the count at which counting stopped.
        found: usize,
        /// The cap.
        most: usize,
    },
    /// The section headers themselves do not parse.
    #[error("it is cut off or damaged at byte {offset}: {problem}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What the parser says.
        problem: String,
    },
}

/// Checks the caps over a whole component, and measures it.
pub(super) fn check(bytes: &[u8]) -> Result<Structure, StructureError> {
    most("bytes", bytes.len(), MAX_BYTES)?;
    let (mut found, mut depth) = (Structure::default(), 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload
            .map_err(|error| StructureError::Damaged { offset: error.offset(), problem: error.message().to_owned() })?;
        match payload {
            Payload::Version { encoding, .. } => {
                depth += 1;
                found.core_modules += u32::from(encoding == Encoding::Module);
                most("core modules", found.core_modules as usize, MAX_MODULES as usize)?;
                most("components within components", depth, MAX_NESTING)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::FunctionSection(section) => {
                found.functions = found.functions.saturating_add(section.count());
                most("functions", found.functions as usize, MAX_FUNCTIONS as usize)?;
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                most("bytes in the body of one function", bytes, MAX_BODY_BYTES)?;
                found.code_bytes += bytes as u64;
                found.largest_function_bytes = found.largest_function_bytes.max(bytes as u64);
            }
            Payload::DataSection(section) => found.data_bytes += section.range().len() as u64,
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                let nested = nested_types(bytes.get(range).unwrap_or_default());
                most("types declared inside types", nested, MAX_NESTED_TYPES)?;
            }
            _ => {}
        }
    }
    Ok(found)
}

fn most(what: &'static str, found: usize, most: usize) -> Result<(), StructureError> {
    if found > most { Err(StructureError::TooMany { what, found, most }) } else { Ok(()) }
}

/// How many declarations in this section may open a component type or an instance type inside another one: never too
/// few, because each begins with these two bytes; at times too many, because other things contain them as well.
fn nested_types(section: &[u8]) -> usize {
    section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(section_id: u8, section: &[u8]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        bytes.push(section_id);
        let mut length = section.len();
        while length >= 0x80 {
            bytes.push((length as u8) | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(section);
        bytes
    }

    #[test]
    fn types_nested_a_million_deep_are_refused_without_recursion() {
        let mut section = vec![1];
        section.extend([0x41, 1, 1].repeat(1_000_000));
        let error = check(&component(7, &section)).unwrap_err();
        assert!(error.to_string().contains("types declared inside types; at most 256"), "{error}");
    }

    #[test]
    fn the_deepest_types_that_pass_can_be_read_on_a_small_stack() {
        let mut section = vec![1];
        section.extend([0x41, 1, 1].repeat(MAX_NESTED_TYPES - 1));
        section.extend([0x41, 0]);
        let bytes = component(7, &section);
        assert_eq!(check(&bytes), Ok(Structure::default()));
        let read = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            let _ = wasmparser::Validator::new().validate_all(&bytes);
        });
        read.unwrap().join().unwrap();
    }

    #[test]
    fn what_passes_is_measured() {
        let module = "(core module (memory 1) (data (i32.const 0) \"abcd\") (func nop nop) (func))";
        let found = check(&wat::parse_str(format!("(component {module} {module})")).unwrap()).unwrap();
        assert_eq!((found.core_modules, found.functions), (2, 4));
        // Each body has its count of variables and its end beside the two instructions.
        assert_eq!((found.code_bytes, found.largest_function_bytes), (12, 4));
        assert!(found.data_bytes >= 8);
    }

    #[test]
    fn each_cap_is_named_with_its_value() {
        let many = |item: &str, count: usize| wat::parse_str(format!("(component {})", item.repeat(count))).unwrap();
        let functions = format!("(component (core module {}))", "(func)".repeat(20_001));
        let body = format!("(component (core module (func {})))", "nop ".repeat(600_000));
        let nested = "(component ".repeat(33) + &")".repeat(33);
        let cases = [
            (many("(core module)", 65), "65 core modules; at most 64"),
            (wat::parse_str(functions).unwrap(), "20001 functions; at most 20000"),
            (wat::parse_str(body).unwrap(), "at most 524288"),
            (wat::parse_str(nested).unwrap(), "components within components; at most 32"),
            (vec![0; MAX_BYTES + 1], "at most 33554432"),
        ];
        for (bytes, expected) in cases {
            let message = check(&bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
