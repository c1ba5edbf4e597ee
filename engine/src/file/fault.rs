//! A read from a memory map that faults, as an error of that one read.
//!
//! Where a mapped file was cut short, or its disk fails, touching the map raises SIGBUS in the thread that touched it,
//! which by default ends the process. Mapped bytes are read in one place, [`Guarded::copy`], which first notes, for its
//! own thread, which map it reads. A handler for SIGBUS looks at that note. For a fault inside the map that its thread
//! is reading it marks the map as failed, lays zeros over the rest of it (`mmap` at a fixed address, which replaces
//! mapped pages in one step) and returns: the copy runs on over zeros to its end, finds the mark, and gives an error.
//! Nothing jumps out of the signal, so no Rust frame is skipped.
//!
//! Every other SIGBUS goes to whatever handled it before. A library that sets its own handler later must hand on what
//! is not its own, as is the custom. A map that failed once stays failed.
#![allow(unsafe_code)] // The one reason: memory that others can take away, and the signal that says so.

use std::{
    ffi::{c_int, c_void},
    io, mem, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicPtr, Ordering, compiler_fence, fence},
    },
};

use libc::{SA_NODEFER, SA_ONSTACK, SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGBUS, siginfo_t};
use memmap2::MmapRaw;
use rustix::mm::{MapFlags, ProtFlags};

/// A memory map that is read only by copying out of it.
pub(super) struct Guarded {
    map: MmapRaw,
    failed: AtomicBool,
}

/// The bytes are gone, or their disk does not give them.
#[derive(Debug)]
pub(super) struct Faulted;

thread_local! {
    /// The map that this thread is copying from. Without a destructor and constant at first, so that a handler can read
    /// it: no allocation, no lazy start.
    static READING: AtomicPtr<Guarded> = const { AtomicPtr::new(ptr::null_mut()) };
}

impl Guarded {
    /// Takes a map whose bytes others can change or take away, and makes sure that the handler is there.
    pub(super) fn new(map: MmapRaw) -> io::Result<Self> {
        handle_faults()?;
        Ok(Self { map, failed: AtomicBool::new(false) })
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Copies the bytes from `offset` on into `target`. After an error `target` holds anything.
    ///
    /// # Panics
    /// Where the bytes are not all inside the map; the caller has checked.
    #[inline(never)] // One place that touches mapped bytes, whatever the optimiser does around it.
    pub(super) fn copy(&self, offset: usize, target: &mut [u8]) -> Result<(), Faulted> {
        assert!(offset <= self.len() && target.len() <= self.len() - offset, "a copy beyond the map");
        if self.failed.load(Ordering::Relaxed) {
            return Err(Faulted);
        }
        READING.with(|reading| {
            reading.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // SAFETY: `offset` lies inside the map, as asserted.
            let source = unsafe { self.map.as_ptr().add(offset) };
            // SAFETY: so do as many bytes as `target` has, which is our own memory and cannot overlap the map. Bytes
            // that others change meanwhile give some value or another; no reference to them exists, and the fence
            // below keeps the compiler from reading them a second time in place of the copy.
            unsafe { ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len()) };
            compiler_fence(Ordering::SeqCst);
            reading.store(ptr::null_mut(), Ordering::Relaxed);
        });
        // Another thread's fault may have laid the zeros that were copied here: it set the mark first.
        fence(Ordering::Acquire);
        if self.failed.load(Ordering::Relaxed) { Err(Faulted) } else { Ok(()) }
    }

    /// In the handler: if `address` is in this map, lays zeros from its page on. Allocates nothing, takes no lock.
    fn lay_zeros(&self, address: usize) -> bool {
        let start = self.map.as_ptr().addr();
        let end = start + self.map.len();
        if !(start..end).contains(&address) {
            return false;
        }
        self.failed.store(true, Ordering::SeqCst);
        let page = rustix::param::page_size();
        // The map begins at a page, so rounding down stays inside.
        let from = (address - start) & !(page - 1);
        let at = self.map.as_mut_ptr().wrapping_add(from).cast::<c_void>();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the range is the rest of a map that is ours and lives as long as this copy; what is laid over it is
        // unmapped with it. Only copies read it, by raw pointer, and they look at the mark afterwards.
        unsafe { rustix::mm::mmap_anonymous(at, self.map.len() - from, ProtFlags::READ, flags) }.is_ok()
    }
}

/// What handled SIGBUS before. Never freed: a handler may be reading it.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Sets the handler, once for the life of the process.
fn handle_faults() -> io::Result<()> {
    static SET: OnceLock<Result<(), i32>> = OnceLock::new();
    let set = SET.get_or_init(|| set_handler().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)));
    set.map_err(io::Error::from_raw_os_error)
}

fn set_handler() -> io::Result<()> {
    let before = sigaction(None)?;
    let mut ours = before;
    ours.sa_sigaction = on_sigbus as *const () as usize;
    // Whoever comes after us in the chain finds mask and restarts as it asked for them.
    ours.sa_flags = before.sa_flags & (SA_RESTART | SA_NODEFER) | SA_SIGINFO | SA_ONSTACK;
    BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
    let replaced = sigaction(Some(&ours))?;
    if replaced.sa_sigaction != before.sa_sigaction {
        // Another thread has set one between the two calls.
        BEFORE.store(Box::into_raw(Box::new(replaced)), Ordering::Release);
    }
    Ok(())
}

