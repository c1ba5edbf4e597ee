//! Sealing rows: as many lanes as there are segments, in one loop with their hash, then each segment's end.
//!
//! All segments are full, but for the last of a stream: its whole windows run beside the others', then they go on
//! without it, and its end is made block by block.
#![allow(unsafe_code)] // The one reason: the loops take pointers into the rows.

use zeroize::Zeroizing;

use super::{
    blocks::{encrypt, ivs_and_masks},
    ghash::HashKeys,
    kernels::{self, Encrypt, EncryptJob, GROUPS_MAX, WINDOW_LEN},
    wide::Line,
};
use crate::{
    cbc::{path::Vaes512, round_keys::EncryptKeys},
    layout::{BLOCK_LEN, SEGMENT_OVERHEAD},
    segment::{Rows, SegmentKeys},
};

/// The keys of one stream, laid out for the loops; wiped on drop, and never moved.
pub(crate) struct Seals {
    has: Vaes512,
    seal: kernels::SealKeys,
    iv: EncryptKeys,
    mac: EncryptKeys,
}

/// Lanes of one loop at most.
const LANES_MAX: usize = 4 * GROUPS_MAX;
/// What a batch is a multiple of. With the hash, 16 lanes are as fast as 24 (docs/sweep.svg), and none of them idle.
const LANES: usize = 16;

impl Seals {
    pub(crate) fn new(has: Vaes512, keys: &SegmentKeys<'_>) -> Box<Self> {
        let (seal, iv, mac) = Default::default();
        let mut seals = Box::new(Self { has, seal, iv, mac });
        seals.seal.enc.fill(has.aesni(), keys.enc);
        seals.iv.fill(has.aesni(), keys.iv);
        seals.mac.fill(has.aesni(), keys.mac);
        let [hash] = encrypt(has, &seals.mac, [Line::default()]);
        seals.seal.hash.fill(has, hash.0[0]);
        seals
    }

    /// Seals every row: up to 24 in one loop, more in loops of 16 or a little fewer.
    pub(crate) fn seal(&self, rows: &mut Rows<'_>) {
        let count = rows.count();
        let loops = if count <= LANES_MAX { 1 } else { count.div_ceil(LANES) };
        let per_loop = count.div_ceil(loops);
        for first in (0..count).step_by(per_loop) {
            let lanes = first..count.min(first + per_loop);
            match lanes.len().div_ceil(4) {
                1 => self.seal_lanes::<1>(rows, lanes),
                2 => self.seal_lanes::<2>(rows, lanes),
                3 => self.seal_lanes::<3>(rows, lanes),
                4 => self.seal_lanes::<4>(rows, lanes),
                5 => self.seal_lanes::<5>(rows, lanes),
                _ => self.seal_lanes::<6>(rows, lanes),
            }
        }
    }

