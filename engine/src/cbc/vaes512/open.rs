//! Opening one segment: decryption and hash in one loop over its blocks, then the end, then the tag.
//!
//! Plaintext is written before the tag compares, into a buffer that only the caller sees; if the tag is wrong, it is
//! wiped and the answer is the same as for any other damage. What is hashed is what was decrypted: ciphertext is read
//! once, whole strides by the loop, the rest copied before both.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize, Zeroizing};

use super::{
    blocks::{decrypt_one_line, encrypt, ivs_and_masks},
    kernels::{self, DecryptJob, LINE_LEN, STRIDE_LEN},
    wide::Line,
};
use crate::{
    cbc::{path::Vaes512, round_keys::EncryptKeys},
    error::OpenError,
    layout::{BLOCK_LEN, TAG_LEN},
    segment::{OpenRow, SegmentKeys, unpad},
};

/// The keys of one stream, laid out for the loop; wiped on drop, and never moved.
pub(crate) struct Opens {
    has: Vaes512,
    open: kernels::OpenKeys,
    iv: EncryptKeys,
    mac: EncryptKeys,
}

/// IVs and masks made at once.
const HEADS: usize = 16;

impl Opens {
    pub(crate) fn new(has: Vaes512, keys: &SegmentKeys<'_>) -> Box<Self> {
        let (open, iv, mac) = Default::default();
        let mut opens = Box::new(Self { has, open, iv, mac });
        let mut enc = EncryptKeys::default();
        enc.fill(has.aesni(), keys.enc);
        opens.open.dec.fill(has.aesni(), &enc);
        opens.iv.fill(has.aesni(), keys.iv);
        opens.mac.fill(has.aesni(), keys.mac);
        let [hash] = encrypt(has, &opens.mac, [Line::default()]);
        opens.open.hash.fill(has, hash.0[0]);
        opens
    }

    /// Opens segments; on failure the room of the one that failed holds nothing of it.
    pub(crate) fn open(&self, rows: &mut [OpenRow<'_>]) -> Result<(), OpenError> {
        for rows in rows.chunks_mut(HEADS) {
            let place = |nth: usize| rows.get(nth).unwrap_or(&rows[0]).place;
            let (ivs, masks) = ivs_and_masks::<{ HEADS / 4 }>(self.has, &self.iv, &self.mac, place);
            let heads = ivs.iter().flat_map(|line| line.0).zip(masks.iter().flat_map(|line| line.0));
            for (row, (iv, mask)) in rows.iter_mut().zip(heads) {
                self.open_row(row, iv, mask).inspect_err(|_| row.room.zeroize())?;
            }
        }
        Ok(())
    }

    fn open_row(&self, row: &mut OpenRow<'_>, iv: u128, mask: u128) -> Result<(), OpenError> {
        let (ciphertext, tag) = row.sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Refused)?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(OpenError::Refused);
        }
        // At least the last block is left, which ends in padding: the room may end inside it.
        let whole = (ciphertext.len() - BLOCK_LEN) / STRIDE_LEN * STRIDE_LEN;
        let (strides, rest) = ciphertext.split_at(whole);
        let (text, room) = row.room.split_at_mut_checked(whole).ok_or(OpenError::Refused)?;
        let mut job = DecryptJob::new(iv);
        job.open(self.has, &self.open, strides, text);

        let mut end = [[0; BLOCK_LEN]; STRIDE_LEN / BLOCK_LEN];
        let end = &mut end[..rest.len() / BLOCK_LEN];
        end.as_flattened_mut().copy_from_slice(rest);
        let (hash_keys, len) = (&self.open.hash, ciphertext.len());
        let hash = match end {
            [last] => hash_keys.end_after_block(self.has, &job.sum, u128::from_ne_bytes(*last), len),
            _ => hash_keys.end_after_blocks(self.has, &job.sum, end, len),
        };
        verify_slices_are_equal(&(hash ^ mask).to_ne_bytes(), tag).map_err(|_| OpenError::Refused)?;
        row.plain_len = whole + self.open_end(job.chain(), end, room)?;
        Ok(())
    }

    /// The blocks after the last stride, authentic by now, and the end of the padding; gives their plaintext bytes.
    fn open_end(&self, chain: u128, end: &[[u8; BLOCK_LEN]], room: &mut [u8]) -> Result<usize, OpenError> {
        let mut decrypted = Zeroizing::new([Line::default(); STRIDE_LEN / LINE_LEN]);
        let decrypted = &mut decrypted[..end.len().div_ceil(LINE_LEN / BLOCK_LEN)];
        self.decrypt_end(chain, end, decrypted);
        let mut blocks = decrypted.iter().flat_map(|line| line.0).map(u128::to_ne_bytes);
        let (text, rest) = room.split_at_mut_checked((end.len() - 1) * BLOCK_LEN).ok_or(OpenError::Refused)?;
        for (room, block) in text.as_chunks_mut().0.iter_mut().zip(&mut blocks) {
            *room = block;
        }
        let last = Zeroizing::new(blocks.next().ok_or(OpenError::Refused)?);
        let last = unpad(&last)?;
        rest.get_mut(..last.len()).ok_or(OpenError::Refused)?.copy_from_slice(last);
        Ok(text.len() + last.len())
    }

    fn decrypt_end(&self, chain: u128, blocks: &[[u8; BLOCK_LEN]], decrypted: &mut [Line]) {
        let mut before = chain;
        for (four, decrypted) in blocks.chunks(LINE_LEN / BLOCK_LEN).zip(decrypted) {
            let mut line = Line::default();
            for (block, word) in four.iter().zip(&mut line.0) {
                *word = u128::from_ne_bytes(*block);
            }
            *decrypted = decrypt_one_line(self.has, &self.open.dec, &line);
            for (block, word) in line.0.iter().zip(&mut decrypted.0) {
                *word ^= before;
                before = *block;
            }
        }
    }
}
