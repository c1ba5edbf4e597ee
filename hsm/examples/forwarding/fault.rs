//! The faults to commit now, as the fault file says.
//!
//! `crash`, `crash-once`, `hang-once` at a C_Decrypt; `hang-login`; `poison HEX` crashes and `hang HEX` hangs at that
//! ciphertext only;
//! `wrong-key` decrypts to another key; `leaky` says that keys are extractable; `slow MS` for each C_Encrypt and C_Decrypt;
//! `sessions N` at most; `lost` shows no slot and fails all that `error` can; `error FUNCTION VALUE` and
//! `error-once FUNCTION VALUE` answer with that CKR value in decimal. What ends in `-once` is wiped before it strikes.
//! `initialize TEXT` is no fault, but what NSS must be given.

use cryptoki_sys::{CK_RV, CKR_DEVICE_REMOVED};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) fn module() -> Option<String> {
    text()?.lines().next().map(str::to_owned)
}

/// Whether this fault is told. One that ends in `-once` is told once.
pub(crate) fn is(fault: &str) -> bool {
    let told = faults().iter().any(|line| line == fault);
    told && (!fault.ends_with("-once") || wipe(fault))
}

pub(crate) fn argument(fault: &str) -> Option<String> {
    faults().iter().find_map(|line| line.strip_prefix(fault)?.strip_prefix(' ').map(str::to_owned))
}

/// The value with which this function fails now.
pub(crate) fn of(function: &str) -> Option<CK_RV> {
    let faults = faults();
    if faults.iter().any(|line| line == "lost") && function != "C_CloseSession" {
        return Some(CKR_DEVICE_REMOVED);
    }
    faults.iter().find_map(|line| {
        let (kind, rest) = line.split_once(' ')?;
        let (name, value) = rest.split_once(' ')?;
        let strikes = name == function && (kind == "error" || (kind == "error-once" && wipe(line)));
        strikes.then(|| value.parse().ok())?
    })
}

pub(crate) fn slow() {
    if let Some(milliseconds) = argument("slow").and_then(|text| text.parse().ok()) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
}

/// Leaves a file `hanging` beside the fault, so that a test knows when.
pub(crate) fn hang() -> ! {
    if let Some(file) = file() {
        let _ = std::fs::write(file.with_file_name("hanging"), "");
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Adds a byte to the file `logins` beside the fault, so that a test counts how often a PIN was tried.
pub(crate) fn note_login() {
    let open = |file: PathBuf| OpenOptions::new().create(true).append(true).open(file.with_file_name("logins"));
    if let Some(Ok(mut logins)) = file().map(open) {
        let _ = logins.write_all(b"x");
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the line; whether it was there.
fn wipe(fault: &str) -> bool {
    let (Some(file), Some(text)) = (file(), text()) else { return false };
    let left: Vec<&str> = text.lines().filter(|line| *line != fault).collect();
    left.len() < text.lines().count() && std::fs::write(file, left.join("\n")).is_ok()
}

fn faults() -> Vec<String> {
    text().unwrap_or_default().lines().skip(1).map(str::to_owned).collect()
}

fn text() -> Option<String> {
    std::fs::read_to_string(file()?).ok()
}

fn file() -> Option<PathBuf> {
    let beside = std::env::var_os("SOFTHSM2_CONF").or_else(|| std::env::var_os("KRYOPTIC_CONF"))?;
    Some(PathBuf::from(beside).with_file_name("fault"))
}
