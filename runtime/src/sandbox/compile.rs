//! Before any event: a component becomes machine code, in a process that is made for that alone.
//!
//! Guarantees: the engine is the one that invocations run under, so the code loads there and nowhere else; what was
//! compiled once of a language's engine is not compiled again for the next function written in it.
//! Leaves to others: the process and its limits (`catalog`), who may believe the code (`code_cache`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::Component;
use wasmtime::{CacheStore, Engine};

use super::bindings::DestinationPre;
use super::engine;
use super::version::linker;

/// Bytes of known parts that are taken and given: the code of a language's engine is a tenth of it.
pub const MAX_PARTS: usize = 64 << 20;

/// What compiling gives.
pub struct Compiled {
    /// What an engine of the same configuration deserialises.
    pub code: Vec<u8>,
    /// The parts of this and of earlier components, if there are others than before.
    pub parts: Option<Vec<u8>>,
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

/// Compiles a component and checks that the host can link it. `parts` is what an earlier call gave, or nothing; wrong
/// parts give wrong code, so they must come from whom one believes.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(component: &[u8], parts: Option<&[u8]>) -> Result<Compiled, CompileError> {
    let known = parts.map(|parts| Arc::new(Parts::read(parts)));
    let mut config = engine::config(1);
    if let Some(known) = &known {
        config.enable_incremental_compilation(Arc::clone(known) as Arc<dyn CacheStore>).map_err(why)?;
    }
    let engine = Engine::new(&config).map_err(why)?;
    let component = Component::new(&engine, component).map_err(why)?;
    let linker = linker(&engine).map_err(why)?;
    linker.instantiate_pre(&component).and_then(DestinationPre::new).map_err(why)?;
    let code = component.serialize().map_err(why)?;
    Ok(Compiled { code, parts: known.and_then(|known| known.written()) })
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

/// Compiled functions that are remembered at a time; the largest component has 20,000. Beyond, all but those that came with
/// the parts are forgotten.
const MAX_REMEMBERED: usize = 50_000;

/// Compiled functions by what they were compiled from.
#[derive(Debug, Default)]
pub(super) struct Parts {
    kept: HashMap<Vec<u8>, Vec<u8>>,
    new: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl Parts {
    /// Reads `length key length value` until something does not fit: what is missing is compiled again.
    fn read(mut bytes: &[u8]) -> Self {
        let mut kept = HashMap::new();
        let mut take = || {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            Some(piece.to_vec())
        };
        while let (Some(key), Some(value)) = (take(), take()) {
            kept.insert(key, value);
        }
        Self { kept, new: Mutex::default() }
    }

    /// All of them if there are new ones; only the new ones if both together are too large.
    fn written(&self) -> Option<Vec<u8>> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.is_empty() {
            return None;
        }
        let size =
            |parts: &HashMap<Vec<u8>, Vec<u8>>| parts.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
        let (old_size, new_size): (usize, usize) = (size(&self.kept), size(&new));
        let old = self.kept.iter().filter(|_| old_size + new_size <= MAX_PARTS);
        let mut bytes = Vec::new();
        for piece in old.chain(new.iter()).flat_map(|(key, value)| [key, value]) {
            bytes.extend(u32::try_from(piece.len()).ok()?.to_le_bytes());
            bytes.extend(piece);
        }
        (bytes.len() <= MAX_PARTS).then_some(bytes)
    }
}

impl CacheStore for Parts {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        if let Some(value) = self.kept.get(key) {
            return Some(Cow::Borrowed(&value[..]));
        }
        self.new.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(|value| Cow::Owned(value.clone()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.len() >= MAX_REMEMBERED {
            new.clear();
        }
        new.insert(key.to_vec(), value);
        true
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
        let mut remembering = engine::config(1);
        remembering.enable_incremental_compilation(Arc::new(Parts::default())).unwrap();
        assert_eq!(hash(&engine::config(1)), hash(&engine::config(256)));
        assert_eq!(hash(&remembering), hash(&engine::config(256)));
    }

    #[test]
    fn parts_come_back_and_broken_ones_are_no_parts() {
        let parts = Parts::read(&[]);
        assert!(parts.written().is_none());
        parts.insert(b"key", b"value".to_vec());
        assert_eq!(parts.get(b"key").as_deref(), Some(&b"value"[..]), "at once");
        let bytes = parts.written().unwrap();
        assert_eq!(Parts::read(&bytes).get(b"key").as_deref(), Some(&b"value"[..]));
        assert!(Parts::read(&bytes).written().is_none(), "nothing new");
        for length in 0..bytes.len() {
            assert!(Parts::read(&bytes[..length]).get(b"key").is_none());
        }
    }
}
