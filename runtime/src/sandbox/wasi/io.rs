//! `wasi:io`: streams and what can be waited for, by wasmtime's own implementation, counted.

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, IoError, StreamError, StreamResult};

use super::crossing::{Crossing, counted};
use crate::sandbox::host::Run;

impl Run {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl error::Host for Run {}

impl error::HostError for Run {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> Result<String> {
        self.called(0)?;
        // Without the host's own context around it.
        let text = self.table.get(&error)?.root_cause().to_string();
        self.gives(text.len())?;
        Ok(text)
    }

    fn drop(&mut self, error: Resource<IoError>) -> Result<()> {
        Ok(self.table.delete(error).map(drop)?)
    }
}

counted!(poll::Host, table {
    async fn poll(list: Vec<Resource<DynPollable>>) -> Result<Vec<u32>>;
});

counted!(poll::HostPollable, table {
    async fn block(pollable: Resource<DynPollable>) -> Result<()>;
    async fn ready(pollable: Resource<DynPollable>) -> Result<bool>;
    drop DynPollable;
});

impl streams::Host for Run {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(&mut self.table, error)
    }
}

counted!(streams::HostInputStream, table {
    fn read(stream: Resource<DynInputStream>, most: u64) -> StreamResult<Vec<u8>>;
    fn skip(stream: Resource<DynInputStream>, most: u64) -> StreamResult<u64>;
    fn subscribe(stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>>;
    async fn blocking_read(stream: Resource<DynInputStream>, most: u64) -> StreamResult<Vec<u8>>;
    async fn blocking_skip(stream: Resource<DynInputStream>, most: u64) -> StreamResult<u64>;
    async drop DynInputStream;
});

/// By hand, because writing has more to it than what crosses: zeros and other streams are written without crossing, and
/// what was printed goes to the log.
impl streams::HostOutputStream for Run {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        self.called(0)?;
        self.table.check_write(stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.called(bytes.len())?;
        let written = self.table.write(stream, bytes);
        self.log_printed(false);
        written
    }

    async fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.called(bytes.len())?;
        let written = self.table.blocking_write_and_flush(stream, bytes).await;
        self.log_printed(false);
        written
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, count: u64) -> StreamResult<()> {
        self.called(usize::try_from(count).unwrap_or(usize::MAX))?;
        let written = self.table.write_zeroes(stream, count);
        self.log_printed(false);
        written
    }

    async fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        count: u64,
    ) -> StreamResult<()> {
        self.called(usize::try_from(count).unwrap_or(usize::MAX))?;
        let written = self.table.blocking_write_zeroes_and_flush(stream, count).await;
        self.log_printed(false);
        written
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.called(0)?;
        self.table.flush(stream)
    }

    async fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.called(0)?;
        self.table.blocking_flush(stream).await
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        most: u64,
    ) -> StreamResult<u64> {
        self.called(0)?;
        let moved = self.table.splice(to, from, most)?;
        self.budget.guest_gives(usize::try_from(moved).unwrap_or(usize::MAX))?;
        self.log_printed(false);
        Ok(moved)
    }

    async fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        most: u64,
    ) -> StreamResult<u64> {
        self.called(0)?;
        let moved = self.table.blocking_splice(to, from, most).await?;
        self.budget.guest_gives(usize::try_from(moved).unwrap_or(usize::MAX))?;
        self.log_printed(false);
        Ok(moved)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        self.called(0)?;
        streams::HostOutputStream::subscribe(&mut self.table, stream)
    }

    async fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        streams::HostOutputStream::drop(&mut self.table, stream).await
    }
}
