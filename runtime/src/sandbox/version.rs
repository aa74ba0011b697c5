//! *Version load*: a component's bytes become something that can be run.
//!
//! Guarantees: one load per version at a time, however many ask; a version in use stays, whatever is loaded
//! meanwhile; compiled code comes from this program's compiler, here or in a process of its own, or from an authenticated file.
//! Leaves to others: whether the component may be run at all (`catalog`), where its bytes are (`store`).

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use moka::future::Cache;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmtime::component::{Component, ComponentExportIndex, HasSelf, Instance, Linker};
use wasmtime::{Engine, Store};

use crate::model::Digest;

use super::bindings::{Destination, DestinationPre};
use super::code_cache::{CodeCache, Found};
use super::compile::compile;
use super::host::Run;
use super::{CompileFailure, Compiler, choices, wasi};

/// Why a version cannot be loaded.
#[derive(Clone, Debug, Error)]
pub enum LoadError {
    /// Its bytes are not to be had: the host's fault.
    #[error("component `{digest}` could not be read: {reason}")]
    Unreadable {
        /// Which component.
        digest: Digest,
        /// Why not.
        reason: String,
    },
    /// The bytes are not those that were asked for: the host's fault.
    #[error("component `{digest}` was asked for, but the bytes are those of `{found}`: restore the stored component")]
    WrongBytes {
        /// What was asked for.
        digest: Digest,
        /// What came.
        found: Digest,
    },
    /// The component cannot be run: the partner's fault.
    #[error("component `{digest}` cannot be run: {reason}")]
    Unusable {
        /// Which component.
        digest: Digest,
        /// Why not.
        reason: String,
    },
}

/// A component, compiled and linked; every invocation makes its own instance of it.
pub struct LoadedVersion {
    digest: Digest,
    linked: DestinationPre<Run>,
    /// The function that is asked for choices, where there is one.
    choices: Option<ComponentExportIndex>,
}

impl LoadedVersion {
    /// Which component it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn component(&self) -> &Component {
        self.linked.instance_pre().component()
    }

    pub(super) fn choices(&self) -> Option<ComponentExportIndex> {
        self.choices
    }

    /// An instance as the engine has it, for what not every component exports.
    pub(super) async fn instance(&self, store: &mut Store<Run>) -> wasmtime::Result<Instance> {
        self.linked.instance_pre().instantiate_async(store).await
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Run>) -> wasmtime::Result<Destination> {
        self.linked.instantiate_async(store).await
    }
}

/// The versions that are ready to run.
pub(super) struct Versions {
    loader: Arc<Loader>,
    ready: Cache<Digest, Arc<LoadedVersion>>,
}

struct Loader {
    engine: Engine,
    linker: Linker<Run>,
    disk: Option<CodeCache>,
    /// With it nothing is compiled in this process.
    compiler: Option<Compiler>,
    /// What [`compile`] gave last, if that is remembered.
    known: Option<Mutex<Vec<u8>>>,
}

/// Whether what was compiled last is remembered for the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remembers {
    Nothing,
    TheLast,
}

impl Versions {
    pub(super) fn new(
        engine: Engine,
        disk: Option<CodeCache>,
        compiler: Option<Compiler>,
        most: u64,
        remembers: Remembers,
    ) -> wasmtime::Result<Self> {
        let linker = linker(&engine)?;
        let known = (remembers == Remembers::TheLast).then(Mutex::default);
        let loader = Arc::new(Loader { engine, linker, disk, compiler, known });
        Ok(Self { loader, ready: Cache::builder().max_capacity(most).build() })
    }

