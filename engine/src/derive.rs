//! One HKDF expand per sealed stream: the keys of its segments and the commitment of its header.
//!
//! The data key is uniform, so it is the PRK itself (RFC 5869 section 3.3; SP 800-108 feedback mode). One expand of
//! 128 bytes, because key derivation is the largest cost of a small object. Whatever is derived is wiped here or
//! lives in a cipher that wipes itself.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

use crate::{
    context::ContextDigest,
    error::CipherFailed,
    header::{Commitment, PREFIX_LEN},
    key::DataKey,
    segment::SegmentKeys,
};

/// The keys of one sealed stream (one salt, one context, one data key), on their way into a cipher. All zero until they
/// are derived where they stay: a move would leave a copy behind.
#[derive(Default)]
pub(crate) struct StreamKeys(Zeroizing<[[u8; 32]; 4]>);

impl StreamKeys {
    /// Derives the keys; and the commitment that only this data key and this context give.
    pub(crate) fn derive(
        &mut self,
        key: &DataKey,
        prefix: &[u8; PREFIX_LEN],
        context: &ContextDigest,
    ) -> Result<Commitment, CipherFailed> {
        expand(key, &[b"strongroom/1", prefix, context.as_bytes()], self.0.as_flattened_mut())?;
        Ok(Commitment::from_bytes(self.0[3]))
    }

    pub(crate) fn segment_keys(&self) -> SegmentKeys<'_> {
        let [enc, iv, mac, _] = &*self.0;
        SegmentKeys { enc, iv, mac }
    }
}

/// HKDF-Expand with SHA-256, the parent being the PRK.
pub(crate) fn expand(parent: &DataKey, info: &[&[u8]], out: &mut [u8]) -> Result<(), CipherFailed> {
    let mut prk = Prk::new_less_safe(HKDF_SHA256, parent.expose());
    let filled = prk.expand(info, Len(out.len())).and_then(|okm| okm.fill(out));
    // The library keeps the PRK in its own value and does not wipe it: overwrite it, in a way the compiler must keep.
    prk = Prk::new_less_safe(HKDF_SHA256, &[0; 32]);
    std::hint::black_box(&prk);
    filled.map_err(|_| CipherFailed)
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869 by the letter: T(n) = HMAC(PRK, T(n-1) | info | n).
    fn expand_by_the_letter(prk: &[u8], info: &[u8], len: usize) -> Vec<u8> {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, prk);
        let (mut out, mut previous) = (Vec::new(), Vec::new());
        for n in 1u8.. {
            if out.len() >= len {
                break;
            }
            previous = hmac::sign(&key, &[&previous, info, &[n]].concat()).as_ref().to_vec();
            out.extend(&previous);
        }
        out.truncate(len);
        out
    }

    #[test]
    fn the_expand_is_that_of_the_rfc() {
        let key = DataKey::from_bytes(&mut [3; 32]);
        for (info, len) in [(&[5u8; 108][..], 128), (&[6; 70], 32), (&[], 1)] {
            let mut out = vec![0; len];
            expand(&key, &[info], &mut out).unwrap();
            assert_eq!(out, expand_by_the_letter(&[3; 32], info, len));
        }
    }
}
