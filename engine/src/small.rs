//! Small sealing: records, and wraps under a key that is not in the HSM.
//!
//! AES-256-GCM with a zero nonce under a key that is used once: derived from the parent, a label, 32 random bytes that
//! stand before the ciphertext, and the context. Nothing to count, nothing to repeat.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{
    context::ContextDigest,
    derive::expand,
    error::{CipherFailed, OpenError, SealError},
    id::fill,
    key::DataKey,
};

const RANDOM_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// How many bytes longer a small sealing is than its plaintext.
pub const SMALL_OVERHEAD: usize = RANDOM_LEN + TAG_LEN;

/// Seals `plain`: 32 random bytes, ciphertext, 16 bytes of tag. The label (ASCII, no zero byte) names the use.
///
/// # Errors
/// [`SealError::Random`] and [`SealError::Cipher`].
pub fn seal_small(
    parent: &DataKey,
    label: &'static str,
    context: &ContextDigest,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut random = [0; RANDOM_LEN];
    fill(&mut random)?;
    seal_with(parent, label, context, &random, plain)
}

fn seal_with(
    parent: &DataKey,
    label: &str,
    context: &ContextDigest,
    random: &[u8; RANDOM_LEN],
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let key = one_use_key(parent, label, random, context)?;
    // The full length at once: a vector that grew would leave a copy of the plaintext behind.
    let mut sealed = Vec::with_capacity(plain.len() + SMALL_OVERHEAD);
    sealed.extend_from_slice(random);
    sealed.extend_from_slice(plain);
    let tag = key.seal_in_place_separate_tag(zero_nonce(), Aad::empty(), &mut sealed[RANDOM_LEN..]);
    sealed.extend_from_slice(tag.map_err(|_| CipherFailed)?.as_ref());
    Ok(sealed)
}

/// Opens what [`seal_small`] made with the same parent, label and context.
///
/// # Errors
/// [`OpenError::Refused`] for anything else, [`OpenError::Cipher`].
pub fn open_small(
    parent: &DataKey,
    label: &'static str,
    context: &ContextDigest,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (random, rest) = sealed.split_first_chunk().ok_or(OpenError::Refused)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Refused)?;
    let key = one_use_key(parent, label, random, context)?;
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    key.open_in_place_separate_tag(zero_nonce(), Aad::empty(), tag, &mut plain).map_err(|_| OpenError::Refused)?;
    Ok(plain)
}

fn one_use_key(
    parent: &DataKey,
    label: &str,
    random: &[u8; RANDOM_LEN],
    context: &ContextDigest,
) -> Result<LessSafeKey, CipherFailed> {
    let mut key = Zeroizing::new([0; 32]);
    expand(parent, &[label.as_bytes(), random, context.as_bytes()], &mut *key)?;
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| CipherFailed)?;
    Ok(LessSafeKey::new(key))
}

/// Unique because the key is.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Context, Kind};

    fn parent(byte: u8) -> DataKey {
        DataKey::from_bytes(&mut [byte; 32])
    }

    fn context(write_id: &[u8]) -> ContextDigest {
        Context { write_id, ..Context::new(Kind::ObjectRecord) }.digest()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_again(plain: Vec<u8>) {
            let sealed = seal_small(&parent(1), "record", &context(b"w"), &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + SMALL_OVERHEAD);
            prop_assert_eq!(&*open_small(&parent(1), "record", &context(b"w"), &sealed).unwrap(), &plain);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(sealed: Vec<u8>) {
            prop_assert!(matches!(open_small(&parent(1), "record", &context(b"w"), &sealed), Err(OpenError::Refused)));
        }
    }

    #[test]
    fn another_parent_label_or_context_is_refused() {
        let sealed = seal_small(&parent(1), "record", &context(b"w"), b"plain").unwrap();
        let refused = |opened: Result<_, OpenError>| assert!(matches!(opened.map(|_| ()), Err(OpenError::Refused)));
        refused(open_small(&parent(2), "record", &context(b"w"), &sealed));
        refused(open_small(&parent(1), "recore", &context(b"w"), &sealed));
        refused(open_small(&parent(1), "record", &context(b"x"), &sealed));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let mut sealed = seal_small(&parent(1), "record", &context(b"w"), b"plain").unwrap();
        for byte in 0..sealed.len() {
            sealed[byte] ^= 0x40;
            assert!(open_small(&parent(1), "record", &context(b"w"), &sealed).is_err(), "byte {byte}");
            sealed[byte] ^= 0x40;
        }
    }

    #[test]
    fn the_same_plaintext_never_looks_the_same() {
        let sealed = || seal_small(&parent(1), "record", &context(b"w"), b"plain").unwrap();
        let (one, two) = (sealed(), sealed());
        assert_ne!(one[..32], two[..32]);
        assert_ne!(one[32..], two[32..]);
    }
}
