//! The rungs, as PKCS#11 calls: how one wrap and one unwrap look for each.
//!
//! Never C_WrapKey: its lengths are not to be trusted, and it would need a key that may wrap. The caller unwraps and
//! compares what was wrapped; nothing here is believed for having returned CKR_OK. IVs come straight from the kernel:
//! the generator of AWS-LC takes 22 ms to seed itself, which would be most of a worker's start.

use crate::rung::Rung;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

const IV_IN_FRONT: u8 = 1;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Why one call pattern did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The module said so.
    Module(Error),
    /// The operating system gave no random bytes for an IV.
    Random,
    /// The token answered with something that this rung cannot have made.
    Shape,
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

/// Encrypts 32 bytes in the token and gives the rung's own bytes.
pub(super) fn encrypt(
    session: &Session,
    rung: Rung,
    master: ObjectHandle,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<Vec<u8>, CallError> {
    match rung {
        Rung::AesGcm => {
            let mut iv = [0; IV_LEN];
            getrandom::fill(&mut iv).map_err(|_| CallError::Random)?;
            let mut out = vec![IV_IN_FRONT, IV_LEN as u8, TAG_LEN as u8];
            out.extend_from_slice(&iv);
            let sealed = session.encrypt(&gcm(&mut iv, context)?, master, key)?;
            // A token that puts an IV of its own into the answer, or a shorter tag, is another rung.
            if sealed.len() != KEY_LEN + TAG_LEN {
                return Err(CallError::Shape);
            }
            out.extend_from_slice(&sealed);
            Ok(out)
        }
    }
}

/// Decrypts the rung's own bytes in the token.
pub(super) fn decrypt(
    session: &Session,
    rung: Rung,
    master: ObjectHandle,
    ciphertext: &[u8],
    context: &[u8; 32],
) -> Result<Zeroizing<[u8; KEY_LEN]>, CallError> {
    match rung {
        Rung::AesGcm => {
            let (mut iv, sealed) = split_gcm(ciphertext).ok_or(CallError::Shape)?;
            let opened = Zeroizing::new(session.decrypt(&gcm(&mut iv, context)?, master, sealed)?);
            let mut key = Zeroizing::new([0; KEY_LEN]);
            if opened.len() != KEY_LEN {
                return Err(CallError::Shape);
            }
            key.copy_from_slice(&opened);
            Ok(key)
        }
    }
}

/// Whether these bytes can be of this rung at all. If not, no token needs to be asked.
pub(super) fn is_well_formed(rung: Rung, ciphertext: &[u8]) -> bool {
    match rung {
        Rung::AesGcm => split_gcm(ciphertext).is_some(),
    }
}

fn gcm<'a>(iv: &'a mut [u8; IV_LEN], context: &'a [u8; 32]) -> Result<Mechanism<'a>, Error> {
    Ok(Mechanism::AesGcm(GcmParams::new(iv, context, (TAG_LEN as u64 * 8).into())?))
}

fn split_gcm(ciphertext: &[u8]) -> Option<([u8; IV_LEN], &[u8])> {
    let (head, rest) = ciphertext.split_first_chunk::<3>()?;
    let (iv, sealed) = rest.split_first_chunk::<IV_LEN>()?;
    let known = *head == [IV_IN_FRONT, IV_LEN as u8, TAG_LEN as u8] && sealed.len() == KEY_LEN + TAG_LEN;
    known.then_some((*iv, sealed))
}
