//! A sealed stream, opened batch by batch, from any segment on.
//!
//! The commitment is checked before any segment is touched. A segment's tag is checked before it is decrypted, and
//! nothing of a batch is released unless all of it is right. Give it bytes that only this thread can change: what
//! another process may write to, for instance a shared map, is copied first (a writer between the two passes over a
//! segment could otherwise choose plaintext blocks).

use std::sync::Arc;

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    cbc::CpuPath,
    context::ContextDigest,
    derive::StreamKeys,
    error::OpenError,
    header::Header,
    key::DataKey,
    layout::{Layout, SEGMENT_OVERHEAD},
    pool,
    segment::{OpenKeys, OpenRow},
    tag::Place,
};

/// Segments that one worker of the pool takes at once.
const ROWS: usize = 16;

/// A header that was proven to belong to one data key and one context, and the keys of its segments. Clones share
/// them and cost nothing.
#[derive(Clone)]
pub struct Opener {
    header: Arc<Header>,
    keys: Arc<OpenKeys>,
}

impl Opener {
    /// Reads the 96 header bytes and checks the commitment, in constant time.
    ///
    /// # Errors
    /// [`OpenError::UnknownFormat`] for another magic; [`OpenError::Refused`] for a wrong key, another context or an
    /// altered header; [`OpenError::Cipher`];
    /// [`OpenError::Path`] where `STRONGROOM_CPU` asks for what this processor lacks.
    pub fn new(key: &DataKey, header: &[u8], context: &ContextDigest) -> Result<Self, OpenError> {
        Self::on_path(CpuPath::chosen()?, key, header, context)
    }

