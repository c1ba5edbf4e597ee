//! The AES-256 key schedule in plain memory, for kernels of our own.
//!
//! Made with the processor's own instruction, so no table is looked up by a secret index. Filled in its last place, and
//! wiped on drop. The plain twin is the `aes` crate, whose own schedule cannot be read.
#![allow(unsafe_code)] // The one reason: intrinsics that need AES-NI.

use std::arch::x86_64::{
    __m128i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_storeu_si128, _mm_xor_si128,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::path::AesNi;

/// The round keys of an encryption, in the order they are used, each as it lies in memory.
#[repr(C, align(64))]
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(crate) struct EncryptKeys(pub(crate) [u128; 15]);

/// Those of the equivalent inverse cipher (FIPS 197, section 5.3.5).
#[repr(C, align(64))]
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(crate) struct DecryptKeys(pub(crate) [u128; 15]);

impl EncryptKeys {
    /// Expands `key`, in place.
    pub(crate) fn fill(&mut self, _has: AesNi, key: &[u8; 32]) {
        // SAFETY: `_has` proves the instructions.
        unsafe { expand(key, &mut self.0) };
    }
}

impl DecryptKeys {
    /// Takes the keys of the same key's encryption, the other way round.
    pub(crate) fn fill(&mut self, _has: AesNi, keys: &EncryptKeys) {
        // SAFETY: `_has` proves the instructions.
        unsafe { invert(&keys.0, &mut self.0) };
    }
}

#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8; 32], keys: &mut [u128; 15]) {
    let ([low, high], _) = key.as_chunks::<16>() else { return };
    (keys[0], keys[1]) = (u128::from_ne_bytes(*low), u128::from_ne_bytes(*high));
    macro_rules! even {
        ($nth:literal) => {
            let word = _mm_aeskeygenassist_si128::<{ 1 << ($nth - 1) }>(load(&keys[2 * $nth - 1]));
            keys[2 * $nth] = next(load(&keys[2 * $nth - 2]), _mm_shuffle_epi32::<0xff>(word));
        };
    }
    macro_rules! odd {
        ($nth:literal) => {
            let word = _mm_aeskeygenassist_si128::<0>(load(&keys[2 * $nth]));
            keys[2 * $nth + 1] = next(load(&keys[2 * $nth - 1]), _mm_shuffle_epi32::<0xaa>(word));
        };
    }
    even!(1);
    odd!(1);
    even!(2);
    odd!(2);
    even!(3);
    odd!(3);
    even!(4);
    odd!(4);
    even!(5);
    odd!(5);
    even!(6);
    odd!(6);
    even!(7);
}

/// Each word plus all words before it, plus the word that the round function gave.
#[target_feature(enable = "sse2")]
fn next(words: __m128i, word: __m128i) -> u128 {
    let words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    let words = _mm_xor_si128(words, _mm_slli_si128::<8>(words));
    store(_mm_xor_si128(words, word))
}

#[target_feature(enable = "aes,sse2")]
fn invert(enc: &[u128; 15], dec: &mut [u128; 15]) {
    (dec[0], dec[14]) = (enc[14], enc[0]);
    for round in 1..14 {
        dec[round] = store(_mm_aesimc_si128(load(&enc[14 - round])));
    }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn load(value: &u128) -> __m128i {
    // SAFETY: a u128 is 16 readable bytes, all of them initialised.
    unsafe { _mm_loadu_si128((&raw const *value).cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn store(value: __m128i) -> u128 {
    let mut stored = 0;
    // SAFETY: a u128 is 16 writable bytes, and any bytes are a u128.
    unsafe { _mm_storeu_si128((&raw mut stored).cast(), value) };
    stored
}

/// The same of a block, which has no alignment.
#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn load_block(block: &[u8; 16]) -> __m128i {
    // SAFETY: a block is 16 readable bytes.
    unsafe { _mm_loadu_si128((&raw const *block).cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn store_block(value: __m128i, block: &mut [u8; 16]) {
    // SAFETY: a block is 16 writable bytes.
    unsafe { _mm_storeu_si128((&raw mut *block).cast(), value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix A.3; and the inverse of the inverse is where it began.
    #[test]
    fn the_schedule_is_that_of_the_standard() {
        let Some(has) = AesNi::detect() else { return println!("absent: aesni") };
        let key = [0x603deb1015ca71be2b73aef0857d7781_u128, 0x1f352c073b6108d72d9810a30914dff4];
        let mut keys = EncryptKeys::default();
        keys.fill(has, &key.map(u128::to_be_bytes).concat().try_into().unwrap());
        assert_eq!(keys.0[..2], key.map(u128::to_be));
        assert_eq!(keys.0[2], 0x9ba354118e6925afa51a8b5f2067fcde_u128.to_be());
        assert_eq!(keys.0[14], 0xfe4890d1e6188d0b046df344706c631e_u128.to_be());
        let mut inverse = DecryptKeys::default();
        inverse.fill(has, &keys);
        assert_eq!((inverse.0[0], inverse.0[14]), (keys.0[14], keys.0[0]));
    }
}