/// Sets the action for SIGBUS, if one is given, and gives the one before.
fn sigaction(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: all of its fields are integers, sets of bits, and a function that may be absent: zeros are valid.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: `new` is null or a valid action, `before` is ours to write.
    if unsafe { libc::sigaction(SIGBUS, new, &raw mut before) } == 0 {
        Ok(before)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Runs in a thread that was interrupted anywhere: it may only read atomics and call the kernel.
extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid record to a handler that was set with SA_SIGINFO.
    let record = unsafe { &*info };
    // SAFETY: SIGBUS has an address. Where a process sent the signal, it is not looked at.
    let address = unsafe { record.si_addr() }.addr();
    let reading = READING.with(|reading| reading.load(Ordering::Relaxed));
    // SAFETY: not null only while `copy`, on this thread, borrows the map.
    let map = unsafe { reading.as_ref() };
    let by_kernel = record.si_code > 0;
    if by_kernel && map.is_some_and(|map| map.lay_zeros(address)) {
        return;
    }
    hand_on(signal, info, context, by_kernel);
}

/// Does what would have happened without us.
fn hand_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, by_kernel: bool) {
    // SAFETY: set before the handler was, to an action that is never freed.
    let before = unsafe { &*BEFORE.load(Ordering::Acquire) };
    match before.sa_sigaction {
        SIG_IGN if !by_kernel => {}
        // A fault cannot be ignored: the kernel takes the default then.
        SIG_DFL | SIG_IGN => die_by(signal, by_kernel),
        handler if before.sa_flags & SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the action is a function of this type.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the action is a function of this type.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// Takes the handler away: the instruction that faulted faults again, and a signal that was sent is sent again.
fn die_by(signal: c_int, by_kernel: bool) {
    // SAFETY: zeros are the default action: SIG_DFL, no flags, an empty mask.
    let default: libc::sigaction = unsafe { mem::zeroed() };
    let _ = sigaction(Some(&default));
    if !by_kernel {
        // SAFETY: raise may be called in a handler; the signal comes once this one returns.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use memmap2::MmapOptions;

    use super::*;

    const PAGE: usize = 4096;

    fn file(len: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![7; len], 0).unwrap();
        file
    }

    fn guarded(file: &File) -> Guarded {
        Guarded::new(MmapOptions::new().map_raw_read_only(file).unwrap()).unwrap()
    }

    #[test]
    fn bytes_that_were_cut_off_are_an_error_and_stay_one() {
        let file = file(8 * PAGE);
        let map = guarded(&file);
        let mut target = vec![0; 8 * PAGE];
        map.copy(0, &mut target).unwrap();
        assert_eq!(target, vec![7; 8 * PAGE]);
        file.set_len(3 * PAGE as u64).unwrap();
        assert!(map.copy(0, &mut target).is_err());
        file.set_len(8 * PAGE as u64).unwrap();
        assert!(map.copy(0, &mut target[..1]).is_err(), "zeros lie over it: it must not be read again");
    }

    #[test]
    fn a_fault_beside_the_map_is_not_taken_for_its_own() {
        let file = file(2 * PAGE);
        let map = guarded(&file);
        let start = map.map.as_ptr().addr();
        for address in [0, start - 1, start + 2 * PAGE, usize::MAX] {
            assert!(!map.lay_zeros(address), "{address:#x}");
        }
        map.copy(0, &mut [0; 2 * PAGE]).unwrap();
    }

    #[test]
    fn one_map_that_fails_leaves_the_others_alone() {
        let (short, whole) = (file(4 * PAGE), file(4 * PAGE));
        let (failing, good) = (guarded(&short), guarded(&whole));
        short.set_len(0).unwrap();
        let mut target = vec![0; 4 * PAGE];
        assert!(failing.copy(PAGE, &mut target[..PAGE]).is_err());
        good.copy(0, &mut target).unwrap();
        assert_eq!(target, vec![7; 4 * PAGE]);
    }

    #[test]
    fn many_threads_that_fault_in_one_map_all_get_the_error() {
        for _ in 0..50 {
            let file = file(64 * PAGE);
            let map = guarded(&file);
            file.set_len(0).unwrap();
            std::thread::scope(|scope| {
                for nth in 0..8 {
                    let map = &map;
                    scope.spawn(move || assert!(map.copy(nth * PAGE, &mut vec![0; 8 * PAGE]).is_err()));
                }
            });
        }
    }

    #[test]
    fn a_file_cut_short_while_it_is_read_never_gives_zeros() {
        for _ in 0..50 {
            let file = file(256 * PAGE);
            let map = guarded(&file);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut target = vec![0; 256 * PAGE];
                    // Until the cut arrives; what is read before it is all there.
                    while map.copy(0, &mut target).is_ok() {
                        assert!(target.iter().all(|byte| *byte == 7));
                    }
                });
                file.set_len(PAGE as u64).unwrap();
                reader.join().unwrap();
            });
        }
    }
}
