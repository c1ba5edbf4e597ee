//! Segments side by side: IV, pad, encrypt, authenticate; and authenticate, decrypt, unpad.
//!
//! A batch of segments is a batch of lanes, so that ciphers with a chain in them run as fast as any. The narrow paths
//! take these steps one after another, and what they decrypt was `Verified`. The VAES-512 path takes encryption and
//! authentication in one pass; it decrypts before the tag compares, and wipes what it wrote if it does not. Padding that
//! is wrong behind a right tag can only come from a holder of the key; it gives the same answer as a wrong tag.

use zeroize::{Zeroize, Zeroizing};

#[cfg(target_arch = "x86_64")]
use crate::cbc::vaes512;
use crate::{
    cbc::{CpuPath, Decrypts, Encrypts, Lane, path::Kind},
    error::{CipherFailed, OpenError},
    layout::{BLOCK_LEN, SEGMENT_OVERHEAD, TAG_LEN, sealed_segment_len},
    tag::{Mac, Place, Verified},
};

/// The three keys of a stream's segments, on their way into a cipher.
pub(crate) struct SegmentKeys<'a> {
    pub(crate) enc: &'a [u8; 32],
    pub(crate) iv: &'a [u8; 32],
    pub(crate) mac: &'a [u8; 32],
}

/// Consecutive segments to seal: `plain_len` bytes from `plain`, or in place: then each segment's plaintext lies where
/// its ciphertext goes.
pub(crate) struct Rows<'a> {
    pub(crate) plain: Option<&'a [u8]>,
    pub(crate) plain_len: usize,
    pub(crate) sealed: &'a mut [u8],
    pub(crate) segment_len: usize,
    /// Where the first segment stands; `last` says whether the last of these is that of the stream.
    pub(crate) first: u64,
    pub(crate) last: bool,
}

impl Rows<'_> {
    pub(crate) fn count(&self) -> usize {
        self.plain_len.div_ceil(self.segment_len).max(1)
    }

    /// From one segment to the next in `sealed`.
    pub(crate) fn stride(&self) -> usize {
        self.segment_len + SEGMENT_OVERHEAD
    }

    pub(crate) fn place(&self, row: usize) -> Place {
        Place { index: self.first + row as u64, last: self.last && row + 1 == self.count() }
    }

    /// Plaintext bytes of a segment.
    pub(crate) fn text_len(&self, row: usize) -> usize {
        (self.plain_len - row * self.segment_len).min(self.segment_len)
    }
}

/// Seals the segments of one stream.
pub(crate) enum SealKeys {
    Narrow {
        enc: Encrypts,
        iv: Encrypts,
        mac: Mac,
    },
    #[cfg(target_arch = "x86_64")]
    Vaes512(Box<vaes512::Seals>),
}

impl SealKeys {
    pub(crate) fn new(path: CpuPath, keys: &SegmentKeys<'_>) -> Result<Self, CipherFailed> {
        #[cfg(target_arch = "x86_64")]
        if let Kind::Vaes512(has) = path.0 {
            return Ok(Self::Vaes512(vaes512::Seals::new(has, keys)));
        }
        Ok(Self::Narrow {
            enc: Encrypts::new(path, keys.enc),
            iv: Encrypts::new(path, keys.iv),
            mac: Mac::new(keys.mac)?,
        })
    }

    pub(crate) fn seal(&self, rows: &mut Rows<'_>) -> Result<(), CipherFailed> {
        debug_assert_eq!(
            rows.sealed.len(),
            (rows.count() - 1) * rows.stride() + sealed_segment_len(rows.text_len(rows.count() - 1))
        );
        match self {
            Self::Narrow { enc, iv, mac } => seal_narrow(enc, iv, mac, rows),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512(seals) => {
                seals.seal(rows);
                Ok(())
            }
        }
    }
}

fn seal_narrow(enc: &Encrypts, iv: &Encrypts, mac: &Mac, rows: &mut Rows<'_>) -> Result<(), CipherFailed> {
    for row in 0..rows.count() {
        let (text_len, start) = (rows.text_len(row), row * rows.stride());
        let ciphertext_len = sealed_segment_len(text_len) - TAG_LEN;
        let (text, padding) = rows.sealed[start..start + ciphertext_len].split_at_mut(text_len);
        if let Some(plain) = rows.plain {
            text.copy_from_slice(&plain[row * rows.segment_len..][..text_len]);
        }
        padding.fill(padding.len() as u8); // 1 to 16: PKCS#7 (RFC 5652, section 6.3)
    }
    let mut ivs: Vec<_> = (0..rows.count()).map(|row| iv_block(rows.place(row).index)).collect();
    iv.encrypt_blocks(&mut ivs);
    let stride = rows.stride();
    let mut lanes: Vec<_> = rows
        .sealed
        .chunks_mut(stride)
        .zip(&ivs)
        .map(|(sealed, iv)| {
            let ciphertext_len = sealed.len() - TAG_LEN;
            Lane { chain: *iv, blocks: sealed[..ciphertext_len].as_chunks_mut().0 }
        })
        .collect();
    enc.encrypt_lanes(&mut lanes);
    for row in 0..rows.count() {
        let place = rows.place(row);
        let sealed_len = sealed_segment_len(rows.text_len(row));
        let (ciphertext, tag) = rows.sealed[row * stride..][..sealed_len].split_at_mut(sealed_len - TAG_LEN);
        tag.copy_from_slice(&mac.tag(place, ciphertext)?);
    }
    Ok(())
}

