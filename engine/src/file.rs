//! Whole files on the worker pool, with progress and cancel.
//!
//! The source is a memory map, from which each batch is copied once into a private buffer of its worker; sealed or
//! opened there, it is written to its place in the target. So memory does not grow with the file, and what another
//! process does to the source meanwhile is an error at worst. The target appears whole and durable, or not at all.

mod fault;
mod map;
mod open;
mod seal;
mod target;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use open::SealedSource;
pub use seal::{SealedFile, seal_file};
pub use target::{Existing, Target};
use zeroize::{Zeroize, Zeroizing};

/// How a caller follows a file, and stops it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called after each batch with the plaintext bytes done and those there are, from any worker, in any order.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Looked at before each batch; once true, the work ends with `Cancelled`.
    pub cancel: &'a AtomicBool,
}

impl Watch<'_> {
    /// Nobody watches, nobody stops it.
    pub fn none() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { progress: &|_, _| {}, cancel: &NEVER }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// What the workers of one file have done together.
struct Progress<'a> {
    watch: Watch<'a>,
    plain_len: u64,
    done: AtomicU64,
}

impl<'a> Progress<'a> {
    fn new(watch: Watch<'a>, plain_len: u64) -> Self {
        Self { watch, plain_len, done: AtomicU64::new(0) }
    }

    fn add(&self, plain_len: usize) {
        let done = self.done.fetch_add(plain_len as u64, Ordering::Relaxed) + plain_len as u64;
        (self.watch.progress)(done, self.plain_len);
    }
}

/// One worker's memory to open batches in, one after another; plaintext is wiped in the end.
#[derive(Default)]
struct Buffers {
    plain: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

impl Buffers {
    /// Capacity for as much plaintext. A vector that grows leaves its old memory behind: that is wiped first.
    fn reserve_plain(&mut self, plain_len: usize) {
        if self.plain.capacity() < plain_len {
            self.plain.zeroize();
            self.plain.reserve_exact(plain_len);
        }
    }
}
