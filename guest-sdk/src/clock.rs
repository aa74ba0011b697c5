//! Time, as the host tells it.

use std::time::Duration;

use crate::bindings::tidegate::destination::clock;

/// The time since 1970 UTC.
pub fn now() -> Duration {
    Duration::from_millis(clock::now())
}

/// The time since an arbitrary moment before this call; never goes back.
pub fn monotonic() -> Duration {
    Duration::from_nanos(clock::monotonic())
}

/// Pauses. The call's deadline goes on, so prefer [`Error::Retry`](crate::Error::Retry) to a long pause.
pub fn sleep(pause: Duration) {
    clock::sleep(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
}
