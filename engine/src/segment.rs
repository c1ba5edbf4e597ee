//! One segment: pad, encrypt, authenticate; and authenticate, decrypt, unpad.
//!
//! Opening takes these steps in an order that the types enforce: what is decrypted was `Verified`. Padding that is
//! wrong behind a right tag can only come from a holder of the key; it gives the same answer as a wrong tag.

use zeroize::{Zeroize, Zeroizing};

use crate::{
    derive::StreamKeys,
    error::{CipherFailed, OpenError},
    layout::{BLOCK_LEN, TAG_LEN, sealed_segment_len},
    tag::{Place, Verified},
};

/// Seals `plain` into `sealed`, which is exactly as long as the sealed segment.
pub(crate) fn seal(keys: &StreamKeys, place: Place, plain: &[u8], sealed: &mut [u8]) -> Result<(), CipherFailed> {
    debug_assert_eq!(sealed.len(), sealed_segment_len(plain.len()));
    let (ciphertext, tag) = sealed.split_at_mut(sealed.len() - TAG_LEN);
    let (text, padding) = ciphertext.split_at_mut(plain.len());
    text.copy_from_slice(plain);
    padding.fill(padding.len() as u8); // 1 to 16: PKCS#7 (RFC 5652, section 6.3)
    let (blocks, _) = ciphertext.as_chunks_mut();
    keys.cipher.encrypt(&keys.cipher.iv(place.index), blocks);
    tag.copy_from_slice(&keys.mac.tag(place, ciphertext)?);
    Ok(())
}

/// Opens one sealed segment into `plain` and says how many bytes it holds. `plain` has room for the most that so much
/// ciphertext can hold in this stream; more than that is refused. On failure `plain` holds nothing of the segment.
pub(crate) fn open(keys: &StreamKeys, place: Place, sealed: &[u8], plain: &mut [u8]) -> Result<usize, OpenError> {
    let verified = keys.mac.verify(place, sealed)?;
    decrypt(keys, &verified, plain).inspect_err(|_| plain.zeroize())
}

fn decrypt(keys: &StreamKeys, verified: &Verified<'_>, plain: &mut [u8]) -> Result<usize, OpenError> {
    let (blocks, odd) = verified.ciphertext().as_chunks::<BLOCK_LEN>();
    let Some((padded, whole)) = blocks.split_last().filter(|_| odd.is_empty()) else {
        return Err(OpenError::Refused);
    };
    let (text, rest) = plain.split_at_mut_checked(whole.len() * BLOCK_LEN).ok_or(OpenError::Refused)?;
    let iv = keys.cipher.iv(verified.index());
    keys.cipher.decrypt(&iv, whole, text.as_chunks_mut().0);

    // The block that ends in padding is decrypted elsewhere, since `plain` may end inside it.
    let mut tail = Zeroizing::new([[0; BLOCK_LEN]]);
    keys.cipher.decrypt(whole.last().unwrap_or(&iv), &[*padded], &mut *tail);
    let end = unpad(&tail[0])?;
    rest.get_mut(..end.len()).ok_or(OpenError::Refused)?.copy_from_slice(end);
    Ok(text.len() + end.len())
}

/// The text before the padding: 1 to 16 bytes, each of which says how many they are.
fn unpad(block: &[u8; BLOCK_LEN]) -> Result<&[u8], OpenError> {
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
}
