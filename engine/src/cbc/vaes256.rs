//! CBC with VAES on 32-byte registers: blocks of 24 lanes at once, two a register, or 16 blocks of one ciphertext.
//! Twin: `portable`.
//!
//! Twelve states leave four registers, so the round keys come from memory, each twice over.
#![allow(unsafe_code)] // The one reason: intrinsics that need VAES, over pointers into the lanes.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128,
    _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_set_m128i, _mm256_storeu_si256, _mm256_xor_si256,
};

use zeroize::Zeroizing;

use super::{
    Lane,
    path::Vaes256,
    round_keys::{DecryptKeys, EncryptKeys, load, load_block, store},
};

type Block = [u8; 16];
/// Registers of state: 24 lanes, or 16 where fewer are left.
const WIDE: usize = 12;
const NARROW: usize = 8;

/// Encrypts lanes of equal length.
pub(super) fn encrypt_lanes(_has: Vaes256, keys: &EncryptKeys, lanes: &mut [Lane<'_>]) {
    let mut rest = lanes;
    while !rest.is_empty() {
        // 32 lanes are twice 16, not 24 and 8.
        let wide = rest.len() > 2 * NARROW && rest.len() != 4 * NARROW;
        let (now, later) = rest.split_at_mut(rest.len().min(if wide { 2 * WIDE } else { 2 * NARROW }));
        let len = now.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        if wide {
            // SAFETY: `_has` proves the instructions, and each of the 1 to 24 lanes has `len` blocks.
            unsafe { encrypt_pairs::<WIDE>(keys, now, len) }
        } else {
            // SAFETY: `_has` proves the instructions, and each of the 1 to 16 lanes has `len` blocks.
            unsafe { encrypt_pairs::<NARROW>(keys, now, len) }
        }
        rest = later;
    }
}

/// # Safety
/// There are 1 to `2 * PAIRS` lanes of at least `len` blocks. Registers that they do not fill repeat the first.
#[target_feature(enable = "vaes,aes,avx2")]
unsafe fn encrypt_pairs<const PAIRS: usize>(keys: &EncryptKeys, lanes: &mut [Lane<'_>], len: usize) {
    let keys = twice(&keys.0);
    let place = |lane: usize| if lane < lanes.len() { lane } else { 0 };
    let chain = |lane: usize| load(&u128::from_ne_bytes(lanes[place(lane)].chain));
    let mut states: [__m256i; PAIRS] =
        std::array::from_fn(|pair| _mm256_set_m128i(chain(2 * pair + 1), chain(2 * pair)));
    let mut places = [[std::ptr::null_mut::<Block>(); 2]; PAIRS];
    for (nth, pointer) in places.as_flattened_mut().iter_mut().enumerate() {
        *pointer = lanes[if nth < lanes.len() { nth } else { 0 }].blocks.as_mut_ptr();
    }
    for nth in 0..len {
        // All lanes are read before one is written, so that a repeated lane reads what the first one does.
        for (state, pair) in states.iter_mut().zip(&places) {
            // SAFETY: each lane has `len` blocks, by the caller's word.
            let low: __m128i = unsafe { _mm_loadu_si128(pair[0].wrapping_add(nth).cast()) };
            // SAFETY: as above.
            let high: __m128i = unsafe { _mm_loadu_si128(pair[1].wrapping_add(nth).cast()) };
            *state = _mm256_xor_si256(_mm256_xor_si256(*state, wide(&keys[0])), _mm256_set_m128i(high, low));
        }
        for key in &keys[1..14] {
            let key = wide(key);
            for state in &mut states {
                *state = _mm256_aesenc_epi128(*state, key);
            }
        }
        let key = wide(&keys[14]);
        for (state, pair) in states.iter_mut().zip(&places) {
            *state = _mm256_aesenclast_epi128(*state, key);
            let [low, high] = halves(*state);
            // SAFETY: each lane has `len` blocks, by the caller's word.
            unsafe { _mm_storeu_si128(pair[0].wrapping_add(nth).cast(), low) };
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(pair[1].wrapping_add(nth).cast(), high) };
        }
    }
    for (pair, state) in lanes.chunks_mut(2).zip(states) {
        for (lane, half) in pair.iter_mut().zip(halves(state)) {
            lane.chain = store(half).to_ne_bytes();
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(pair: __m256i) -> [__m128i; 2] {
    [_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair)]
}

/// Decrypts `ciphertext` into `plain`, which is as long.
pub(super) fn decrypt(_has: Vaes256, keys: &DecryptKeys, iv: &Block, ciphertext: &[Block], plain: &mut [Block]) {
    // SAFETY: `_has` proves the instructions.
    unsafe { decrypt_blocks(keys, iv, ciphertext, plain) }
}

#[target_feature(enable = "vaes,aes,avx2")]
fn decrypt_blocks(keys: &DecryptKeys, iv: &Block, ciphertext: &[Block], plain: &mut [Block]) {
    let keys = twice(&keys.0);
    let mut before = load_block(iv);
    let at = ciphertext.len() / (2 * NARROW) * (2 * NARROW);
    let ((wholes, rest), (plain_wholes, plain_rest)) = (ciphertext.split_at(at), plain.split_at_mut(at));
    let wholes = wholes.as_chunks::<2>().0.as_chunks().0;
    for (ciphertext, plain) in wholes.iter().zip(plain_wholes.as_chunks_mut::<2>().0.as_chunks_mut().0) {
        decrypt_whole(&keys, &mut before, ciphertext, plain);
    }
    if !rest.is_empty() {
        let (mut ciphertext, mut plain) = ([[[0; 16]; 2]; NARROW], Zeroizing::new([[[0; 16]; 2]; NARROW]));
        ciphertext.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
        decrypt_whole(&keys, &mut before, &ciphertext, &mut plain);
        plain_rest.copy_from_slice(&plain.as_flattened()[..rest.len()]);
    }
}

#[inline]
#[target_feature(enable = "vaes,aes,avx2")]
fn decrypt_whole(
    keys: &[[u128; 2]; 15],
    before: &mut __m128i,
    ciphertext: &[[Block; 2]; NARROW],
    plain: &mut [[Block; 2]; NARROW],
) {
    let first = wide(&keys[0]);
    let mut states: [__m256i; NARROW] = std::array::from_fn(|nth| _mm256_xor_si256(load_pair(&ciphertext[nth]), first));
    for key in &keys[1..14] {
        let key = wide(key);
        for state in &mut states {
            *state = _mm256_aesdec_epi128(*state, key);
        }
    }
    let last = wide(&keys[14]);
    for nth in 0..NARROW {
        let [low, high] = &ciphertext[nth];
        let chained = _mm256_set_m128i(load_block(low), *before);
        store_pair(_mm256_xor_si256(_mm256_aesdeclast_epi128(states[nth], last), chained), &mut plain[nth]);
        *before = load_block(high);
    }
}

/// Every round key twice, so that one load fills a register.
#[target_feature(enable = "avx2")]
fn twice(keys: &[u128; 15]) -> Zeroizing<[[u128; 2]; 15]> {
    Zeroizing::new(keys.map(|key| [key; 2]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide(pair: &[u128; 2]) -> __m256i {
    // SAFETY: two u128 are 32 readable bytes, all of them initialised.
    unsafe { _mm256_loadu_si256((&raw const *pair).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_pair(pair: &[Block; 2]) -> __m256i {
    // SAFETY: two blocks are 32 readable bytes.
    unsafe { _mm256_loadu_si256((&raw const *pair).cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_pair(value: __m256i, pair: &mut [Block; 2]) {
    // SAFETY: two blocks are 32 writable bytes.
    unsafe { _mm256_storeu_si256((&raw mut *pair).cast(), value) };
}
