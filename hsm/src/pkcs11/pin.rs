//! Where the PIN comes from. Only the worker reads it.
//!
//! It is never an argument, an environment variable or a field of a frame, and no error repeats it. Of a PIN that a token
//! refused, a salt and 16 bits of its Argon2id remain: enough to know it again after a restart, too little to find it by.

use super::failure::Failure;
use argon2::Argon2;
use cryptoki::types::AuthPin;
use secrecy::ExposeSecret as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Longer than any token takes.
const PIN_LEN_MAX: usize = 1024;

/// Where the worker finds the PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// A file that holds the PIN; one newline at its end is left out. Only its owner should be able to read it.
    File(PathBuf),
    /// A systemd credential (`LoadCredential=`) of this name, under `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl PinSource {
    /// The file it comes down to.
    pub(crate) fn path(&self) -> Result<PathBuf, String> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) if name.is_empty() || name.contains('/') || name == ".." => {
                Err(format!("{name:?} is no name of a systemd credential"))
            }
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => Ok(PathBuf::from(folder).join(name)),
                None => Err(format!(
                    "PIN credential {name}: CREDENTIALS_DIRECTORY is not set; start this as a systemd unit with \
                     LoadCredential={name}, or give a PIN file"
                )),
            },
        }
    }
}

/// A PIN that was refused, so that no restart loop locks a token: one in 65,536 other PINs is mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedPin {
    pub(crate) salt: [u8; 16],
    pub(crate) mark: u16,
}

impl RefusedPin {
    pub(super) fn of(pin: &AuthPin) -> Option<Self> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).ok()?;
        Some(Self { mark: mark(pin, &salt)?, salt })
    }

    pub(super) fn is(&self, pin: &AuthPin) -> bool {
        mark(pin, &self.salt) == Some(self.mark)
    }
}

fn mark(pin: &AuthPin, salt: &[u8; 16]) -> Option<u16> {
    let mut hash = Zeroizing::new([0; 32]);
    Argon2::default().hash_password_into(pin.expose_secret().as_bytes(), salt, hash.as_mut_slice()).ok()?;
    Some(u16::from_be_bytes([hash[0], hash[1]]))
}

/// The PIN, and what an administrator should know about its file.
pub(super) fn read(source: &PinSource) -> Result<(AuthPin, Option<String>), Failure> {
    let path = source.path().map_err(Failure::misconfigured)?;
    let shown = path.display();
    let unreadable = |error| Failure::misconfigured(format!("cannot read PIN file {shown}: {error}"));
    let file = File::open(&path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PIN_LEN_MAX + 64));
    file.take(PIN_LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > PIN_LEN_MAX {
        return Err(Failure::misconfigured(format!("PIN file {shown} is longer than {PIN_LEN_MAX} bytes")));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(Failure::misconfigured(format!("PIN file {shown} is not UTF-8 text")));
    };
    let pin = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if pin.is_empty() {
        return Err(Failure::misconfigured(format!("PIN file {shown} is empty: write the token's user PIN into it")));
    }
    let open_to_others = (mode & 0o077 != 0)
        .then(|| format!("PIN file {shown} has mode {:04o}: others may use it; run chmod 600 on it", mode & 0o7777));
    Ok((AuthPin::new(pin.into()), open_to_others))
}
