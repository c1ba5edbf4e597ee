//! AES-GCM in a token, in each way in which tokens are known to make the IV.
//!
//! Rung bytes: place of the IV (1), its length (1), length of the tag (1; 16), then for place 1 ([`IN_FRONT`]) IV,
//! ciphertext, tag, and for place 2 ([`BEHIND`]) ciphertext, tag, IV, which the token takes back as it gave them. An IV
//! is taken for the token's only if it differs from what the caller put there. IVs of the caller come straight from the
//! kernel: the generator of AWS-LC takes 22 ms to seed itself, which would be most of a worker's start.

use super::mechanism::{CallError, KEY_LEN};
use cryptoki::error::Error;
use cryptoki::mechanism::aead::{GcmMessageParams, GcmParams, GeneratorFunction};
use cryptoki::mechanism::{Mechanism, MessageParam};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const IN_FRONT: u8 = 1;
const BEHIND: u8 = 2;
const IV_LEN: usize = 12;
const IV_LEN_MAX: usize = 16;
const TAG_LEN: usize = 16;
const SEALED_LEN: usize = KEY_LEN + TAG_LEN;

/// Who makes the IV, and how it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub(crate) enum IvWay {
    /// The caller makes it, and the token takes it.
    Caller = 1,
    /// The token makes it by C_EncryptMessage (PKCS#11 v3.0) and hands it back.
    Message = 2,
    /// The token puts its own into the caller's buffer, whatever stands there.
    HandedBack = 3,
    /// The token refuses all but zeros, and puts its own there.
    ZerosFilled = 4,
    /// The token appends it to the ciphertext, and is given it apart for decryption.
    Appended = 5,
    /// The token appends it to the ciphertext, and takes it back there.
    AppendedBoth = 6,
}

impl IvWay {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 6] =
        [Self::Caller, Self::Message, Self::HandedBack, Self::ZerosFilled, Self::Appended, Self::AppendedBoth];
}

/// Encrypts 32 bytes and gives the rung's bytes.
pub(super) fn encrypt(
    session: &Session,
    way: IvWay,
    master: ObjectHandle,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<Vec<u8>, CallError> {
    match way {
        IvWay::Caller => {
            let offered = random_iv()?;
            let (iv, sealed) = one_call(session, offered, master, key, context)?;
            // A token that put another IV there is another way; which of the two it used would be a guess.
            if iv == offered { in_front(&iv, &sealed) } else { Err(CallError::Shape) }
        }
        IvWay::HandedBack | IvWay::ZerosFilled => {
            let offered = if way == IvWay::HandedBack { random_iv()? } else { [0; IV_LEN] };
            let (iv, sealed) = one_call(session, offered, master, key, context)?;
            if iv == offered { Err(CallError::Shape) } else { in_front(&iv, &sealed) }
        }
        IvWay::Message => message(session, master, key, context),
        IvWay::Appended | IvWay::AppendedBoth => {
            let sealed = session.encrypt(&gcm(&mut [], context)?, master, key)?;
            let (sealed, iv) = sealed.split_at_checked(SEALED_LEN).ok_or(CallError::Shape)?;
            if iv.len() != IV_LEN && iv.len() != IV_LEN_MAX {
                return Err(CallError::Shape);
            }
            if way == IvWay::Appended { in_front(iv, sealed) } else { Ok(joined(BEHIND, iv.len(), sealed, iv)) }
        }
    }
}

/// Decrypts the rung's bytes, however their IV came about.
pub(super) fn decrypt(
    session: &Session,
    master: ObjectHandle,
    bytes: &[u8],
    context: &[u8; 32],
) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let parts = split(bytes).ok_or(CallError::Shape)?;
    let mut iv = [0; IV_LEN_MAX];
    let iv = match parts.iv {
        Some(given) => {
            iv[..given.len()].copy_from_slice(given);
            &mut iv[..given.len()]
        }
        None => &mut [],
    };
    Ok(Zeroizing::new(session.decrypt(&gcm(iv, context)?, master, parts.sealed)?))
}

