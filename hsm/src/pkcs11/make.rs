//! Makes a token, for development: random PINs, C_InitToken, C_InitPIN.
//!
//! Runs in the worker process, so that the server's memory never holds a PIN. Takes only a slot without a token.

use super::failure::{Failure, describe, lost};
use super::module;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Initialises the module's free slot as a token with `label`, and writes its PINs to new files of mode 0600.
pub(crate) fn make_token(path: &Path, label: &str, pin_file: &Path, so_pin_file: &Path) -> Result<(), Failure> {
    let module = module::load(path)?;
    let so_pin = fresh_pin(so_pin_file)?;
    let pin = fresh_pin(pin_file)?;
    let slots = module.get_slots_with_token().map_err(|error| lost(&error))?;
    let is_free = |slot: &_| module.get_token_info(*slot).is_ok_and(|info| !info.token_initialized());
    let slot = slots
        .into_iter()
        .find(is_free)
        .ok_or_else(|| Failure::misconfigured("the module has no slot without a token to make one in"))?;
    let refused = |error| Failure::misconfigured(format!("the module does not make a token: {}", describe(&error)));
    module.init_token(slot, &so_pin, label).map_err(refused)?;
    // SoftHSM gives a token a new slot number once it is made: find it by label.
    let (slot, _) = module::find_token(&module, path, &module::TokenSelector::Label(label.to_owned()))?;
    let session = module.open_rw_session(slot).map_err(refused)?;
    session.login(UserType::So, Some(&so_pin)).map_err(refused)?;
    session.init_pin(&pin).map_err(refused)
}

/// 128 random bits as 32 hexadecimal digits: long enough for any token, and never typed.
fn fresh_pin(file: &Path) -> Result<AuthPin, Failure> {
    let mut random = Zeroizing::new([0_u8; 16]);
    getrandom::fill(random.as_mut_slice())
        .map_err(|_| Failure::misconfigured("the operating system gave no random bytes"))?;
    let mut digits = Zeroizing::new(String::with_capacity(32));
    for byte in *random {
        for nibble in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    let write = || {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(digits.as_bytes())?;
        out.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        Failure::misconfigured(format!("cannot write PIN file {}: {error}", file.display()))
    })?;
    Ok(AuthPin::new(digits.as_str().into()))
}
