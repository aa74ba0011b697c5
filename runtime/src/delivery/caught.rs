//! A panic on the way of one attempt is the end of that attempt, and of nothing else.
//!
//! Without this its place would stay taken, its deliveries claimed, and a host that ends would wait for it for ever.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What a future comes to, or what it said when it panicked.
pub(super) async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    // What a panic leaves behind is not looked at again: the future is dropped, and locks that it held say so themselves.
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(said(&*panic))),
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_before_or_after_waiting_is_an_answer_and_everything_else_comes_through() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let after_waiting = |text: &'static str| async move {
            tokio::task::yield_now().await;
            assert!(text.is_empty(), "{text}");
        };
        assert_eq!(caught(after_waiting("")).await, Ok(()));
        assert_eq!(caught(after_waiting("no such place")).await, Err("no such place".to_owned()));
        let odd = async || -> () { std::panic::panic_any(7_u8) };
        assert_eq!(caught(odd()).await, Err("it did not say why".to_owned()));
    }
}
