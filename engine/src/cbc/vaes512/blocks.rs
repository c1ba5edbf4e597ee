//! AES of blocks that do not depend on each other, four a register: IVs, tag masks, the ends of segments.
#![allow(unsafe_code)] // The one reason: calls into functions that need VAES.

use std::arch::x86_64::{
    __m512i, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_xor_si512,
};

use super::wide::{Line, load, store};
use crate::{
    cbc::{
        path::Vaes512,
        round_keys::{self, DecryptKeys, EncryptKeys},
    },
    tag::Place,
};

/// Encrypts some lines at once.
pub(super) fn encrypt<const LINES: usize>(_has: Vaes512, keys: &EncryptKeys, lines: [Line; LINES]) -> [Line; LINES] {
    // SAFETY: `_has` proves the instructions.
    unsafe { encrypt_lines(keys, lines) }
}

/// Decrypts one line.
pub(super) fn decrypt_one_line(_has: Vaes512, keys: &DecryptKeys, line: &Line) -> Line {
    // SAFETY: `_has` proves the instructions.
    unsafe { decrypt_line(keys, line) }
}

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt_lines<const LINES: usize>(keys: &EncryptKeys, lines: [Line; LINES]) -> [Line; LINES] {
    let key = |round: usize| _mm512_broadcast_i32x4(round_keys::load(&keys.0[round]));
    let first = key(0);
    let mut states = lines.map(|line| _mm512_xor_si512(load(&line), first));
    for round in 1..14 {
        let key = key(round);
        for state in &mut states {
            *state = _mm512_aesenc_epi128(*state, key);
        }
    }
    let last = key(14);
    states.map(|state| store(_mm512_aesenclast_epi128(state, last)))
}

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn decrypt_line(keys: &DecryptKeys, line: &Line) -> Line {
    let key = |round: usize| -> __m512i { _mm512_broadcast_i32x4(round_keys::load(&keys.0[round])) };
    let mut state = _mm512_xor_si512(load(line), key(0));
    for round in 1..14 {
        state = _mm512_aesdec_epi128(state, key(round));
    }
    store(_mm512_aesdeclast_epi128(state, key(14)))
}

/// The IV of each place, and what its tag is masked with (SP 800-38D, section 7.1: the first counter block).
pub(super) fn ivs_and_masks<const LINES: usize>(
    has: Vaes512,
    iv: &EncryptKeys,
    mac: &EncryptKeys,
    place: impl Fn(usize) -> Place,
) -> ([Line; LINES], [Line; LINES]) {
    let (mut indices, mut counters) = ([Line::default(); LINES], [Line::default(); LINES]);
    let lanes = indices.iter_mut().flat_map(|line| &mut line.0).zip(counters.iter_mut().flat_map(|line| &mut line.0));
    for (lane, (index, counter)) in lanes.enumerate() {
        let place = place(lane);
        *index = u128::from(place.index).to_be();
        *counter = (place.nonce_number() << 32 | 1).to_be();
    }
    (encrypt(has, iv, indices), encrypt(has, mac, counters))
}