    fn seal_lanes<const GROUPS: usize>(&self, rows: &mut Rows<'_>, lanes: std::ops::Range<usize>)
    where
        EncryptJob<GROUPS>: Encrypt<GROUPS>,
    {
        let (first, mut count) = (lanes.start, lanes.len());
        let place = |lane: usize| rows.place(first + if lane < count { lane } else { 0 });
        let (ivs, masks) = ivs_and_masks::<GROUPS>(self.has, &self.iv, &self.mac, place);
        let masks = masks.map(|line| line.0);
        let mut job = EncryptJob::new(ivs);
        let mut done = 0;
        let short = lanes.end - 1;
        if rows.text_len(short) < rows.segment_len {
            done = rows.text_len(short) / WINDOW_LEN * WINDOW_LEN;
            self.seal_windows(&mut job, rows, first, count, 0..done);
            count -= 1;
            let (sums, chain) = (&job.sums.as_flattened()[count], job.chains[count / 4].0[count % 4]);
            self.end_short(rows, short, done, chain, sums, masks.as_flattened()[count]);
        }
        if count > 0 {
            self.seal_windows(&mut job, rows, first, count, done..rows.segment_len);
            self.end_full(rows, first, count, &job, masks.as_flattened());
        }
    }

    /// The bytes `part` of `count` rows, a whole number of windows.
    fn seal_windows<const GROUPS: usize>(
        &self,
        job: &mut EncryptJob<GROUPS>,
        rows: &mut Rows<'_>,
        first: usize,
        count: usize,
        part: std::ops::Range<usize>,
    ) where
        EncryptJob<GROUPS>: Encrypt<GROUPS>,
    {
        if part.is_empty() {
            return;
        }
        let (stride, segment_len, end) = (rows.stride(), rows.segment_len, first + count);
        assert!((end - 1) * stride + part.end <= rows.sealed.len(), "every row is inside");
        assert!(part.end <= segment_len && part.len().is_multiple_of(WINDOW_LEN) && count <= 4 * GROUPS);
        let output = rows.sealed.as_mut_ptr();
        let (input, input_stride) = match rows.plain {
            Some(plain) => {
                assert!((end - 1) * segment_len + part.end <= plain.len(), "every row is inside");
                (plain.as_ptr(), segment_len)
            }
            None => (output.cast_const(), stride),
        };
        let lane = |lane: usize| {
            let row = first + lane;
            (input.wrapping_add(row * input_stride + part.start), output.wrapping_add(row * stride + part.start))
        };
        // SAFETY: the asserts above keep every lane inside its buffer; rows do not overlap, since a stride is longer
        // than a segment; and `plain` is borrowed beside `sealed`, so it is apart from it.
        unsafe { job.seal(self.has, &self.seal, count, lane, part.len()) }
    }

    /// The last block of full rows, all padding, and their tags.
    fn end_full<const GROUPS: usize>(
        &self,
        rows: &mut Rows<'_>,
        first: usize,
        count: usize,
        job: &EncryptJob<GROUPS>,
        masks: &[u128],
    ) {
        let padding = u128::from_ne_bytes([BLOCK_LEN as u8; BLOCK_LEN]);
        let padded = job.chains.map(|line| Line(line.0.map(|chain| chain ^ padding)));
        let lasts = encrypt(self.has, &self.seal.enc, padded);
        let lasts = lasts.iter().flat_map(|line| line.0);
        let (stride, segment_len) = (rows.stride(), rows.segment_len);
        let ends = rows.sealed.chunks_mut(stride).skip(first).take(count);
        for (((row, last), sums), mask) in ends.zip(lasts).zip(job.sums.as_flattened()).zip(masks) {
            let hash = self.hash().end_after_block(self.has, sums, last, segment_len + BLOCK_LEN);
            let (last_block, tag) = row[segment_len..].split_at_mut(BLOCK_LEN);
            last_block.copy_from_slice(&last.to_ne_bytes());
            tag.copy_from_slice(&(hash ^ mask).to_ne_bytes());
        }
    }

    /// What is left of the short row after `done` bytes, less than a window, with its padding and its tag.
    fn end_short(&self, rows: &mut Rows<'_>, row: usize, done: usize, chain: u128, sums: &Line, mask: u128) {
        let (text_len, stride) = (rows.text_len(row), rows.stride());
        let sealed = &mut rows.sealed[row * stride..];
        let text = match rows.plain {
            Some(plain) => &plain[row * rows.segment_len..][done..text_len],
            None => &sealed[done..text_len],
        };
        let mut end = Zeroizing::new([[0u8; BLOCK_LEN]; WINDOW_LEN / BLOCK_LEN]);
        let count = text.len() / BLOCK_LEN + 1;
        let padding_len = count * BLOCK_LEN - text.len();
        end.as_flattened_mut()[..text.len()].copy_from_slice(text);
        end.as_flattened_mut()[text.len()..][..padding_len].fill(padding_len as u8);
        let blocks = &mut end[..count];
        let mut chain = chain;
        for block in blocks.iter_mut() {
            let [line] = encrypt(self.has, &self.seal.enc, [Line([chain ^ u128::from_ne_bytes(*block), 0, 0, 0])]);
            chain = line.0[0];
            *block = chain.to_ne_bytes();
        }
        let ciphertext_len = done + blocks.as_flattened().len();
        let hash = self.hash().end_after_blocks(self.has, sums, blocks, ciphertext_len);
        sealed[done..ciphertext_len].copy_from_slice(blocks.as_flattened());
        sealed[ciphertext_len..][..SEGMENT_OVERHEAD - BLOCK_LEN].copy_from_slice(&(hash ^ mask).to_ne_bytes());
    }

    fn hash(&self) -> &HashKeys {
        &self.seal.hash
    }
}
