//! Who gets which SIGBUS. Each case is a process of its own, since a handler is set once and for all of it.
//!
//! The test binary starts itself again with the name of a case in `FAULT_CASE`; what such a child must survive, or die
//! of, is asserted from outside. Here also stands the other library: a handler of ours would not do to test ours.
#![allow(unsafe_code)] // The one reason: another library's signal handler, and a map that faults.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // All of this is tests, also what stands outside a test function.

use std::{
    ffi::{c_int, c_void},
    fs::{self, File},
    mem,
    os::unix::process::ExitStatusExt,
    process::Command,
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use strongroom_engine::{Context, DataKey, Existing, KeyId, SealError, Target, Watch, seal_file};

const CASE: &str = "FAULT_CASE";
const PAGE: usize = 4096;

/// Runs `case` in a process of its own and gives the signal that ended it, if one did. Any other failure fails here.
fn signal_of(case: &str) -> Option<i32> {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CASE, case)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() || child.status.signal().is_some(), "{case}: {told}{complained}");
    assert!(told.contains("reached the end of its preparations"), "{case}: {told}{complained}");
    child.status.signal()
}

#[test]
fn a_fault_that_is_not_ours_ends_the_process_as_ever() {
    assert_eq!(signal_of("a foreign map faults, nobody handles it"), Some(libc::SIGBUS));
}

#[test]
fn a_signal_that_was_sent_ends_the_process_as_ever() {
    assert_eq!(signal_of("another process sends it"), Some(libc::SIGBUS));
}

#[test]
fn a_handler_set_before_ours_gets_its_own_faults_and_none_of_ours() {
    assert_eq!(signal_of("foreign handler before"), None);
}

#[test]
fn a_handler_without_details_set_before_ours_gets_its_own_signals() {
    assert_eq!(signal_of("plain foreign handler before"), None);
}

#[test]
fn a_handler_set_after_ours_that_hands_on_what_is_not_its_own_keeps_ours_working() {
    assert_eq!(signal_of("foreign handler after"), None);
}

#[test]
#[ignore = "what the other tests start"]
fn child() {
    match std::env::var(CASE).as_deref() {
        Ok("a foreign map faults, nobody handles it") => {
            seal_a_file_that_shrinks();
            ready();
            ForeignMap::that_shrank().touch();
        }
        Ok("another process sends it") => {
            set(libc::SIG_DFL, 0); // Rust's own handler swallows the first that is sent
            seal_a_file_that_shrinks();
            ready();
            let own_id = std::process::id().cast_signed();
            // SAFETY: sends a signal to this process, which is to end by it.
            unsafe { libc::kill(own_id, libc::SIGBUS) };
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        Ok("foreign handler before") => {
            set(foreign_handler as *const () as usize, libc::SA_SIGINFO);
            check_that_both_get_their_own();
        }
        Ok("plain foreign handler before") => {
            set(plain_handler as *const () as usize, 0);
            seal_a_file_that_shrinks();
            assert_eq!(HANDLED.load(Ordering::SeqCst), 0);
            ready();
            // SAFETY: sends a signal to this thread, which handles it.
            unsafe { libc::raise(libc::SIGBUS) };
            assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
        }
        Ok("foreign handler after") => {
            seal_a_file_that_shrinks();
            set(foreign_handler as *const () as usize, libc::SA_SIGINFO);
            check_that_both_get_their_own();
        }
        _ => println!("no case: nothing to do"),
    }
}

fn ready() {
    println!("reached the end of its preparations");
}

fn check_that_both_get_their_own() {
    seal_a_file_that_shrinks();
    assert_eq!(HANDLED.load(Ordering::SeqCst), 0, "the other library was shown our fault as its own");
    ready();
    ForeignMap::that_shrank().touch();
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
    seal_a_file_that_shrinks();
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
}

/// Our own fault: the source is cut to nothing after the first batch. An error of this sealing, and nothing else.
fn seal_a_file_that_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("plain"), folder.path().join("sealed"));
    fs::write(&source, vec![1; 8 << 20]).unwrap();
    let file = File::options().write(true).open(&source).unwrap();
    let watch = Watch { progress: &|_, _| file.set_len(0).unwrap(), ..Watch::none() };
    let id = KeyId::from_bytes([1; 16]);
    let target = Target::create(&target, Existing::Refuse).unwrap();
    let key = DataKey::generate().unwrap();
    let sealed = seal_file(&source, &target, &key, id, &Context::file(&id).digest(), watch);
    assert!(matches!(sealed, Err(SealError::Read { .. })), "{sealed:?}");
}

/// A map of another library, whose file is gone.
struct ForeignMap(*mut c_void);

impl ForeignMap {
    fn that_shrank() -> Self {
        use std::os::fd::AsRawFd;
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64).unwrap();
        // SAFETY: a new map, wherever the kernel likes.
        let map = unsafe { libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(map, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        FOREIGN_MAP.store(map.cast(), Ordering::SeqCst);
        Self(map)
    }

    fn touch(&self) {
        // SAFETY: a page of our own map; that it faults is the point.
        let byte = unsafe { self.0.cast::<u8>().read_volatile() };
        assert_eq!(byte, 0);
    }
}

static FOREIGN_MAP: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static HANDLED: AtomicUsize = AtomicUsize::new(0);
static BEFORE_FOREIGN: AtomicUsize = AtomicUsize::new(0);

/// Sets the other library's handler, which remembers the one before.
fn set(handler: usize, flags: c_int) {
    // SAFETY: zeros are a valid action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: both are valid actions.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before) }, 0);
    BEFORE_FOREIGN.store(before.sa_sigaction, Ordering::SeqCst);
}

/// Handles a fault in its own page, by putting a page there, and hands on every other.
extern "C" fn foreign_handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gave a valid record.
    let record = unsafe { &*info };
    // SAFETY: SIGBUS has an address.
    let address = unsafe { record.si_addr() }.cast::<u8>();
    let own = FOREIGN_MAP.load(Ordering::SeqCst);
    if !own.is_null() && address.addr() & !(PAGE - 1) == own.addr() {
        HANDLED.fetch_add(1, Ordering::SeqCst);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: replaces the page of our own map.
        unsafe { libc::mmap(own.cast(), PAGE, libc::PROT_READ, flags, -1, 0) };
        return;
    }
    let before = BEFORE_FOREIGN.load(Ordering::SeqCst);
    // SAFETY: whoever was before (Rust's own handler, or that of the engine) takes three arguments.
    let before: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = unsafe { mem::transmute(before) };
    before(signal, info, context);
}

extern "C" fn plain_handler(_: c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}
