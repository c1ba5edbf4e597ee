//! Memory for keys: locked into RAM, left out of core dumps, wiped on drop.
//!
//! All secrets of the process share one arena of 64-byte slots, because an ordinary user may lock only a few MiB and
//! a page for each key would use that up after some 2,000 keys. A secret is born in its slot and never moves.
//! What must stay true: a slot belongs to one `Secret` or to the free list, never to both; a free slot is all zero.
#![allow(unsafe_code)] // The one reason: memory from mmap, which safe Rust has no word for.

use std::{
    alloc::{Layout, handle_alloc_error},
    ptr::{self, NonNull},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous};
use zeroize::Zeroize;

/// `N` secret bytes, at most 64. No Debug, Clone or `==`: it cannot be shown, copied or compared by accident.
pub struct Secret<const N: usize>(Slot);

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes in its final, locked place, so that no copy stays behind on the stack.
    /// `fill` finds zeros; when it fails, whatever it wrote is wiped.
    ///
    /// # Errors
    /// Those of `fill`. Without memory the process aborts, as for any other allocation.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        const { assert!(N <= SLOT_LEN, "a secret has at most 64 bytes") };
        let secret = Self(arena().take());
        // SAFETY: the slot is ours alone, lives as long as the process, and is at least N bytes long (asserted above).
        let bytes = unsafe { secret.0.0.cast::<[u8; N]>().as_mut() };
        fill(bytes)?;
        Ok(secret)
    }

    /// The bytes. Search for `expose` to find every reader of a secret.
    pub fn expose(&self) -> &[u8; N] {
        // SAFETY: as in `fill_with`; `&self` rules out a writer, since only `fill_with` and `drop` write.
        unsafe { self.0.0.cast::<[u8; N]>().as_ref() }
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        // SAFETY: the slot is ours alone until `give_back`; every byte of it was initialised by mmap.
        unsafe { self.0.0.as_mut() }.zeroize();
        arena().give_back(Slot(self.0.0));
    }
}

/// Whether the memory of secrets is kept out of swap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemoryLock {
    /// All of it is locked (also while there is none yet).
    Held,
    /// The system refused, in general by RLIMIT_MEMLOCK: keys may reach the swap device. Worth one warning to the
    /// operator: raise the limit, or encrypt or disable swap.
    Refused,
}

/// The state of the arena, for one warning at start or whenever a monitor asks.
pub fn memory_lock() -> MemoryLock {
    if arena().lock_refused { MemoryLock::Refused } else { MemoryLock::Held }
}

const SLOT_LEN: usize = 64;
/// Small enough for a container that may lock only 64 KiB, large enough that 8 MiB are 128 system calls.
const CHUNK_LEN: usize = 64 * 1024;

static ARENA: Mutex<Arena> = Mutex::new(Arena { free: Vec::new(), lock_refused: false });

struct Slot(NonNull<[u8; SLOT_LEN]>);

// SAFETY: a slot is plain memory with one owner; nothing about it is tied to a thread.
unsafe impl Send for Slot {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Slot {}

struct Arena {
    free: Vec<Slot>,
    lock_refused: bool,
}

fn arena() -> MutexGuard<'static, Arena> {
    // A panic while the lock was held leaves at worst a slot that is never used again.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    fn take(&mut self) -> Slot {
        loop {
            match self.free.pop() {
                Some(slot) => return slot,
                None => self.grow(),
            }
        }
    }

    fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// One more chunk, which stays mapped for the life of the process.
    fn grow(&mut self) {
        // SAFETY: a new anonymous mapping at a place the kernel picks touches nothing that exists.
        let mapped = unsafe {
            mmap_anonymous(ptr::null_mut(), CHUNK_LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let Some(start) = mapped.ok().and_then(NonNull::new) else {
            handle_alloc_error(Layout::new::<[u8; CHUNK_LEN]>());
        };
        // SAFETY: exactly the mapping just made. Older kernels that know no such advice change nothing.
        let _ = unsafe { madvise(start.as_ptr(), CHUNK_LEN, Advice::LinuxDontDump) };
        // SAFETY: exactly the mapping just made.
        let locked = unsafe { mlock(start.as_ptr(), CHUNK_LEN) };
        self.lock_refused |= locked.is_err();
        let first = start.cast::<[u8; SLOT_LEN]>();
        self.free.extend((0..CHUNK_LEN / SLOT_LEN).map(|slot| {
            // SAFETY: `slot` counts whole slots inside the mapping.
            Slot(unsafe { first.add(slot) })
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret<32> {
        Secret::fill_with(|bytes| {
            bytes.fill(byte);
            Ok::<_, ()>(())
        })
        .unwrap()
    }

    #[test]
    fn secrets_alive_at_once_do_not_share_bytes() {
        let secrets: Vec<_> = (0..5000).map(|n| secret(n as u8)).collect();
        assert!(secrets.iter().enumerate().all(|(n, secret)| *secret.expose() == [n as u8; 32]));
    }

    #[test]
    fn every_slot_is_handed_out_wiped() {
        for _ in 0..100 {
            let dropped: Vec<_> = (0..50).map(|_| secret(0xaa)).collect();
            drop(dropped);
            for _ in 0..50 {
                let _ = Secret::<64>::fill_with(|bytes| {
                    assert_eq!(*bytes, [0; 64]);
                    Ok::<_, ()>(())
                });
            }
        }
    }

    #[test]
    fn a_fill_that_fails_leaves_nothing_behind() {
        let mut place = 0;
        let failed = Secret::<32>::fill_with(|bytes| {
            place = bytes.as_ptr() as usize;
            bytes.fill(0xbb);
            Err("no")
        });
        assert!(failed.is_err());
        let seen: Vec<_> = (0..4000).map(|_| secret(1)).collect();
        assert!(seen.iter().any(|secret| secret.expose().as_ptr() as usize == place), "the slot came back");
    }

    #[test]
    fn secrets_are_left_out_of_core_dumps_and_out_of_swap() {
        let secret = secret(7);
        let flags = mapping_flags(secret.expose().as_ptr() as usize);
        assert!(flags.contains("dd"), "left out of core dumps: {flags}");
        assert!(flags.contains("lo") || memory_lock() == MemoryLock::Refused, "locked, or said so: {flags}");
    }

    /// The VmFlags line that /proc shows for the mapping around `address`.
    fn mapping_flags(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((start, end)) = range
                && let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            {
                inside = (start..end).contains(&address);
            }
            if inside && line.starts_with("VmFlags") {
                return line.to_owned();
            }
        }
        panic!("no mapping around {address:x}");
    }
}
