//! `wasi:random`: the invocation's own randomness, which may be repeatable. What may be insecure is not.

use wasmtime::Result;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::sandbox::host::Run;

impl Run {
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.called(0)?;
        // Before they are made: the budget bounds the memory, too.
        self.gives(count)?;
        let mut bytes = vec![0; count];
        self.randomise(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.randomise(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl random::Host for Run {
    fn get_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.bytes(count)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.called(0)?;
        self.number()
    }
}

impl insecure::Host for Run {
    fn get_insecure_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.called(0)?;
        self.number()
    }
}

impl insecure_seed::Host for Run {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        self.called(0)?;
        Ok((self.number()?, self.number()?))
    }
}
