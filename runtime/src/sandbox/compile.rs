//! Before any event: a component becomes machine code, in a process that is made for that alone.
//!
//! Guarantees: the engine is the one that invocations run under, so the code loads there and nowhere else; what was
//! compiled once of a language's engine is not compiled again for the next function written in it.
//! Leaves to others: the process and its limits (`catalog`), who may believe the code (`code_cache`).

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::DestinationPre;
use super::engine;
use super::shape::{Shaped, shaped};
use super::version::linker;

/// Bytes of a known function that are taken and given: the code of a language's engine, and what its memory begins with, are
/// a fifth of it.
pub const MAX_KNOWN: usize = 64 << 20;

/// What compiling gives.
pub struct Compiled {
    /// What an engine of the same configuration deserialises.
    pub code: Vec<u8>,
    /// What to give for the next component, if it is better than what was given for this one.
    pub known: Option<Vec<u8>>,
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component cannot be run: the partner's fault.
    #[error("{0}")]
    Unusable(String),
    /// The process may have no more memory.
    #[error("no memory is left to compile it")]
    Memory,
}

/// Compiles a component and checks that the host can link it. `known` is what an earlier call gave, or nothing; if that was
/// for a component that differs only in what its memory begins with, nothing is compiled. What is wrong in it gives wrong
/// code, so it must come from whom one believes.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(component: &[u8], known: Option<&[u8]>) -> Result<Compiled, CompileError> {
    let shaped = known.and_then(|_| shaped(component));
    let Some(shaped) = shaped else { return Ok(Compiled { code: whole(component)?, known: None }) };
    let rest = rest(&shaped);
    if let Some(known) = known.and_then(Known::read)
        && known.rest == rest
        && known.length == shaped.piece.len()
    {
        let mut code = known.code.to_vec();
        code[known.at..][..known.length].copy_from_slice(&shaped.bytes[shaped.piece]);
        return Ok(Compiled { code, known: None });
    }
    let code = whole(&shaped.bytes)?;
    let piece = &shaped.bytes[shaped.piece];
    let known = only_place(&code, piece).map(|at| Known { rest, at, length: piece.len(), code: &code }.written());
    let known = known.filter(|known| known.len() <= MAX_KNOWN);
    Ok(Compiled { code, known })
}

fn whole(component: &[u8]) -> Result<Vec<u8>, CompileError> {
    let engine = Engine::new(&engine::config(1)).map_err(why)?;
    let component = Component::new(&engine, component).map_err(why)?;
    let linker = linker(&engine).map_err(why)?;
    linker.instantiate_pre(&component).and_then(DestinationPre::new).map_err(why)?;
    component.serialize().map_err(why)
}

fn why(error: wasmtime::Error) -> CompileError {
    let no_memory = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<wasmtime::OutOfMemory>()
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::OutOfMemory)
            || cause.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOMEM)
    };
    if error.chain().any(no_memory) { CompileError::Memory } else { CompileError::Unusable(format!("{error:#}")) }
}

/// What tells apart everything but the piece.
fn rest(shaped: &Shaped) -> [u8; 32] {
    let Shaped { bytes, piece } = shaped;
    let hash = Sha256::new().chain_update(piece.start.to_le_bytes()).chain_update(&bytes[..piece.start]);
    hash.chain_update(&bytes[piece.end..]).finalize().into()
}

/// Where the piece is in the code, if it is there once: the engine keeps it as it is, to map it into every instance.
fn only_place(code: &[u8], piece: &[u8]) -> Option<usize> {
    let mut places = memchr::memmem::find_iter(code, piece);
    places.next().filter(|_| places.next().is_none())
}

/// A compiled component, in which the piece can be exchanged.
struct Known<'a> {
    /// What tells apart everything but the piece.
    rest: [u8; 32],
    /// Where the piece is in the code.
    at: usize,
    /// How long it is.
    length: usize,
    code: &'a [u8],
}

