//! Lengths and places in a sealed stream: arithmetic only, no bytes, no keys, no I/O.
//!
//! Sealed length follows from plaintext length alone, so a byte range becomes a segment range before anything is
//! read. The other way round a sealed length leaves the plaintext length open within one block, which only the
//! padding of the last segment tells, after its tag. These sizes lie on disks: a change makes a new format version.

use std::ops::Range;

use crate::{
    error::OpenError,
    header::{HEADER_LEN, SegmentShift},
};

/// The most plaintext bytes of one sealed stream, 256 TiB: 2^44 blocks under one CBC key, so that two equal ciphertext
/// blocks (which would tell the difference of two plaintext blocks) are expected with a probability of 2^-41.
pub const PLAIN_LEN_MAX: u64 = 1 << 48;

pub(crate) const BLOCK_LEN: usize = 16;
pub(crate) const TAG_LEN: usize = 16;
/// What a full segment is longer for: one block of padding and the tag.
pub(crate) const SEGMENT_OVERHEAD: usize = BLOCK_LEN + TAG_LEN;

/// Where everything lies in one sealed stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    shift: SegmentShift,
    segment_count: u64,
    /// Ciphertext and tag of the last segment.
    last_sealed_len: usize,
    /// Known when the plaintext length was given, else only within a block.
    plain_len: Option<u64>,
}

/// The segments that hold a byte range, and what of their plaintext belongs to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentRange {
    /// Index of the first segment.
    pub first: u64,
    /// How many segments, 0 for an empty range.
    pub count: u64,
    /// Where the first segment begins, in bytes from the start of the header.
    pub sealed_offset: u64,
    /// Bytes of all of them.
    pub sealed_len: u64,
    /// Plaintext bytes to drop at the beginning of the first segment, fewer than a segment has.
    pub skip: usize,
    /// Plaintext bytes wanted, after those dropped.
    pub take: u64,
}

impl Layout {
    /// The layout of `plain_len` bytes. Beyond [`PLAIN_LEN_MAX`] (which nothing can seal) lengths and offsets are
    /// those of the longest stream.
    pub fn from_plain(plain_len: u64, shift: SegmentShift) -> Self {
        let plain_len = plain_len.min(PLAIN_LEN_MAX);
        let segment_len = shift.segment_len() as u64;
        let segment_count = plain_len.div_ceil(segment_len).max(1);
        let rest = (plain_len - (segment_count - 1) * segment_len) as usize;
        Self { shift, segment_count, last_sealed_len: sealed_segment_len(rest), plain_len: Some(plain_len) }
    }

    /// The layout of a sealed stream of `sealed_len` bytes, header included. Nothing says yet that the stream is whole:
    /// authenticate its last segment ([`Opener::open_last`](crate::Opener::open_last)) before trusting any of this.
    ///
    /// # Errors
    /// [`OpenError::Refused`] where no plaintext has this sealed length.
    pub fn from_sealed(sealed_len: u64, shift: SegmentShift) -> Result<Self, OpenError> {
        if sealed_len > Self::from_plain(PLAIN_LEN_MAX, shift).sealed_len() {
            return Err(OpenError::Refused);
        }
        let full = (shift.segment_len() + SEGMENT_OVERHEAD) as u64;
        let segments_len = sealed_len.saturating_sub(HEADER_LEN as u64);
        let segment_count = segments_len.div_ceil(full).max(1);
        let last_sealed_len = (segments_len - (segment_count - 1) * full) as usize;
        if last_sealed_len < SEGMENT_OVERHEAD || !last_sealed_len.is_multiple_of(BLOCK_LEN) {
            return Err(OpenError::Refused);
        }
        Ok(Self { shift, segment_count, last_sealed_len, plain_len: None })
    }

    /// Plaintext bytes; none where only the sealed length was known, which leaves it open within one block.
    pub fn plain_len(&self) -> Option<u64> {
        self.plain_len
    }

    /// Bytes of the whole sealed stream, header included.
    pub fn sealed_len(&self) -> u64 {
        self.segment_offset(self.segment_count)
    }

    /// How many segments there are: never 0, an empty object has one.
    pub fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// The segment length, as its logarithm.
    pub fn segment_shift(&self) -> SegmentShift {
        self.shift
    }

