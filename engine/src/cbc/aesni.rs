//! CBC with AES-NI: blocks of 8 lanes at once, or 12 blocks of one ciphertext. Twin: `portable`.
//!
//! Eight blocks hide the latency of the round instruction; round keys come from memory, which costs nothing beside it.
#![allow(unsafe_code)] // The one reason: intrinsics that need AES-NI, over pointers into the lanes.

use std::arch::x86_64::{
    __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_loadu_si128,
    _mm_storeu_si128, _mm_xor_si128,
};

use super::{
    Lane,
    path::AesNi,
    round_keys::{DecryptKeys, EncryptKeys, load, load_block, store, store_block},
};

type Block = [u8; 16];
/// Two rounds start in a cycle and each takes four, so eight lanes are just enough: 56 cycles of work for a block of each,
/// 57 of latency, 62 measured (0.90 of the ceiling). Ten came out at 0.88, twelve at 0.86, and two fours that run half a
/// block apart at 0.83.
const LANES: usize = 8;
const DECRYPTED: usize = 12;

/// Encrypts lanes of equal length.
pub(super) fn encrypt_lanes(_has: AesNi, keys: &EncryptKeys, lanes: &mut [Lane<'_>]) {
    for lanes in lanes.chunks_mut(LANES) {
        let len = lanes.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        // SAFETY: `_has` proves the instructions, and each of the 1 to 8 lanes has `len` blocks.
        unsafe { encrypt_eight(keys, lanes, len) }
    }
}

/// # Safety
/// There are 1 to 8 lanes of at least `len` blocks. Registers that they do not fill repeat the first.
#[target_feature(enable = "aes,avx")]
unsafe fn encrypt_eight(keys: &EncryptKeys, lanes: &mut [Lane<'_>], len: usize) {
    let last = lanes.len() - 1;
    let mut states: [__m128i; LANES] = std::array::from_fn(|lane| {
        let lane = &lanes[if lane > last { 0 } else { lane }];
        load(&u128::from_ne_bytes(lane.chain))
    });
    let mut places = [std::ptr::null_mut::<Block>(); LANES];
    for (nth, place) in places.iter_mut().enumerate() {
        *place = lanes[if nth > last { 0 } else { nth }].blocks.as_mut_ptr();
    }
    for nth in 0..len {
        // All lanes are read before one is written, so that a repeated lane reads what the first one does.
        let first = load(&keys.0[0]);
        for (state, place) in states.iter_mut().zip(&places) {
            // SAFETY: each lane has `len` blocks, by the caller's word.
            let block = unsafe { _mm_loadu_si128(place.wrapping_add(nth).cast()) };
            *state = _mm_xor_si128(*state, _mm_xor_si128(block, first));
        }
        for key in &keys.0[1..14] {
            let key = load(key);
            for state in &mut states {
                *state = _mm_aesenc_si128(*state, key);
            }
        }
        let key = load(&keys.0[14]);
        for (state, place) in states.iter_mut().zip(&places) {
            *state = _mm_aesenclast_si128(*state, key);
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(place.wrapping_add(nth).cast(), *state) };
        }
    }
    for (lane, state) in lanes.iter_mut().zip(states) {
        lane.chain = store(state).to_ne_bytes();
    }
}

/// Decrypts `ciphertext` into `plain`, which is as long.
pub(super) fn decrypt(_has: AesNi, keys: &DecryptKeys, iv: &Block, ciphertext: &[Block], plain: &mut [Block]) {
    // SAFETY: `_has` proves the instructions.
    unsafe { decrypt_blocks(keys, iv, ciphertext, plain) }
}

#[target_feature(enable = "aes,avx")]
fn decrypt_blocks(keys: &DecryptKeys, iv: &Block, ciphertext: &[Block], plain: &mut [Block]) {
    let mut before = load_block(iv);
    let (eights, rest) = ciphertext.as_chunks::<DECRYPTED>();
    let (plain_eights, plain_rest) = plain.as_chunks_mut::<DECRYPTED>();
    for (ciphertext, plain) in eights.iter().zip(plain_eights) {
        decrypt_wide(keys, &mut before, ciphertext, plain);
    }
    for (ciphertext, plain) in rest.iter().zip(plain_rest) {
        decrypt_wide(keys, &mut before, &[*ciphertext], std::array::from_mut(plain));
    }
}

#[inline]
#[target_feature(enable = "aes,avx")]
fn decrypt_wide<const BLOCKS: usize>(
    keys: &DecryptKeys,
    before: &mut __m128i,
    ciphertext: &[Block; BLOCKS],
    plain: &mut [Block; BLOCKS],
) {
    let first = load(&keys.0[0]);
    let mut states: [__m128i; BLOCKS] = std::array::from_fn(|nth| _mm_xor_si128(load_block(&ciphertext[nth]), first));
    for key in &keys.0[1..14] {
        let key = load(key);
        for state in &mut states {
            *state = _mm_aesdec_si128(*state, key);
        }
    }
    let last = load(&keys.0[14]);
    for nth in 0..BLOCKS {
        let chained = _mm_xor_si128(*before, _mm_aesdeclast_si128(states[nth], last));
        store_block(chained, &mut plain[nth]);
        *before = load_block(&ciphertext[nth]);
    }
}