impl<'a> Known<'a> {
    /// What [`Known::written`] wrote; nothing if it is cut off.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (rest, bytes) = bytes.split_first_chunk()?;
        let (at, bytes) = bytes.split_first_chunk()?;
        let (length, code) = bytes.split_first_chunk()?;
        let [at, length] = [at, length].map(|number| usize::try_from(u64::from_le_bytes(*number)).ok());
        let known = Self { rest: *rest, at: at?, length: length?, code };
        (known.at.checked_add(known.length)? <= code.len()).then_some(known)
    }

    fn written(&self) -> Vec<u8> {
        let numbers = [self.at as u64, self.length as u64].map(u64::to_le_bytes);
        [&self.rest, numbers.as_flattened(), self.code].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn code_from_the_small_engine_fits_the_large_one() {
        let hash = |config: &wasmtime::Config| {
            let mut hasher = DefaultHasher::new();
            Engine::new(config).unwrap().precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&engine::config(1)), hash(&engine::config(256)));
    }

    /// A function whose memory begins with these texts.
    fn function(texts: &[(u32, &str)], code: &str) -> Vec<u8> {
        let data: String = texts.iter().map(|(at, text)| format!("(data (i32.const {at}) \"{text}\")")).collect();
        let core = include_str!("../../../tests/guests/delivered.wat")
            .replace("(memory (export \"memory\") 2)", &format!("(memory (export \"memory\") 8) {data} {code}"));
        crate::catalog::component_from_core(core.as_bytes(), "name = \"a\"\nversion = \"1\"\nevents = [\"track\"]")
            .unwrap()
    }

    #[test]
    fn a_function_that_differs_in_its_memory_alone_gets_the_code_that_compiling_it_gives() {
        let first = function(&[(70_000, "one"), (90_000, "two")], "");
        let known = compile(&first, Some(&[])).unwrap().known.expect("the piece is in the code once");
        let others = [
            function(&[(70_000, "another"), (90_050, "three")], ""),
            function(&[(65_536, "four"), (80_000, "five"), (86_020, "six")], ""),
        ];
        for other in others {
            let exchanged = compile(&other, Some(&known)).unwrap();
            assert!(exchanged.known.is_none(), "nothing was compiled");
            assert!(exchanged.code == compile(&other, Some(&[])).unwrap().code);
        }
    }

    #[test]
    fn a_function_in_this_shape_begins_with_the_memory_that_it_began_with() {
        // What comes later is written over what came before, zeros as well.
        let texts = [(70_000, "one"), (70_001, "\\00"), (40, "\\00\\00"), (200_000, "\\00\\00")];
        let shaped = shaped(&function(&texts, "")).unwrap();
        let piece = &shaped.bytes[shaped.piece];
        assert_eq!(
            (piece.len(), &piece[16..24], &piece[70_000..70_003]),
            (73_728, &b" \0\0\0\x02\0\0\0"[..], &b"o\0e"[..])
        );
    }

    #[test]
    fn other_code_another_size_and_what_is_cut_off_are_compiled() {
        let known = compile(&function(&[(70_000, "one")], ""), Some(&[])).unwrap().known.unwrap();
        let other = [
            function(&[(70_000, "one")], "(func (export \"more\"))"),
            function(&[(70_000, "one"), (300_000, "two")], ""),
        ];
        for other in other {
            let compiled = compile(&other, Some(&known)).unwrap();
            assert!(compiled.known.is_some() && compiled.code == compile(&other, Some(&[])).unwrap().code);
        }
        let same = function(&[(70_000, "one")], "");
        for length in [0, 31, 32, 47, 48, known.len() / 2] {
            assert!(compile(&same, Some(&known[..length])).unwrap().known.is_some(), "{length}");
        }
    }

    #[test]
    fn without_what_is_known_a_component_is_compiled_as_it_is() {
        let compiled = compile(&function(&[(70_000, "one")], ""), None).unwrap();
        assert!(compiled.known.is_none());
    }
}
