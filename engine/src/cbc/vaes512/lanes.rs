//! Plain CBC of lanes with the same loops, without the hash: how they are tested and measured by themselves.
#![allow(unsafe_code)] // The one reason: the loops take pointers into the lanes.

use super::{
    blocks::{decrypt_one_line, encrypt},
    kernels::{DecryptJob, Encrypt, EncryptJob, GROUPS_MAX, LINE_LEN, STRIDE_LEN},
    wide::Line,
};
use crate::{
    cbc::{
        Lane,
        path::Vaes512,
        round_keys::{DecryptKeys, EncryptKeys},
    },
    layout::BLOCK_LEN,
};

/// Encrypts lanes of equal length, up to 24 at once.
pub(crate) fn encrypt_lanes(has: Vaes512, keys: &EncryptKeys, lanes: &mut [Lane<'_>]) {
    let per_loop = lanes.len().div_ceil(lanes.len().div_ceil(4 * GROUPS_MAX).max(1)).max(1);
    for lanes in lanes.chunks_mut(per_loop) {
        match lanes.len().div_ceil(4) {
            1 => encrypt_groups::<1>(has, keys, lanes),
            2 => encrypt_groups::<2>(has, keys, lanes),
            3 => encrypt_groups::<3>(has, keys, lanes),
            4 => encrypt_groups::<4>(has, keys, lanes),
            5 => encrypt_groups::<5>(has, keys, lanes),
            _ => encrypt_groups::<6>(has, keys, lanes),
        }
    }
}

fn encrypt_groups<const GROUPS: usize>(has: Vaes512, keys: &EncryptKeys, lanes: &mut [Lane<'_>])
where
    EncryptJob<GROUPS>: Encrypt<GROUPS>,
{
    let len = lanes.iter().map(|lane| lane.blocks.as_flattened().len()).min().unwrap_or(0) / LINE_LEN * LINE_LEN;
    let mut chains = [Line::default(); GROUPS];
    for (chain, lane) in chains.iter_mut().flat_map(|line| &mut line.0).zip(&*lanes) {
        *chain = u128::from_ne_bytes(lane.chain);
    }
    let mut job = EncryptJob::new(chains);
    let pointers: Vec<_> = lanes.iter_mut().map(|lane| lane.blocks.as_mut_ptr().cast::<u8>()).collect();
    if len > 0 {
        let place = |lane: usize| (pointers[lane].cast_const(), pointers[lane]);
        // SAFETY: every lane is exclusively borrowed, encrypted in place, and at least `len` bytes long.
        unsafe { job.encrypt(has, keys, pointers.len(), place, len) }
    }
    for (lane, chain) in lanes.iter_mut().zip(job.chains.iter().flat_map(|line| line.0)) {
        let mut chain = chain;
        for block in &mut lane.blocks[len / BLOCK_LEN..] {
            let [line] = encrypt(has, keys, [Line([chain ^ u128::from_ne_bytes(*block), 0, 0, 0])]);
            chain = line.0[0];
            *block = chain.to_ne_bytes();
        }
        lane.chain = chain.to_ne_bytes();
    }
}

/// Decrypts `ciphertext` into `plain`, which is as long.
pub(crate) fn decrypt(
    has: Vaes512,
    keys: &DecryptKeys,
    iv: &[u8; BLOCK_LEN],
    ciphertext: &[[u8; BLOCK_LEN]],
    plain: &mut [[u8; BLOCK_LEN]],
) {
    let whole = ciphertext.len() / (STRIDE_LEN / BLOCK_LEN) * (STRIDE_LEN / BLOCK_LEN);
    let mut job = DecryptJob::new(u128::from_ne_bytes(*iv));
    job.decrypt(has, keys, ciphertext[..whole].as_flattened(), plain[..whole].as_flattened_mut());
    let mut before = job.chain();
    for (block, plain) in ciphertext[whole..].iter().zip(&mut plain[whole..]) {
        let line = decrypt_one_line(has, keys, &Line([u128::from_ne_bytes(*block), 0, 0, 0]));
        *plain = (line.0[0] ^ before).to_ne_bytes();
        before = u128::from_ne_bytes(*block);
    }
}
