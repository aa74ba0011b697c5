//! What crosses between a guest and WASI, in bytes, and the calls in which it does.
//!
//! Guarantees: text and bytes count by their length, each entry of a list of other things by a word; numbers and handles
//! by themselves are free, as they are in the host's own interfaces, because calls are counted too.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::{HeaderError, HttpError};

use crate::model::Limit;
use crate::sandbox::HostFault;
use crate::sandbox::budget::LimitHit;
use crate::sandbox::host::{Run, WORD};

/// A value that crosses.
pub(super) trait Crossing {
    /// How many bytes it counts.
    fn bytes(&self) -> usize;

    /// The same for several of them.
    fn all(list: &[Self]) -> usize
    where
        Self: Sized,
    {
        list.iter().map(|one| one.bytes() + WORD).sum()
    }
}

impl Crossing for u8 {
    fn bytes(&self) -> usize {
        1
    }

    fn all(list: &[Self]) -> usize {
        list.len()
    }
}

impl Crossing for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<T: Crossing> Crossing for Vec<T> {
    fn bytes(&self) -> usize {
        T::all(self)
    }
}

impl<T: Crossing> Crossing for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

/// An error is a code, or a text that the host made.
impl<T: Crossing, E> Crossing for Result<T, E> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

impl<A: Crossing, B: Crossing> Crossing for (A, B) {
    fn bytes(&self) -> usize {
        self.0.bytes() + self.1.bytes()
    }
}

impl Crossing for Method {
    fn bytes(&self) -> usize {
        if let Self::Other(text) = self { text.len() } else { 0 }
    }
}

impl Crossing for Scheme {
    fn bytes(&self) -> usize {
        if let Self::Other(text) = self { text.len() } else { 0 }
    }
}

macro_rules! free {
    ($($type:ty)*) => {$(
        impl Crossing for $type {
            fn bytes(&self) -> usize {
                0
            }
        }
    )*};
}

free!(() bool u16 u32 u64);

impl<T: 'static> Crossing for Resource<T> {
    fn bytes(&self) -> usize {
        0
    }
}

impl From<LimitHit> for StreamError {
    fn from(hit: LimitHit) -> Self {
        Self::Trap(hit.into())
    }
}

impl From<LimitHit> for HttpError {
    fn from(hit: LimitHit) -> Self {
        Self::trap(hit)
    }
}

impl From<LimitHit> for HeaderError {
    fn from(hit: LimitHit) -> Self {
        Self::trap(hit)
    }
}

impl Run {
    /// A guest calls with so many bytes.
    pub(super) fn called(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.budget.host_call(bytes)?;
        self.one_more_handle()
    }

    /// The host keeps these bytes for the guest until it ends.
    pub(super) fn keeps(&mut self, bytes: usize) -> Result<()> {
        match self.memory.keeps(bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LimitHit::new(Limit::MemoryBytes, self.budget.limits()).into()),
            // Others have it: that is not the guest's fault.
            Err(empty) => Err(HostFault(empty.to_string()).into()),
        }
    }

    /// The guest is given so many bytes.
    pub(super) fn gives(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.budget.host_gives(bytes)
    }
}

/// Lends a library's implementation of some of an interface, found through `$view`, with everything counted, and beside it what
/// counts in a way of its own.
macro_rules! counted {
    ($trait:path, $view:ident {
        $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*
        $(async fn $async_name:ident($($async_arg:ident: $async_type:ty),*) -> $async_out:ty;)*
        $(drop $resource:ty;)?
        $(async drop $async_resource:ty;)?
        $(own { $($own:tt)* })?
    }) => {
        impl $trait for Run {
            $($($own)*)?
            $(fn $name(&mut self $(, $arg: $type)*) -> $out {
                self.called(0 $(+ $arg.bytes())*)?;
                let given = <_ as $trait>::$name(&mut self.$view() $(, $arg)*)?;
                self.gives(given.bytes())?;
                Ok(given)
            })*
            $(async fn $async_name(&mut self $(, $async_arg: $async_type)*) -> $async_out {
                self.called(0 $(+ $async_arg.bytes())*)?;
                let given = <_ as $trait>::$async_name(&mut self.$view() $(, $async_arg)*).await?;
                self.gives(given.bytes())?;
                Ok(given)
            })*
            $(fn drop(&mut self, handle: Resource<$resource>) -> Result<()> {
                <_ as $trait>::drop(&mut self.$view(), handle)
            })?
            $(async fn drop(&mut self, handle: Resource<$async_resource>) -> Result<()> {
                <_ as $trait>::drop(&mut self.$view(), handle).await
            })?
        }
    };
}

pub(super) use counted;
