//! The 96 header bytes of a sealed stream: write, read, refuse.
//!
//! ```text
//! magic "SRM1"   0   4        key id       16  16
//! suite          4   1        salt         32  32
//! segment shift  5   1        commitment   64  32
//! reserved       6  10
//! ```
//! What this version does not know it refuses. A header that reads well proves nothing: only the commitment, which
//! needs the data key, does.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::{
    error::{OpenError, RandomFailed},
    id::fill,
    key::KeyId,
};

/// Bytes of a header: a multiple of 32, so that the segments behind it do not split cache lines.
pub const HEADER_LEN: usize = 96;
/// The part of the header that goes into key derivation: all but the commitment.
pub(crate) const PREFIX_LEN: usize = 64;

const MAGIC: [u8; 4] = *b"SRM1";
/// AES-256-CBC with PKCS#7 padding, and GMAC over the ciphertext.
const SUITE: u8 = 1;

/// The header of a sealed stream, read and not yet proven.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    segment_shift: SegmentShift,
}

impl Header {
    /// Reads a header of exactly [`HEADER_LEN`] bytes.
    ///
    /// # Errors
    /// [`OpenError::UnknownFormat`] for another magic; [`OpenError::Refused`] for another number of bytes, another suite or
    /// shift, or reserved bytes that are not zero.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let bytes: [u8; HEADER_LEN] = bytes.try_into().map_err(|_| OpenError::Refused)?;
        let found: &[u8; 4] = part(&bytes, 0);
        if *found != MAGIC {
            return Err(OpenError::UnknownFormat { found: *found });
        }
        let known = bytes[4] == SUITE && bytes[6..16] == [0; 10];
        let segment_shift = SegmentShift::new(bytes[5]).filter(|_| known).ok_or(OpenError::Refused)?;
        Ok(Self { bytes, segment_shift })
    }

    /// The 96 bytes.
    pub const fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// The segment length, as its logarithm.
    pub const fn segment_shift(&self) -> SegmentShift {
        self.segment_shift
    }

    /// Which wrapped key the stream needs.
    pub fn key_id(&self) -> KeyId {
        KeyId::from_bytes(*part(&self.bytes, 16))
    }

    /// What binds the header to one data key and one context. Public; object records keep it.
    pub fn commitment(&self) -> Commitment {
        Commitment(*part(&self.bytes, PREFIX_LEN))
    }

    pub(crate) fn prefix(&self) -> &[u8; PREFIX_LEN] {
        part(&self.bytes, 0)
    }
}

/// A header as far as it goes before the keys are derived from it.
pub(crate) struct Unbound {
    prefix: [u8; PREFIX_LEN],
    segment_shift: SegmentShift,
}

impl Unbound {
    /// With a fresh salt: no two sealings have the same keys, a retried one included.
    pub(crate) fn fresh(key_id: KeyId, segment_shift: SegmentShift) -> Result<Self, RandomFailed> {
        let mut salt = [0; 32];
        fill(&mut salt)?;
        Ok(Self::with_salt(key_id, segment_shift, salt))
    }

    pub(crate) fn with_salt(key_id: KeyId, segment_shift: SegmentShift, salt: [u8; 32]) -> Self {
        let mut prefix = [0; PREFIX_LEN];
        prefix[..4].copy_from_slice(&MAGIC);
        prefix[4] = SUITE;
        prefix[5] = segment_shift.bits();
        prefix[16..32].copy_from_slice(key_id.as_bytes());
        prefix[32..].copy_from_slice(&salt);
        Self { prefix, segment_shift }
    }

    pub(crate) fn prefix(&self) -> &[u8; PREFIX_LEN] {
        &self.prefix
    }

    pub(crate) fn bind(self, commitment: Commitment) -> Header {
        let mut bytes = [0; HEADER_LEN];
        bytes[..PREFIX_LEN].copy_from_slice(&self.prefix);
        bytes[PREFIX_LEN..].copy_from_slice(&commitment.0);
        Header { bytes, segment_shift: self.segment_shift }
    }
}

/// What binds a header to exactly one data key and one context. Public: it tells nothing about the plaintext.
#[derive(Clone, Copy, Debug)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// The commitment with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, as they stand in the header.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// The logarithm of the plaintext bytes in a full segment: 9 to 20, for 512 bytes to 1 MiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentShift(u8);

