//! Step 4, the one door between async tasks and the threads that encrypt, decrypt and hash.
//!
//! Work over more than 64 KiB goes to the pool; less is done where it stands, because the hop costs 25 us and sealing
//! 4 KiB costs 1. A caller who hangs up loses only the result, and a panic in the work is an error of that work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::error::OpError;

/// Up to this many bytes, work is done on the calling thread.
const INLINE_LEN: usize = 64 << 10;

/// Does `work`, which reads or writes about `len` bytes, without holding up async tasks.
///
/// # Errors
/// The work's own; [`OpError::Internal`] if it panicked.
pub(crate) async fn run<T: Send + 'static>(
    len: usize,
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    let caught = move || catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()));
    if len <= INLINE_LEN {
        return caught();
    }
    let (answer, answered) = oneshot::channel();
    rayon::spawn(move || {
        // Nobody listens any more when the caller hung up.
        let _ = answer.send(caught());
    });
    answered.await.unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> OpError {
    OpError::Internal("a cipher thread panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_small_or_large_work_is_an_error() {
        for len in [1, INLINE_LEN + 1] {
            let result = run(len, || -> Result<(), OpError> { panic!("planted") }).await;
            assert!(matches!(result, Err(OpError::Internal(_))));
        }
    }
}
