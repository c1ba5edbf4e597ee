//! The worker pool: as many threads as the processor has cores, made at first use, for the life of the process.
//!
//! Only work that never waits for anything but memory and local files runs here, so a full pool always drains. A
//! caller who is on a rayon pool already stays there, which is how to have another number of workers.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();

/// Runs `work`, and whatever parallel parts it has, on the pool; blocks until it is done.
pub(crate) fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let pool = POOL.get_or_init(|| ThreadPoolBuilder::new().thread_name(|nth| format!("engine-{nth}")).build().ok());
    match pool {
        Some(pool) => pool.install(work),
        None => work(), // the system gave no threads: rayon then works where it is
    }
}