/// What is encrypted, under a key of its own, to be the IV of segment `index`: unpredictable without that key, and
/// never stored (SP 800-38A, appendix C, first method).
pub(crate) fn iv_block(index: u64) -> [u8; BLOCK_LEN] {
    u128::from(index).to_be_bytes()
}

/// Opens the segments of one stream.
pub(crate) enum OpenKeys {
    Narrow {
        enc: Decrypts,
        iv: Encrypts,
        mac: Mac,
    },
    #[cfg(target_arch = "x86_64")]
    Vaes512(Box<vaes512::Opens>),
}

impl OpenKeys {
    pub(crate) fn new(path: CpuPath, keys: &SegmentKeys<'_>) -> Result<Self, CipherFailed> {
        #[cfg(target_arch = "x86_64")]
        if let Kind::Vaes512(has) = path.0 {
            return Ok(Self::Vaes512(vaes512::Opens::new(has, keys)));
        }
        Ok(Self::Narrow {
            enc: Decrypts::new(path, keys.enc),
            iv: Encrypts::new(path, keys.iv),
            mac: Mac::new(keys.mac)?,
        })
    }

    /// Opens consecutive segments. On failure none is to be released, and the room of the one that failed is wiped.
    pub(crate) fn open(&self, rows: &mut [OpenRow<'_>]) -> Result<(), OpenError> {
        match self {
            Self::Narrow { enc, iv, mac } => rows.iter_mut().try_for_each(|row| open_narrow(enc, iv, mac, row)),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512(opens) => opens.open(rows),
        }
    }
}

/// One segment to open.
pub(crate) struct OpenRow<'a> {
    pub(crate) place: Place,
    pub(crate) sealed: &'a [u8],
    /// Room for the most that so much ciphertext can hold in this stream; more than that is refused.
    pub(crate) room: &'a mut [u8],
    /// Plaintext bytes found.
    pub(crate) plain_len: usize,
}

fn open_narrow(enc: &Decrypts, iv: &Encrypts, mac: &Mac, row: &mut OpenRow<'_>) -> Result<(), OpenError> {
    let verified = mac.verify(row.place, row.sealed)?;
    let mut first = [iv_block(row.place.index)];
    iv.encrypt_blocks(&mut first);
    row.plain_len = decrypt(enc, &first[0], &verified, row.room).inspect_err(|_| row.room.zeroize())?;
    Ok(())
}

fn decrypt(
    enc: &Decrypts,
    iv: &[u8; BLOCK_LEN],
    verified: &Verified<'_>,
    plain: &mut [u8],
) -> Result<usize, OpenError> {
    let (blocks, odd) = verified.ciphertext().as_chunks::<BLOCK_LEN>();
    let Some((padded, whole)) = blocks.split_last().filter(|_| odd.is_empty()) else {
        return Err(OpenError::Refused);
    };
    let (text, rest) = plain.split_at_mut_checked(whole.len() * BLOCK_LEN).ok_or(OpenError::Refused)?;
    enc.decrypt(iv, whole, text.as_chunks_mut().0);

    // The block that ends in padding is decrypted elsewhere, since `plain` may end inside it.
    let mut tail = Zeroizing::new([[0; BLOCK_LEN]]);
    enc.decrypt(whole.last().unwrap_or(iv), &[*padded], &mut *tail);
    let end = unpad(&tail[0])?;
    rest.get_mut(..end.len()).ok_or(OpenError::Refused)?.copy_from_slice(end);
    Ok(text.len() + end.len())
}

/// The text before the padding: 1 to 16 bytes, each of which says how many they are.
pub(crate) fn unpad(block: &[u8; BLOCK_LEN]) -> Result<&[u8], OpenError> {
    let padding_len = usize::from(block[BLOCK_LEN - 1]);
    if padding_len == 0 {
        return Err(OpenError::Refused);
    }
    let text_len = BLOCK_LEN.checked_sub(padding_len).ok_or(OpenError::Refused)?;
    let (text, padding) = block.split_at(text_len);
    if padding.iter().all(|byte| usize::from(*byte) == padding_len) { Ok(text) } else { Err(OpenError::Refused) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_every_length_comes_off_and_nothing_else_does() {
        for text_len in 0..=15u8 {
            let mut block = [16 - text_len; 16];
            block[..usize::from(text_len)].fill(0xee);
            assert_eq!(unpad(&block).unwrap(), &vec![0xee; usize::from(text_len)]);
        }
        for (first, last) in [(0xee, 0), (17, 17), (0xee, 16), (0xee, 0x80)] {
            let mut block = [last; 16];
            block[0] = first;
            assert!(unpad(&block).is_err(), "{block:?}");
        }
    }

    #[test]
    fn no_two_indices_share_an_iv() {
        for path in CpuPath::NAMES.iter().filter_map(|name| CpuPath::named(name).ok()) {
            let mut blocks = [0, 1, 1 << 32].map(iv_block);
            Encrypts::new(path, &[5; 32]).encrypt_blocks(&mut blocks);
            assert!(blocks[0] != blocks[1] && blocks[1] != blocks[2] && blocks[0] != blocks[2], "{path}");
        }
    }
}
