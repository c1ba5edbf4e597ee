//! GMAC over the ciphertext of a segment, and the proof that it was checked.
//!
//! The nonce is the segment's index and whether it is the last, so a segment is authentic only in its own place.
//! Under one key a place is tagged once (twice would give the GHASH key away): only `SealBatch`, which hands out each
//! index once, leads here. `Verified` can be made only here, so no narrow path decrypts what was not authenticated.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    error::{CipherFailed, OpenError},
    layout::TAG_LEN,
};

/// Where a segment stands in its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) last: bool,
}

impl Place {
    /// Index (8 bytes), then 1 for the last segment and 0 for the others (4 bytes), big-endian: as a number of 96 bits.
    pub(crate) fn nonce_number(self) -> u128 {
        u128::from(self.index) << 32 | u128::from(self.last)
    }

    fn nonce(self) -> Nonce {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.nonce_number().to_be_bytes()[4..]);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Ciphertext of one segment whose tag was right for its place.
pub(crate) struct Verified<'a> {
    ciphertext: &'a [u8],
}

impl<'a> Verified<'a> {
    pub(crate) fn ciphertext(&self) -> &'a [u8] {
        self.ciphertext
    }
}

/// The key that authenticates the segments of one stream.
pub(crate) struct Mac(LessSafeKey);

impl Mac {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, CipherFailed> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CipherFailed)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// GMAC is GCM of nothing, with the message as additional data.
    pub(crate) fn tag(&self, place: Place, ciphertext: &[u8]) -> Result<[u8; TAG_LEN], CipherFailed> {
        let tag = self.0.seal_in_place_separate_tag(place.nonce(), Aad::from(ciphertext), &mut []);
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.map_err(|_| CipherFailed)?.as_ref());
        Ok(bytes)
    }

    /// Checks the tag at the end of a sealed segment, in constant time.
    pub(crate) fn verify<'a>(&self, place: Place, sealed: &'a [u8]) -> Result<Verified<'a>, OpenError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Refused)?;
        self.0
            .open_in_place_separate_tag(place.nonce(), Aad::from(ciphertext), tag, &mut [])
            .map_err(|_| OpenError::Refused)?;
        Ok(Verified { ciphertext })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_right_only_in_its_place_and_only_for_its_bytes() {
        let mac = Mac::new(&[1; 32]).unwrap();
        let here = Place { index: 3, last: false };
        let mut sealed = vec![7; 64];
        sealed.extend(mac.tag(here, &[7; 64]).unwrap());
        assert_eq!(mac.verify(here, &sealed).ok().unwrap().ciphertext(), [7; 64]);
        for place in [Place { index: 2, ..here }, Place { last: true, ..here }, Place { index: 3 << 32, ..here }] {
            assert!(mac.verify(place, &sealed).is_err(), "{place:?}");
        }
        for byte in 0..sealed.len() {
            sealed[byte] ^= 1;
            assert!(mac.verify(here, &sealed).is_err(), "byte {byte}");
            sealed[byte] ^= 1;
        }
        assert!(mac.verify(here, &sealed[..15]).is_err());
    }
}
