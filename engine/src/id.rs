//! Random bytes, and ids that rise with time.
//!
//! Ids begin with the time so that a database meets them in order: wholly random ones dirty a page each. They say
//! when something was made, they prove nothing, and no decision rests on the clock in them.

use crate::error::RandomFailed;

/// A new id: 48 bits of `now_ms` (Unix time in milliseconds, big-endian), then 80 random bits. Never reused.
///
/// # Errors
/// [`RandomFailed`] when the system gives no random bytes.
pub fn fresh_id(now_ms: u64) -> Result<[u8; 16], RandomFailed> {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    fill(&mut id[6..])?;
    Ok(id)
}

/// Fills `bytes` from AWS-LC's generator, which the system seeds.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), RandomFailed> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| RandomFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let ids: Vec<_> = [0, 1, 255, 256, 1_700_000_000_000, (1 << 48) - 1].map(|ms| fresh_id(ms).unwrap()).to_vec();
        assert!(ids.is_sorted());
        assert_eq!(ids[4][..6], [0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00]);
    }

    #[test]
    fn two_ids_of_one_millisecond_differ() {
        assert_ne!(fresh_id(5).unwrap(), fresh_id(5).unwrap());
    }
}