    /// The same on a path of the caller's choice, for tests and measurements: every path opens to the same bytes.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn on_path(path: CpuPath, key: &DataKey, header: &[u8], context: &ContextDigest) -> Result<Self, OpenError> {
        let header = Header::parse(header)?;
        let mut derived = StreamKeys::default();
        let commitment = derived.derive(key, header.prefix(), context)?;
        if !commitment.matches(&header.commitment()) {
            return Err(OpenError::Refused);
        }
        let keys = OpenKeys::new(path, &derived.segment_keys())?;
        Ok(Self { header: Arc::new(header), keys: Arc::new(keys) })
    }

    /// The header, proven.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The layout of this stream, `sealed_len` bytes long with its header. Where the plaintext length is known from
    /// elsewhere (an object record), [`Layout::from_plain`] is better: the length is then checked too.
    ///
    /// # Errors
    /// [`OpenError::Refused`] where no plaintext has this sealed length.
    pub fn layout(&self, sealed_len: u64) -> Result<Layout, OpenError> {
        Layout::from_sealed(sealed_len, self.header.segment_shift())
    }

    /// Opens consecutive whole segments, the first of which has index `first`, and appends their plaintext to `plain`.
    /// On failure nothing is appended, and what was decrypted is wiped.
    ///
    /// # Errors
    /// [`OpenError::Refused`] where a byte was altered or a segment is not in its place;
    /// [`OpenError::NotWholeSegments`] where `sealed` has the wrong length for this layout.
    pub fn open_batch(&self, layout: &Layout, first: u64, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
        self.check(layout, first, sealed)?;
        append(self.room_len(layout, first, sealed.len()), plain, |room| {
            self.open_segments(layout, first, sealed, room)
        })
    }

    /// The same into a buffer that is used again and again, and has room for [`Self::room_len`] bytes; gives the number
    /// of plaintext bytes, from its start. On failure all of the room is wiped.
    ///
    /// # Errors
    /// As for [`Self::open_batch`], and [`OpenError::WrongBuffer`] where the room has another length.
    pub fn open_batch_into(
        &self,
        layout: &Layout,
        first: u64,
        sealed: &[u8],
        room: &mut [u8],
    ) -> Result<usize, OpenError> {
        self.check(layout, first, sealed)?;
        let room_len = self.room_len(layout, first, sealed.len());
        if room.len() != room_len {
            return Err(OpenError::WrongBuffer { room_len, given: room.len() });
        }
        self.open_segments(layout, first, sealed, room).inspect_err(|_| room.zeroize())
    }

    /// What [`Self::open_batch_into`] needs to open `sealed_len` bytes from segment `first` on: up to 15 bytes more than
    /// the plaintext has, and never 0.
    pub fn room_len(&self, layout: &Layout, first: u64, sealed_len: usize) -> usize {
        let before_last = sealed_len.div_ceil(layout.segment_shift().segment_len() + SEGMENT_OVERHEAD).max(1) - 1;
        let last_len = layout.segment_plain_len(first.saturating_add(before_last as u64)).max(1);
        before_last * layout.segment_shift().segment_len() + last_len
    }

    /// As [`Self::open_batch`], the segments side by side on the worker pool. Blocks until all are done.
    ///
    /// # Errors
    /// As for [`Self::open_batch`].
    pub fn open_batch_parallel(
        &self,
        layout: &Layout,
        first: u64,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        self.check(layout, first, sealed)?;
        append(self.room_len(layout, first, sealed.len()), plain, |room| {
            let segment_len = layout.segment_shift().segment_len();
            let (sealed_len, room_len) = (ROWS * (segment_len + SEGMENT_OVERHEAD), ROWS * segment_len);
            let groups = sealed.par_chunks(sealed_len).zip(room.par_chunks_mut(room_len)).enumerate();
            let open = |(nth, (sealed, room)): (usize, (&[u8], &mut [u8]))| {
                self.open_segments(layout, first + (nth * ROWS) as u64, sealed, room)
            };
            pool::run(|| groups.map(open).try_reduce(|| 0, |one, two| Ok(one + two)))
        })
    }

    /// Authenticates the last segment, given whole, and says how many plaintext bytes the stream has. Before this, no
    /// length and no offset counted from the end is to be trusted.
    ///
    /// # Errors
    /// As for [`Self::open_batch`].
    pub fn open_last(&self, layout: &Layout, sealed: &[u8]) -> Result<u64, OpenError> {
        let last = layout.segment_count() - 1;
        self.check(layout, last, sealed)?;
        let mut room = Zeroizing::new(vec![0; layout.segment_plain_len(last)]);
        let rest = self.open_segments(layout, last, sealed, &mut room)?;
        Ok(last * layout.segment_shift().segment_len() as u64 + rest as u64)
    }

    /// Checks that the layout is of this stream and the bytes are whole segments of it.
    fn check(&self, layout: &Layout, first: u64, sealed: &[u8]) -> Result<(), OpenError> {
        let full = layout.segment_shift().segment_len() + SEGMENT_OVERHEAD;
        let end = first.saturating_add(sealed.len().div_ceil(full) as u64);
        let expected = layout.segment_offset(end) - layout.segment_offset(first);
        let whole = !sealed.is_empty() && end <= layout.segment_count() && expected == sealed.len() as u64;
        if whole && layout.segment_shift() == self.header.segment_shift() {
            return Ok(());
        }
        Err(OpenError::NotWholeSegments { first, sealed_len: sealed.len() })
    }

    fn open_segments(&self, layout: &Layout, first: u64, sealed: &[u8], room: &mut [u8]) -> Result<usize, OpenError> {
        let segment_len = layout.segment_shift().segment_len();
        let segments = sealed.chunks(segment_len + SEGMENT_OVERHEAD).zip(room.chunks_mut(segment_len));
        let mut rows: Vec<_> = (first..)
            .zip(segments)
            .map(|(index, (sealed, room))| {
                let place = Place { index, last: index + 1 == layout.segment_count() };
                OpenRow { place, sealed, room, plain_len: 0 }
            })
            .collect();
        self.keys.open(&mut rows)?;
        let admitted = rows.iter().all(|row| layout.admits(row.place.index, row.plain_len));
        if admitted { Ok(rows.iter().map(|row| row.plain_len).sum()) } else { Err(OpenError::Refused) }
    }
}

