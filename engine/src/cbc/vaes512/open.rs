//! Opening one segment: decryption and hash in one loop over its blocks, then the end, then the tag.
//!
//! Plaintext is written before the tag compares, into a buffer that only the caller sees; if the tag is wrong, it is
//! wiped and the answer is the same as for any other damage. What is hashed is what was decrypted: ciphertext is read
//! once, whole strides by the loop, the rest copied before both.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize, Zeroizing};

use super::{
    blocks::{decrypt_one_line, encrypt, ivs_and_masks},
    kernels::{self, DecryptJob, STRIDE_LEN},
    wide::Line,
};
use crate::{
    cbc::{path::Vaes512, round_keys::EncryptKeys},
    error::OpenError,
    layout::{BLOCK_LEN, TAG_LEN},
    segment::{SegmentKeys, unpad},
    tag::Place,
};

/// The keys of one stream, laid out for the loop; wiped on drop, and never moved.
pub(crate) struct Opens {
    has: Vaes512,
    open: kernels::OpenKeys,
    iv: EncryptKeys,
    mac: EncryptKeys,
}

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

    /// Opens one sealed segment into `plain` and says how many bytes it holds; on failure `plain` holds nothing of it.
    pub(crate) fn open(&self, place: Place, sealed: &[u8], plain: &mut [u8]) -> Result<usize, OpenError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Refused)?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(OpenError::Refused);
        }
        self.decrypt(place, ciphertext, tag, plain).inspect_err(|_| plain.zeroize())
    }

    fn decrypt(
        &self,
        place: Place,
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plain: &mut [u8],
    ) -> Result<usize, OpenError> {
        // At least the last block is left, which ends in padding: `plain` may end inside it.
        let whole = (ciphertext.len() - BLOCK_LEN) / STRIDE_LEN * STRIDE_LEN;
        let (strides, rest) = ciphertext.split_at(whole);
        let (text, room) = plain.split_at_mut_checked(whole).ok_or(OpenError::Refused)?;
        let ([iv], [mask]) = ivs_and_masks(self.has, &self.iv, &self.mac, |_| place);
        let mut job = DecryptJob::new(iv.0[0]);
        job.open(self.has, &self.open, strides, text);

        let mut end = [[0; BLOCK_LEN]; STRIDE_LEN / BLOCK_LEN];
        let end = &mut end[..rest.len() / BLOCK_LEN];
        end.as_flattened_mut().copy_from_slice(rest);
        let hash = match end {
            [last] => self.open.hash.end_after_block(self.has, &job.sum, u128::from_ne_bytes(*last), ciphertext.len()),
            _ => self.open.hash.end_after_blocks(self.has, &job.sum, end, ciphertext.len()),
        };
        verify_slices_are_equal(&(hash ^ mask.0[0]).to_ne_bytes(), tag).map_err(|_| OpenError::Refused)?;

        let decrypted = self.decrypt_end(job.chain(), end);
        let (last, before) = decrypted[..end.len()].split_last().ok_or(OpenError::Refused)?;
        let last = unpad(last)?;
        let (before_room, last_room) =
            room.split_at_mut_checked(before.as_flattened().len()).ok_or(OpenError::Refused)?;
        before_room.copy_from_slice(before.as_flattened());
        last_room.get_mut(..last.len()).ok_or(OpenError::Refused)?.copy_from_slice(last);
        Ok(whole + before_room.len() + last.len())
    }

    /// The blocks after the last stride, authentic by now.
    fn decrypt_end(
        &self,
        chain: u128,
        blocks: &[[u8; BLOCK_LEN]],
    ) -> Zeroizing<[[u8; BLOCK_LEN]; STRIDE_LEN / BLOCK_LEN]> {
        let mut decrypted = Zeroizing::new([[0; BLOCK_LEN]; STRIDE_LEN / BLOCK_LEN]);
        let mut before = chain;
        for (four, decrypted) in blocks.chunks(4).zip(decrypted.chunks_mut(4)) {
            let mut line = Line::default();
            for (block, word) in four.iter().zip(&mut line.0) {
                *word = u128::from_ne_bytes(*block);
            }
            let plain = decrypt_one_line(self.has, &self.open.dec, &line);
            for ((word, block), decrypted) in plain.0.iter().zip(four).zip(decrypted) {
                *decrypted = (word ^ before).to_ne_bytes();
                before = u128::from_ne_bytes(*block);
            }
        }
        decrypted
    }
}