    /// The version with this digest; `component` is asked for the bytes only if they are needed.
    pub(super) async fn load<E: Display>(
        &self,
        digest: Digest,
        component: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<Arc<LoadedVersion>, LoadError> {
        let load = async {
            if let Some(loaded) = self.blocking(digest, move |loader| Ok(loader.kept(digest))).await? {
                return Ok(Arc::new(loaded));
            }
            let unreadable = |reason: E| LoadError::Unreadable { digest, reason: reason.to_string() };
            let bytes = component.await.map_err(unreadable)?;
            match self.loader.compiler.as_ref().filter(|_| self.loader.disk.is_some()) {
                Some(compiler) => self.compile_elsewhere(digest, bytes, compiler).await.map(Arc::new),
                None => self.blocking(digest, move |loader| loader.compile(digest, &bytes)).await.map(Arc::new),
            }
        };
        self.ready.try_get_with(digest, load).await.map_err(|error| LoadError::clone(&error))
    }

    async fn compile_elsewhere(
        &self,
        digest: Digest,
        bytes: Bytes,
        compiler: &Compiler,
    ) -> Result<LoadedVersion, LoadError> {
        let unreadable = |reason: String| LoadError::Unreadable { digest, reason };
        let checked = bytes.clone();
        self.blocking(digest, move |_| check(digest, &checked)).await?;
        let code = compiler(bytes).await.map_err(|failure| match failure {
            CompileFailure::Unusable(reason) => LoadError::Unusable { digest, reason },
            CompileFailure::Host(reason) => unreadable(reason),
        })?;
        self.keep(digest, code).await.map_err(|error| unreadable(format!("its code cannot be kept: {error}")))?;
        let loaded = self.blocking(digest, move |loader| Ok(loader.kept(digest))).await?;
        loaded.ok_or_else(|| unreadable("its code was compiled and kept, and does not load".to_owned()))
    }

    /// Keeps compiled code, authenticated, for later loads.
    pub(super) async fn keep(&self, digest: Digest, code: Bytes) -> io::Result<()> {
        let loader = Arc::clone(&self.loader);
        let write = move || loader.disk.as_ref().map_or(Ok(()), |disk| disk.write(digest, &code));
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// What was kept, if it is still what was written; else nothing.
    pub(super) async fn kept(&self, digest: Digest) -> Vec<u8> {
        let loader = Arc::clone(&self.loader);
        let read = tokio::task::spawn_blocking(move || loader.disk.as_ref().map(|disk| disk.read(digest))).await;
        match read {
            Ok(Some(Ok(Found::Code(code)))) => code,
            Ok(Some(Ok(Found::Nothing | Found::Unusable) | Err(_)) | None) | Err(_) => Vec::new(),
        }
    }

    /// Compiling and reading files would hold up the threads that serve.
    async fn blocking<T: Send + 'static>(
        &self,
        digest: Digest,
        work: impl FnOnce(&Loader) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let loader = Arc::clone(&self.loader);
        let done = tokio::task::spawn_blocking(move || work(&loader)).await;
        done.unwrap_or_else(|error| Err(LoadError::Unreadable { digest, reason: error.to_string() }))
    }
}

/// Everything that is lent. What a component does not import costs it nothing.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Run>> {
    let mut linker = Linker::new(engine);
    Destination::add_to_linker::<_, HasSelf<_>>(&mut linker, |run| run)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}

/// Whether these are the bytes that were asked for.
fn check(digest: Digest, bytes: &[u8]) -> Result<(), LoadError> {
    let found = Digest(Sha256::digest(bytes).into());
    if found == digest { Ok(()) } else { Err(LoadError::WrongBytes { digest, found }) }
}

impl Loader {
    fn kept(&self, digest: Digest) -> Option<LoadedVersion> {
        let code = match self.disk.as_ref()?.read(digest) {
            Ok(Found::Code(code)) => code,
            Ok(Found::Nothing) => return None,
            Ok(Found::Unusable) => {
                tracing::warn!(%digest, "compiled code on disk is not this host's, or is damaged: compiling again");
                return None;
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "compiled code on disk cannot be read: compiling again");
                return None;
            }
        };
        // SAFETY: `deserialize` runs what it is given. `CodeCache::read` has authenticated these bytes, which are
        // in memory and can no longer change, with a key that only this host has: `Loader::compile` or `Versions::keep`
        // wrote them as the result of `Component::serialize` for this component, by an engine of the same version and
        // settings, in this process or in one that it started for that, of this same program.
        let component = unsafe { Component::deserialize(&self.engine, code) };
        match component.map_err(|error| error.to_string()).and_then(|component| self.link(digest, &component)) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                tracing::warn!(%digest, error, "compiled code on disk does not load: compiling again");
                None
            }
        }
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<LoadedVersion, LoadError> {
        check(digest, bytes)?;
        let unusable = |reason: String| LoadError::Unusable { digest, reason };
        let component = match &self.known {
            Some(known) => self.compile_beside(known, bytes).map_err(unusable)?,
            None => Component::new(&self.engine, bytes).map_err(|error| unusable(format!("{error:#}")))?,
        };
        let loaded = self.link(digest, &component).map_err(unusable)?;
        if let Some(disk) = &self.disk {
            let kept = component.serialize().map_err(|error| error.to_string());
            let kept = kept.and_then(|code| disk.write(digest, &code).map_err(|error| error.to_string()));
            if let Err(error) = kept {
                tracing::warn!(%digest, error, "compiled code could not be kept: the next start compiles it again");
            }
        }
        Ok(loaded)
    }

    /// The same, where the one before may have had the same code.
    fn compile_beside(&self, known: &Mutex<Vec<u8>>, bytes: &[u8]) -> Result<Component, String> {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = compile(bytes, Some(&known)).map_err(|error| error.to_string())?;
        if let Some(better) = compiled.known {
            *known = better;
        }
        // SAFETY: `compile` gave this a moment ago, in this process and by an engine of the same settings, from bytes that it
        // compiled itself and from `known`, which it gave before and nobody else had.
        unsafe { Component::deserialize(&self.engine, compiled.code) }.map_err(|error| format!("{error:#}"))
    }

    fn link(&self, digest: Digest, component: &Component) -> Result<LoadedVersion, String> {
        let linked = self.linker.instantiate_pre(component).and_then(DestinationPre::new);
        let interface = component.get_export_index(None, choices::INTERFACE);
        let choices = interface.and_then(|interface| component.get_export_index(Some(&interface), choices::FUNCTION));
        linked.map(|linked| LoadedVersion { digest, linked, choices }).map_err(|error| format!("{error:#}"))
    }
}
