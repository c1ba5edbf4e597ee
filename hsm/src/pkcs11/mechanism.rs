//! The rungs, as PKCS#11 calls: how one wrap and one unwrap look for each.
//!
//! Never C_WrapKey: its lengths are not to be trusted, and it would need a key that may wrap. Never CKM_AES_KEY_WRAP_PAD,
//! which means two incompatible things. The caller unwraps and compares what was wrapped; nothing here is believed for
//! having returned CKR_OK.

use super::failure::describe;
use super::gcm::{self, IvWay};
use super::oaep::{self, RsaMaster};
use crate::rung::Rung;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

pub(super) const KEY_LEN: usize = 32;

/// RFC 3394 adds 8 bytes.
const KEY_WRAP_LEN: usize = 64 + 8;

/// Why one call pattern did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The module said so.
    Module(Error),
    /// The operating system gave no random bytes for an IV.
    Random,
    /// The token answered with something that this rung cannot have made, or the bytes are not of this rung and key.
    Shape,
}

impl CallError {
    /// For a log.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Module(error) => describe(error),
            Self::Random => "the operating system gave no random bytes".to_owned(),
            Self::Shape => "the token's answer is not what this rung gives".to_owned(),
        }
    }

    /// The key no longer does this: CKA_ENCRYPT was taken from it.
    pub(super) fn is_function_not_permitted(&self) -> bool {
        matches!(self, Self::Module(Error::Pkcs11(RvError::KeyFunctionNotPermitted, _)))
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

/// A whole call pattern: a rung, and how the token makes the IV where it needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pattern {
    KeyWrap,
    Gcm(IvWay),
    Oaep,
}

impl Pattern {
    pub(crate) fn rung(self) -> Rung {
        match self {
            Self::KeyWrap => Rung::AesKeyWrap,
            Self::Gcm(_) => Rung::AesGcm,
            Self::Oaep => Rung::RsaOaep,
        }
    }

    /// For a frame.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::KeyWrap => 0,
            Self::Gcm(way) => way as u8,
            Self::Oaep => 255,
        }
    }

    pub(crate) fn by_number(number: u8) -> Option<Self> {
        let gcm = IvWay::ALL.map(Self::Gcm);
        [Self::KeyWrap, Self::Oaep].into_iter().chain(gcm).find(|pattern| pattern.number() == number)
    }
}

/// A master key as a session finds it.
#[derive(Clone)]
pub(super) enum Master {
    Aes(ObjectHandle),
    Rsa(RsaMaster),
}

/// Calls of this process that were begun: it rises while a slow token is at work, and stands still in one that hangs.
static BEGUN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn calls_begun() -> u64 {
    BEGUN.load(Ordering::Relaxed)
}

/// Encrypts 32 bytes in the token and gives the rung's own bytes.
pub(super) fn encrypt(
    session: &Session,
    pattern: Pattern,
    master: &Master,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<Vec<u8>, CallError> {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    match (pattern, master) {
        (Pattern::KeyWrap, Master::Aes(master)) => {
            let mut plain = Zeroizing::new([0; 64]);
            plain[..32].copy_from_slice(key);
            plain[32..].copy_from_slice(context);
            let sealed = session.encrypt(&Mechanism::AesKeyWrap, *master, plain.as_slice())?;
            if sealed.len() == KEY_WRAP_LEN { Ok(sealed) } else { Err(CallError::Shape) }
        }
        (Pattern::Gcm(way), Master::Aes(master)) => gcm::encrypt(session, way, *master, key, context),
        (Pattern::Oaep, Master::Rsa(master)) => oaep::encrypt(session, master, key, context),
        (Pattern::KeyWrap | Pattern::Gcm(_), Master::Rsa(_)) | (Pattern::Oaep, Master::Aes(_)) => Err(CallError::Shape),
    }
}

/// Decrypts the rung's own bytes in the token.
pub(super) fn decrypt(
    session: &Session,
    rung: Rung,
    master: &Master,
    bytes: &[u8],
    context: &[u8; 32],
) -> Result<Zeroizing<[u8; KEY_LEN]>, CallError> {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    let opened = match (rung, master) {
        (Rung::AesKeyWrap, Master::Aes(master)) => {
            let opened = Zeroizing::new(session.decrypt(&Mechanism::AesKeyWrap, *master, bytes)?);
            key_of_64(&opened, context)?
        }
        (Rung::AesGcm, Master::Aes(master)) => gcm::decrypt(session, *master, bytes, context)?,
        (Rung::RsaOaep, Master::Rsa(master)) => oaep::decrypt(session, master, bytes, context)?,
        (Rung::AesKeyWrap | Rung::AesGcm, Master::Rsa(_)) | (Rung::RsaOaep, Master::Aes(_)) => {
            return Err(CallError::Shape);
        }
    };
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if opened.len() != KEY_LEN {
        return Err(CallError::Shape);
    }
    key.copy_from_slice(&opened);
    Ok(key)
}

/// The key of a rung without AAD: 64 bytes hold it and then the context, which must be this one.
pub(super) fn key_of_64(opened: &[u8], context: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let (key, held) = opened.split_at_checked(KEY_LEN).ok_or(CallError::Shape)?;
    verify_slices_are_equal(held, context).map_err(|_| CallError::Shape)?;
    Ok(Zeroizing::new(key.to_vec()))
}

/// Whether these bytes can be of this rung at all. If not, no token needs to be asked.
pub(super) fn is_well_formed(rung: Rung, bytes: &[u8]) -> bool {
    match rung {
        Rung::AesKeyWrap => bytes.len() == KEY_WRAP_LEN,
        Rung::AesGcm => gcm::is_well_formed(bytes),
        Rung::RsaOaep => oaep::is_well_formed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_a_number_of_its_own() {
        let all = [Pattern::KeyWrap, Pattern::Oaep].into_iter().chain(IvWay::ALL.map(Pattern::Gcm));
        all.for_each(|pattern| assert_eq!(Pattern::by_number(pattern.number()), Some(pattern)));
    }
}
