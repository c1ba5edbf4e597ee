//! Lanes in step, and their encryption by the `aes` crate: the path of ARMv8 and of processors without AES.
//!
//! The crate runs as many blocks at once as its hardware or its bit-slicing wants, up to 64; all of it is constant-time.
//! Nothing here is unsafe.

use aes::{Aes256, Block, cipher::BlockCipherEncrypt};
use zeroize::Zeroizing;

use super::Lane;
use crate::layout::BLOCK_LEN;

/// What fills the crate's widest backend, 16 registers of four blocks.
const LANES_MAX: usize = 64;

/// Encrypts lanes of any lengths by calls of `encrypt` with lanes of equal length: all run until the shortest has ended,
/// then the others go on.
pub(super) fn in_step(lanes: &mut [Lane<'_>], encrypt: impl Fn(&mut [Lane<'_>])) {
    let mut running: Vec<_> = lanes.iter_mut().collect();
    loop {
        running.retain(|lane| !lane.blocks.is_empty());
        let Some(len) = running.iter().map(|lane| lane.blocks.len()).min() else { return };
        let mut parts: Vec<_> = running
            .iter_mut()
            .map(|lane| {
                let (part, rest) = std::mem::take(&mut lane.blocks).split_at_mut(len);
                lane.blocks = rest;
                Lane { chain: lane.chain, blocks: part }
            })
            .collect();
        encrypt(&mut parts);
        for (lane, part) in running.iter_mut().zip(parts) {
            lane.chain = part.chain;
        }
    }
}

/// Encrypts lanes of equal length.
pub(super) fn encrypt(key: &Aes256, lanes: &mut [Lane<'_>]) {
    let mut states = Zeroizing::new([[0; BLOCK_LEN]; LANES_MAX]);
    for lanes in lanes.chunks_mut(LANES_MAX) {
        let states = &mut states[..lanes.len()];
        for (state, lane) in states.iter_mut().zip(&*lanes) {
            *state = lane.chain;
        }
        for nth in 0..lanes.first().map_or(0, |lane| lane.blocks.len()) {
            for (state, lane) in states.iter_mut().zip(&*lanes) {
                *state = (u128::from_ne_bytes(*state) ^ u128::from_ne_bytes(lane.blocks[nth])).to_ne_bytes();
            }
            key.encrypt_blocks(Block::cast_slice_from_core_mut(states));
            for (state, lane) in states.iter().zip(&mut *lanes) {
                lane.blocks[nth] = *state;
            }
        }
        for (state, lane) in states.iter().zip(lanes) {
            lane.chain = *state;
        }
    }
}