    /// Plaintext bytes of segment `index`; of the last one, where the plaintext length is not known, the most it can
    /// hold (up to 15 more than it does). 0 beyond the last.
    pub fn segment_plain_len(&self, index: u64) -> usize {
        let segment_len = self.shift.segment_len();
        match self.plain_len {
            _ if index >= self.segment_count => 0,
            _ if index + 1 < self.segment_count => segment_len,
            Some(plain_len) => (plain_len - index * segment_len as u64) as usize,
            None => plain_len_max(self.last_sealed_len).min(segment_len),
        }
    }

    /// Ciphertext and tag bytes of segment `index`. 0 beyond the last.
    pub fn segment_sealed_len(&self, index: u64) -> usize {
        match index {
            _ if index >= self.segment_count => 0,
            _ if index + 1 < self.segment_count => self.shift.segment_len() + SEGMENT_OVERHEAD,
            _ => self.last_sealed_len,
        }
    }

    /// Where segment `index` begins, in bytes from the start of the header. The end of the stream beyond the last.
    pub fn segment_offset(&self, index: u64) -> u64 {
        let full = (self.shift.segment_len() + SEGMENT_OVERHEAD) as u64;
        let before = index.min(self.segment_count - 1);
        let last = if index >= self.segment_count { self.last_sealed_len } else { 0 };
        HEADER_LEN as u64 + before * full + last as u64
    }

    /// The segments that hold these plaintext bytes. A range that reaches beyond the end is cut there; one that lies
    /// wholly beyond it, or is empty, needs no segment. Where the plaintext length is not known, `take` may count up
    /// to 15 bytes that do not exist.
    pub fn range(&self, bytes: Range<u64>) -> SegmentRange {
        let last = self.segment_count - 1;
        let segment_len = self.shift.segment_len() as u64;
        let plain_end = last * segment_len + self.segment_plain_len(last) as u64;
        let end = bytes.end.min(plain_end);
        let start = bytes.start.min(end);
        if start == end {
            return SegmentRange {
                first: 0,
                count: 0,
                sealed_offset: HEADER_LEN as u64,
                sealed_len: 0,
                skip: 0,
                take: 0,
            };
        }
        let first = start / segment_len;
        let count = (end - 1) / segment_len - first + 1;
        let sealed_offset = self.segment_offset(first);
        let sealed_len = self.segment_offset(first + count) - sealed_offset;
        SegmentRange {
            first,
            count,
            sealed_offset,
            sealed_len,
            skip: (start % segment_len) as usize,
            take: end - start,
        }
    }

    /// Whether segment `index` may hold `plain_len` bytes: full ones exactly a segment, the last the rest, nothing
    /// only when the object is empty.
    pub(crate) fn admits(&self, index: u64, plain_len: usize) -> bool {
        let last = index + 1 == self.segment_count;
        match self.plain_len {
            None if last => plain_len <= self.shift.segment_len() && (plain_len > 0 || index == 0),
            _ => plain_len == self.segment_plain_len(index),
        }
    }
}

/// Ciphertext and tag of a segment with this many plaintext bytes: always padded, by 1 to 16 bytes.
pub(crate) const fn sealed_segment_len(plain_len: usize) -> usize {
    plain_len - plain_len % BLOCK_LEN + SEGMENT_OVERHEAD
}

