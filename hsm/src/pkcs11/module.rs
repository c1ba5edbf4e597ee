//! Loads the PKCS#11 module once in the life of this process, and finds the one token that is meant.
//!
//! Which token is never guessed: two that fit are refused with their serials, since slot numbers move and labels repeat.

use super::failure::{Failure, describe, lost};
use super::raw_info;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};
use std::fmt;
use std::path::Path;

/// Which token of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// By label, without the blanks at its end. Must be unambiguous.
    Label(String),
    /// By serial number, without the blanks at its end.
    Serial(String),
    /// By slot number. Some modules give a token a new one at each start: prefer the serial.
    Slot(u64),
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "token with label {label:?}"),
            Self::Serial(serial) => write!(f, "token with serial {serial:?}"),
            Self::Slot(slot) => write!(f, "token in slot {slot}"),
        }
    }
}

/// Loads and initialises the module.
pub(super) fn load(path: &Path) -> Result<Pkcs11, Failure> {
    let module = Pkcs11::new(path).map_err(|error| {
        let why = describe(&error);
        Failure::misconfigured(format!("cannot load PKCS#11 module {}: {why}; correct its path", path.display()))
    })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(lost(&error)),
    }
}

/// The one token that fits.
pub(super) fn find_token(module: &Pkcs11, path: &Path, wanted: &TokenSelector) -> Result<(Slot, TokenInfo), Failure> {
    let slots = module.get_slots_with_token().map_err(|error| lost(&error))?;
    let tokens: Vec<(Slot, TokenInfo)> = slots
        .into_iter()
        .filter_map(|slot| Some((slot, token_info(module, path, slot)?)))
        .filter(|(_, info)| info.token_initialized())
        .collect();
    let fits = |(slot, info): &&(Slot, TokenInfo)| match wanted {
        TokenSelector::Label(label) => info.label() == label,
        TokenSelector::Serial(serial) => info.serial_number() == serial,
        TokenSelector::Slot(number) => slot.id() == *number,
    };
    let mut fitting = tokens.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only.clone()),
        // A network HSM that is away shows no slot at all, so this may mend itself.
        (None, _) => Err(Failure::Lost(format!("no {wanted}; the module shows {}", listed(tokens.iter())))),
        (Some(_), Some(_)) => {
            let all = listed(tokens.iter().filter(fits));
            Err(Failure::misconfigured(format!("more than one {wanted}: choose by serial among {all}")))
        }
    }
}

/// What a token tells of itself, also where its clock is no time.
pub(super) fn token_info(module: &Pkcs11, path: &Path, slot: Slot) -> Option<TokenInfo> {
    match module.get_token_info(slot) {
        Ok(info) => Some(info),
        Err(Error::Pkcs11(..)) => None,
        Err(_) => raw_info::without_clock(path, slot),
    }
}

/// Label and serial: what tells tokens apart, for logs.
pub(super) fn name(info: &TokenInfo) -> String {
    format!("{:?} (serial {})", info.label(), info.serial_number())
}

fn listed<'a>(tokens: impl Iterator<Item = &'a (Slot, TokenInfo)>) -> String {
    let names: Vec<String> = tokens.map(|(_, info)| name(info)).collect();
    if names.is_empty() { "no token".to_owned() } else { names.join(", ") }
}