impl SegmentShift {
    /// The shift with this many bits, or none where the format has no such segments.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= 9 && bits <= 20 { Some(Self(bits)) } else { None }
    }

    /// The shift that a writer picks: 10 for nothing, else the logarithm of a sixteenth of the length, rounded up and
    /// held between 10 and 14. So from 16 KiB on, one object alone fills sixteen lanes of the cipher.
    pub const fn for_plain_len(plain_len: u64) -> Self {
        if plain_len == 0 {
            return Self(10);
        }
        let log2_rounded_up = u64::BITS - (plain_len - 1).leading_zeros();
        match log2_rounded_up {
            0..=14 => Self(10),
            15 => Self(11),
            16 => Self(12),
            17 => Self(13),
            _ => Self(14),
        }
    }

    /// As it stands in the header.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Plaintext bytes of a full segment.
    pub const fn segment_len(self) -> usize {
        1 << self.0
    }
}

/// `N` header bytes from `offset` on; every caller names a field of the table above.
#[expect(clippy::expect_used, reason = "offsets and sizes are constants that lie inside the header")]
fn part<const N: usize>(bytes: &[u8; HEADER_LEN], offset: usize) -> &[u8; N] {
    bytes[offset..].first_chunk().expect("a field lies inside the header")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> [u8; HEADER_LEN] {
        let shift = SegmentShift::new(12).unwrap();
        let unbound = Unbound::with_salt(KeyId::from_bytes([0x11; 16]), shift, [0x22; 32]);
        *unbound.bind(Commitment([0x33; 32])).as_bytes()
    }

    #[test]
    fn every_field_lies_where_the_standard_says() {
        let bytes = header();
        assert_eq!(bytes[..6], *b"SRM1\x01\x0c");
        assert_eq!(bytes[6..16], [0; 10]);
        assert_eq!(bytes[16..32], [0x11; 16]);
        assert_eq!(bytes[32..64], [0x22; 32]);
        assert_eq!(bytes[64..], [0x33; 32]);
        let read = Header::parse(&bytes).unwrap();
        assert_eq!(read.key_id(), KeyId::from_bytes([0x11; 16]));
        assert_eq!(read.segment_shift().segment_len(), 4096);
        assert!(read.commitment().matches(&Commitment([0x33; 32])));
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        for (offset, byte) in [(0, b'T'), (3, b'2'), (4, 0), (4, 2), (5, 8), (5, 21), (5, 0), (5, 255), (6, 1), (15, 1)]
        {
            let mut bytes = header();
            bytes[offset] = byte;
            let refused = Header::parse(&bytes);
            match refused {
                Err(OpenError::UnknownFormat { found }) => assert_eq!(found, bytes[..4]),
                Err(OpenError::Refused) => assert!(offset >= 4, "byte {offset} = {byte}"),
                _ => panic!("byte {offset} = {byte}"),
            }
        }
    }

    #[test]
    fn a_header_that_is_cut_short_is_refused() {
        assert!(matches!(Header::parse(&header()[..95]), Err(OpenError::Refused)));
        assert!(matches!(Header::parse(&[]), Err(OpenError::Refused)));
    }

    #[test]
    fn the_shift_follows_the_length_as_the_standard_says() {
        let cases = [
            (0, 10),
            (1, 10),
            (4096, 10),
            (16 << 10, 10),
            ((16 << 10) + 1, 11),
            (32 << 10, 11),
            ((32 << 10) + 1, 12),
            (64 << 10, 12),
            (128 << 10, 13),
            ((128 << 10) + 1, 14),
            (256 << 10, 14),
            (u64::MAX, 14),
        ];
        for (plain_len, bits) in cases {
            assert_eq!(SegmentShift::for_plain_len(plain_len).bits(), bits, "{plain_len} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Header::parse(&bytes);
        }

        #[test]
        fn the_shift_is_the_formula(plain_len in 1u64..1 << 40) {
            let log2 = (0..64).find(|k| 16u128 << k >= u128::from(plain_len)).unwrap();
            prop_assert_eq!(SegmentShift::for_plain_len(plain_len).bits(), log2.clamp(10, 14));
        }
    }
}