/// The most plaintext bytes behind this much ciphertext and tag: padding takes at least one byte.
const fn plain_len_max(sealed_len: usize) -> usize {
    sealed_len - TAG_LEN - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shift(bits: u8) -> SegmentShift {
        SegmentShift::new(bits).unwrap()
    }

    /// Every length, around every edge.
    fn lengths() -> impl Strategy<Value = (u64, SegmentShift)> {
        (9u8..=20).prop_flat_map(|bits| {
            let near_edge =
                (0u64..40, -20i64..20).prop_map(move |(segments, off)| ((segments << bits) as i64 + off).max(0) as u64);
            let any = 0..=PLAIN_LEN_MAX;
            let near_max = (0u64..40).prop_map(|less| PLAIN_LEN_MAX - less);
            (prop_oneof![near_edge, any, near_max], Just(shift(bits)))
        })
    }

    #[test]
    fn the_lengths_of_the_standard() {
        let cases = [
            (0, 10, 1, 128),
            (1, 10, 1, 128),
            (15, 10, 1, 128),
            (16, 10, 1, 144),
            (1023, 10, 1, 96 + 1024 + 16),
            (1024, 10, 1, 96 + 1056),
            (1025, 10, 2, 96 + 1056 + 32),
            (4096, 10, 4, 96 + 4 * 1056),
        ];
        for (plain_len, bits, count, sealed_len) in cases {
            let layout = Layout::from_plain(plain_len, shift(bits));
            assert_eq!((layout.segment_count(), layout.sealed_len()), (count, sealed_len), "{plain_len} bytes");
        }
    }

    #[test]
    fn lengths_that_no_plaintext_has_are_refused() {
        let full = 1024 + 32;
        for sealed_len in [0, 95, 96, 97, 112, 127, 129, 96 + full + 1, 96 + full + 16, 96 + 2 * full + 31, u64::MAX] {
            let refused = Layout::from_sealed(sealed_len, shift(10));
            assert!(matches!(refused, Err(OpenError::Refused)), "{sealed_len} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_sealed_length_leads_back_to_the_same_segments((plain_len, shift) in lengths()) {
            let layout = Layout::from_plain(plain_len, shift);
            let back = Layout::from_sealed(layout.sealed_len(), shift).unwrap();
            prop_assert_eq!(back.segment_count(), layout.segment_count());
            prop_assert_eq!(back.sealed_len(), layout.sealed_len());
            let last = layout.segment_count() - 1;
            prop_assert_eq!(back.segment_sealed_len(last), layout.segment_sealed_len(last));
            prop_assert!(back.admits(last, layout.segment_plain_len(last)));
            prop_assert!((0..=15).contains(&(back.segment_plain_len(last) - layout.segment_plain_len(last))));
        }

        #[test]
        fn segments_follow_one_another_and_add_up((plain_len, shift) in lengths()) {
            let layout = Layout::from_plain(plain_len, shift);
            let count = layout.segment_count();
            prop_assert_eq!(layout.segment_offset(0), 96);
            for index in [0, count / 2, count - 1] {
                let end = layout.segment_offset(index) + layout.segment_sealed_len(index) as u64;
                prop_assert_eq!(end, layout.segment_offset(index + 1));
                prop_assert_eq!(layout.segment_sealed_len(index), sealed_segment_len(layout.segment_plain_len(index)));
            }
            let sum = (count - 1) * shift.segment_len() as u64 + layout.segment_plain_len(count - 1) as u64;
            prop_assert_eq!(sum, plain_len);
            prop_assert_eq!(layout.segment_plain_len(count), 0);
            prop_assert_eq!(layout.segment_sealed_len(count), 0);
        }

        #[test]
        fn every_sealed_length_is_refused_or_made_by_some_plaintext(sealed_len: u64, bits in 9u8..=20) {
            for sealed_len in [sealed_len, sealed_len % (1 << 24), sealed_len % (1 << 24) / 16 * 16] {
                if let Ok(layout) = Layout::from_sealed(sealed_len, shift(bits)) {
                    let last = layout.segment_count() - 1;
                    let plain_len = (last << bits) + layout.segment_plain_len(last) as u64;
                    prop_assert_eq!(Layout::from_plain(plain_len, shift(bits)).sealed_len(), sealed_len);
                }
            }
        }

        #[test]
        fn a_range_takes_exactly_its_bytes((plain_len, shift) in lengths(), start: u64, len: u64) {
            let layout = Layout::from_plain(plain_len, shift);
            let start = start % (plain_len + 2);
            let end = start.saturating_add(len % (plain_len + 2));
            let range = layout.range(start..end);
            let (cut_end, segment_len) = (end.min(plain_len), shift.segment_len() as u64);
            prop_assert_eq!(range.take, cut_end.saturating_sub(start));
            if range.take > 0 {
                prop_assert_eq!(range.first * segment_len + range.skip as u64, start);
                prop_assert!((range.skip as u64) < segment_len);
                let covered = (range.first + range.count) * segment_len;
                prop_assert!(cut_end <= covered && covered < cut_end + segment_len);
                prop_assert_eq!(range.sealed_offset, layout.segment_offset(range.first));
                prop_assert!(range.sealed_offset + range.sealed_len <= layout.sealed_len());
            } else {
                prop_assert_eq!((range.count, range.sealed_len), (0, 0));
            }
        }

        #[test]
        fn no_numbers_make_the_arithmetic_overflow(plain_len: u64, index: u64, start: u64, end: u64, bits in 9u8..=20) {
            let layout = Layout::from_plain(plain_len, shift(bits));
            let _ = (layout.segment_offset(index), layout.segment_plain_len(index), layout.segment_sealed_len(index));
            let _ = layout.range(start..end);
        }
    }
}