pub(super) fn is_well_formed(bytes: &[u8]) -> bool {
    split(bytes).is_some()
}

/// The IV of these bytes, to see that two wraps have two.
pub(super) fn iv(bytes: &[u8]) -> Option<&[u8]> {
    let parts = split(bytes)?;
    Some(parts.iv.unwrap_or(&parts.sealed[SEALED_LEN..]))
}

struct Parts<'a> {
    /// Given to the token as a parameter; none where it takes it from behind the tag.
    iv: Option<&'a [u8]>,
    sealed: &'a [u8],
}

fn split(bytes: &[u8]) -> Option<Parts<'_>> {
    let ([place, iv_len, tag_len], rest) = bytes.split_first_chunk::<3>()?;
    let iv_len = usize::from(*iv_len);
    let whole = rest.len() == iv_len + SEALED_LEN && usize::from(*tag_len) == TAG_LEN;
    match *place {
        _ if !whole || (iv_len != IV_LEN && iv_len != IV_LEN_MAX) => None,
        IN_FRONT => Some(Parts { iv: Some(&rest[..iv_len]), sealed: &rest[iv_len..] }),
        BEHIND => Some(Parts { iv: None, sealed: rest }),
        _ => None,
    }
}

fn in_front(iv: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CallError> {
    // A shorter tag, or an IV in the answer, is another way.
    if sealed.len() == SEALED_LEN { Ok(joined(IN_FRONT, iv.len(), iv, sealed)) } else { Err(CallError::Shape) }
}

fn joined(place: u8, iv_len: usize, first: &[u8], second: &[u8]) -> Vec<u8> {
    [&[place, iv_len as u8, TAG_LEN as u8], first, second].concat()
}

/// One C_Encrypt; the IV as it stands afterwards, and the answer.
fn one_call(
    session: &Session,
    offered: [u8; IV_LEN],
    master: ObjectHandle,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<([u8; IV_LEN], Vec<u8>), CallError> {
    let mut iv = offered;
    let sealed = {
        let mechanism = gcm(&mut iv, context)?;
        session.encrypt(&mechanism, master, key)?
    };
    Ok((iv, sealed))
}

fn message(
    session: &Session,
    master: ObjectHandle,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<Vec<u8>, CallError> {
    let mut iv = [0; IV_LEN];
    let mut tag = [0; TAG_LEN];
    let ciphertext = {
        let params = GcmMessageParams::new(&mut iv, 0.into(), GeneratorFunction::GenerateRandom, &mut tag)?;
        session.message_encrypt_init(&Mechanism::AesGcmMessage(params), master)?;
        let ciphertext = session.encrypt_message(&MessageParam::AesGcmMessage(params), context, key)?;
        session.message_encrypt_final()?;
        ciphertext
    };
    if iv == [0; IV_LEN] || ciphertext.len() != KEY_LEN {
        return Err(CallError::Shape);
    }
    in_front(&iv, &[ciphertext.as_slice(), &tag].concat())
}

fn random_iv() -> Result<[u8; IV_LEN], CallError> {
    let mut iv = [0; IV_LEN];
    getrandom::fill(&mut iv).map_err(|_| CallError::Random)?;
    Ok(iv)
}

fn gcm<'a>(iv: &'a mut [u8], context: &'a [u8; 32]) -> Result<Mechanism<'a>, Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(iv, context, (TAG_LEN as u64 * 8).into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_bytes_with_a_known_place_are_well_formed() {
        let sealed = [7; SEALED_LEN];
        for (place, iv_len) in [(IN_FRONT, 12), (IN_FRONT, 16), (BEHIND, 12), (BEHIND, 16)] {
            let iv = vec![9; iv_len];
            let bytes = joined(place, iv_len, &iv, &sealed);
            assert!(is_well_formed(&bytes));
            assert!(!is_well_formed(&bytes[..bytes.len() - 1]));
            for (index, value) in [(0, 3), (1, 13), (2, 15)] {
                let mut other = bytes.clone();
                other[index] = value;
                assert!(!is_well_formed(&other), "byte {index}");
            }
        }
        assert!(!is_well_formed(&[]));
    }
}