/// Appends what `open` writes and counts, or nothing: what a failed `open` wrote is wiped. The room has at least one
/// byte for each segment, an empty one included, so that cut into segments it never comes out one short.
fn append(
    room_len: usize,
    plain: &mut Vec<u8>,
    open: impl FnOnce(&mut [u8]) -> Result<usize, OpenError>,
) -> Result<(), OpenError> {
    let start = plain.len();
    plain.resize(start + room_len, 0);
    match open(&mut plain[start..]) {
        Ok(plain_len) => {
            plain.truncate(start + plain_len);
            Ok(())
        }
        Err(refused) => {
            plain[start..].zeroize();
            plain.truncate(start);
            Err(refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Context, HEADER_LEN, KeyId, Kind, Sealer, SegmentShift};

    const SEGMENT: usize = 512;
    const SEALED_SEGMENT: usize = SEGMENT + SEGMENT_OVERHEAD;

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes(&mut [byte; 32])
    }

    fn context() -> ContextDigest {
        Context { object_key: b"k", ..Context::new(Kind::Stream) }.digest()
    }

    /// Bytes with a prime period: no two blocks look alike.
    fn painted(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn seal(plain: &[u8]) -> Vec<u8> {
        let shift = SegmentShift::new(9).unwrap();
        let mut sealer = Sealer::new(&key(1), KeyId::from_bytes([7; 16]), &context(), shift).unwrap();
        let batch = sealer.next_batch(plain.len(), true).unwrap();
        let mut sealed = sealer.header_bytes().to_vec();
        sealed.resize(HEADER_LEN + batch.sealed_len(), 0);
        batch.seal(plain, &mut sealed[HEADER_LEN..]).unwrap();
        sealed
    }

    /// Opens a whole sealed stream, knowing only its bytes.
    fn open(sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (header, segments) = sealed.split_at_checked(HEADER_LEN).unwrap_or((sealed, &[]));
        let opener = Opener::new(&key(1), header, &context())?;
        let layout = opener.layout(sealed.len() as u64)?;
        let (mut plain, mut parallel) = (Vec::new(), Vec::new());
        let opened = opener.open_batch(&layout, 0, segments, &mut plain);
        assert_eq!(opened.is_ok(), opener.open_batch_parallel(&layout, 0, segments, &mut parallel).is_ok());
        assert_eq!(plain, parallel);
        opened.map(|()| plain)
    }

    fn check_refused(sealed: &[u8]) {
        let refused = matches!(open(sealed), Err(OpenError::Refused));
        assert!(refused, "{} bytes were opened", sealed.len());
    }

    /// Where a segment lies that has `count` full ones before it.
    fn segment(nth: usize) -> std::ops::Range<usize> {
        HEADER_LEN + nth * SEALED_SEGMENT..HEADER_LEN + (nth + 1) * SEALED_SEGMENT
    }

    #[test]
    fn two_segments_that_trade_places_are_refused() {
        // Both are full, so every length stays right and only the tags can notice.
        let mut sealed = seal(&painted(2 * SEGMENT + 1));
        let first = sealed[segment(0)].to_vec();
        sealed.copy_within(segment(1), HEADER_LEN);
        sealed[segment(1)].copy_from_slice(&first);
        check_refused(&sealed);
    }

    #[test]
    fn a_segment_that_stands_there_twice_is_refused() {
        let mut sealed = seal(&painted(3 * SEGMENT));
        sealed.copy_within(segment(0), segment(1).start);
        check_refused(&sealed);
    }

    #[test]
    fn a_stream_cut_at_any_byte_is_refused() {
        let sealed = seal(&painted(2 * SEGMENT + 40));
        for len in 0..sealed.len() {
            check_refused(&sealed[..len]);
        }
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let sealed = seal(&painted(SEGMENT));
        for len in [1, 16, 32, 48, SEALED_SEGMENT] {
            check_refused(&[sealed.as_slice(), &vec![0; len]].concat());
        }
        check_refused(&[&sealed[..], &sealed[segment(0)]].concat());
    }

    #[test]
    fn every_bit_that_flips_is_noticed() {
        let mut sealed = seal(&painted(SEGMENT + 30));
        for bit in 0..8 * sealed.len() {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&sealed).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(open(&sealed).unwrap(), painted(SEGMENT + 30));
    }

    #[test]
    fn another_key_or_context_is_refused_before_any_segment() {
        let sealed = seal(b"plain");
        let header = &sealed[..HEADER_LEN];
        assert!(matches!(Opener::new(&key(2), header, &context()), Err(OpenError::Refused)));
        let other = Context { object_key: b"l", ..Context::new(Kind::Stream) }.digest();
        assert!(matches!(Opener::new(&key(1), header, &other), Err(OpenError::Refused)));
    }

    #[test]
    fn a_segment_of_another_stream_under_the_same_key_is_refused() {
        let (mut one, two) = (seal(&painted(SEGMENT)), seal(&painted(SEGMENT)));
        one[segment(0)].copy_from_slice(&two[segment(0)]);
        check_refused(&one);
    }

    #[test]
    fn a_failure_releases_nothing() {
        let mut sealed = seal(&painted(4 * SEGMENT));
        sealed[segment(3)][0] ^= 1;
        let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
        let layout = opener.layout(sealed.len() as u64).unwrap();
        let mut plain = Vec::with_capacity(8 * SEGMENT);
        plain.extend(b"before");
        assert!(opener.open_batch(&layout, 0, &sealed[HEADER_LEN..], &mut plain).is_err());
        assert_eq!(plain, b"before");
    }

    #[test]
    fn a_known_length_is_checked_against_the_padding() {
        let sealed = seal(&painted(SEGMENT + 20));
        let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
        for plain_len in SEGMENT + 16..SEGMENT + 32 {
            let layout = Layout::from_plain(plain_len as u64, opener.header().segment_shift());
            assert_eq!(layout.sealed_len(), sealed.len() as u64);
            let opened = opener.open_batch(&layout, 0, &sealed[HEADER_LEN..], &mut Vec::new());
            let last = opener.open_last(&layout, &sealed[segment(1).start..]);
            assert_eq!((opened.is_ok(), last.is_ok()), (plain_len == SEGMENT + 20, plain_len == SEGMENT + 20));
        }
    }

    #[test]
    fn the_last_segment_tells_the_length() {
        for plain_len in [0, 1, 15, 16, 17, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT] {
            let sealed = seal(&painted(plain_len));
            let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
            let layout = opener.layout(sealed.len() as u64).unwrap();
            let start = layout.segment_offset(layout.segment_count() - 1) as usize;
            assert_eq!(opener.open_last(&layout, &sealed[start..]).unwrap(), plain_len as u64);
        }
    }

    #[test]
    fn bytes_that_are_no_whole_segments_are_refused_as_such() {
        let sealed = seal(&painted(2 * SEGMENT + 1));
        let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
        let layout = opener.layout(sealed.len() as u64).unwrap();
        let other = Layout::from_plain(2 * SEGMENT as u64 + 1, SegmentShift::new(10).unwrap());
        let two = &sealed[segment(0).start..segment(1).end];
        for (layout, first, sealed) in [
            (&layout, 0, &two[1..]),
            (&layout, 0, &two[..two.len() - 16]),
            (&layout, 0, &two[..0]),
            (&layout, 2, two),
            (&layout, 3, two),
            (&layout, u64::MAX, two),
            (&other, 0, two),
        ] {
            let refused = opener.open_batch(layout, first, sealed, &mut Vec::new());
            assert!(matches!(refused, Err(OpenError::NotWholeSegments { .. })), "first {first}");
        }
    }

    #[test]
    fn an_opener_is_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>() {}
        shared::<Opener>();
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_again(len in 0usize..4000) {
            prop_assert_eq!(open(&seal(&painted(len))).unwrap(), painted(len));
        }

        #[test]
        fn a_range_opens_to_its_bytes(len in 0usize..4000, start in 0u64..4000, take in 0u64..4000) {
            let sealed = seal(&painted(len));
            let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
            let layout = Layout::from_plain(len as u64, opener.header().segment_shift());
            let range = layout.range(start..start + take);
            let mut plain = Vec::new();
            if range.count > 0 {
                let segments = &sealed[range.sealed_offset as usize..][..range.sealed_len as usize];
                opener.open_batch(&layout, range.first, segments, &mut plain).unwrap();
            }
            let taken = &plain[range.skip..][..range.take as usize];
            let (from, to) = ((start as usize).min(len), ((start + take) as usize).min(len));
            prop_assert_eq!(taken, &painted(len)[from..to]);
        }

        #[test]
        fn no_bytes_make_the_opener_panic(mut bytes: Vec<u8>, segments in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let sealed = seal(b"");
            bytes.extend(segments);
            let opener = Opener::new(&key(1), &sealed[..HEADER_LEN], &context()).unwrap();
            if let Ok(layout) = opener.layout((HEADER_LEN + bytes.len()) as u64) {
                prop_assert!(opener.open_batch(&layout, 0, &bytes, &mut Vec::new()).is_err());
            }
        }
    }
}
