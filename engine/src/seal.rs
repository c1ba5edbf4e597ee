//! A sealed stream, made batch by batch as the bytes come.
//!
//! `Sealer` hands out indices in order, each exactly once, inside a `SealBatch` that sealing consumes: an index sealed
//! twice under one salt would give the authentication key away. So an interrupted sealing never resumes; it begins
//! again with a new `Sealer`, which means a new salt. Batches may be sealed in any order and on any thread.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{
    cbc::CpuPath,
    context::ContextDigest,
    derive::StreamKeys,
    error::{CipherFailed, SealError},
    header::{Commitment, HEADER_LEN, Header, SegmentShift, Unbound},
    key::{DataKey, KeyId},
    layout::{PLAIN_LEN_MAX, SEGMENT_OVERHEAD, sealed_segment_len},
    pool,
    segment::{Rows, SealKeys},
};

/// Plaintext bytes of a full batch, unless one segment is longer: two such buffers fit a core's L2.
pub(crate) const BATCH_LEN: usize = 256 * 1024;
/// Segments that one worker of the pool takes at once: enough to fill the lanes of the widest path.
const ROWS: usize = 16;

/// One sealed stream in the making: its header, and the indices not handed out yet. Not Clone.
pub struct Sealer {
    header: Header,
    keys: Arc<SealKeys>,
    next_index: u64,
    ended: bool,
}

impl Sealer {
    /// Begins a sealed stream with a fresh salt.
    ///
    /// # Errors
    /// [`SealError::Random`], [`SealError::Cipher`], and [`SealError::Path`] where `STRONGROOM_CPU` asks for what this
    /// processor lacks.
    pub fn new(
        key: &DataKey,
        key_id: KeyId,
        context: &ContextDigest,
        segment_shift: SegmentShift,
    ) -> Result<Self, SealError> {
        Self::on_path(CpuPath::chosen()?, key, key_id, context, segment_shift)
    }

    /// The same on a path of the caller's choice, for tests and measurements: every path seals to the same bytes.
    ///
    /// # Errors
    /// [`SealError::Random`] and [`SealError::Cipher`].
    pub fn on_path(
        path: CpuPath,
        key: &DataKey,
        key_id: KeyId,
        context: &ContextDigest,
        segment_shift: SegmentShift,
    ) -> Result<Self, SealError> {
        Self::begin(path, key, Unbound::fresh(key_id, segment_shift)?, context)
    }

    pub(crate) fn begin(
        path: CpuPath,
        key: &DataKey,
        unbound: Unbound,
        context: &ContextDigest,
    ) -> Result<Self, SealError> {
        let mut derived = StreamKeys::default();
        let commitment = derived.derive(key, unbound.prefix(), context)?;
        let keys = Arc::new(SealKeys::new(path, &derived.segment_keys())?);
        Ok(Self { header: unbound.bind(commitment), keys, next_index: 0, ended: false })
    }

    /// The header, which stands before the first segment.
    pub fn header_bytes(&self) -> &[u8; HEADER_LEN] {
        self.header.as_bytes()
    }

    /// What object records keep to know this very stream again.
    pub fn commitment(&self) -> Commitment {
        self.header.commitment()
    }

    /// Plaintext bytes of a full segment.
    pub fn segment_len(&self) -> usize {
        self.header.segment_shift().segment_len()
    }

    /// Plaintext bytes of a full batch: 256 KiB, or one segment where that is longer.
    pub fn batch_len(&self) -> usize {
        BATCH_LEN.max(self.segment_len())
    }

    /// Hands out the next segments, for `plain_len` bytes of plaintext. A batch that is not the `last` is one or more
    /// full segments; the last is never empty, unless it is also the first: so hold a batch back until the end of the
    /// plaintext is known. Any length is good, [`Self::batch_len`] is the fast one.
    ///
    /// # Errors
    /// [`SealError::NotWholeSegments`], [`SealError::EmptyLastBatch`], [`SealError::AfterLast`] and
    /// [`SealError::TooLong`]. No index was handed out then.
    pub fn next_batch(&mut self, plain_len: usize, last: bool) -> Result<SealBatch, SealError> {
        let segment_len = self.segment_len();
        if self.ended {
            return Err(SealError::AfterLast);
        }
        if !last && (plain_len == 0 || !plain_len.is_multiple_of(segment_len)) {
            return Err(SealError::NotWholeSegments { plain_len, segment_len });
        }
        if last && plain_len == 0 && self.next_index > 0 {
            return Err(SealError::EmptyLastBatch);
        }
        let sealed_so_far = self.next_index << self.header.segment_shift().bits();
        if plain_len as u64 > PLAIN_LEN_MAX - sealed_so_far {
            return Err(SealError::TooLong);
        }
        let batch = SealBatch { keys: Arc::clone(&self.keys), first: self.next_index, plain_len, segment_len, last };
        self.next_index += batch.segment_count();
        self.ended = last;
        Ok(batch)
    }
}

/// The right to seal some segments, once: an index is sealed twice under one salt by nobody, since sealing takes the
/// batch away.
///
/// ```compile_fail,E0382
/// fn twice(batch: strongroom_engine::SealBatch, plain: &[u8], sealed: &mut [u8]) {
///     let _ = batch.seal(plain, sealed);
///     let _ = batch.seal(plain, sealed);
/// }
/// ```
#[must_use = "its segments are missing from the sealed stream unless it is sealed"]
pub struct SealBatch {
    keys: Arc<SealKeys>,
    first: u64,
    plain_len: usize,
    segment_len: usize,
    last: bool,
}

impl SealBatch {
    /// Plaintext bytes that it was made for.
    pub fn plain_len(&self) -> usize {
        self.plain_len
    }

    /// Bytes of its sealed segments.
    pub fn sealed_len(&self) -> usize {
        let full = self.segment_count() as usize - 1;
        full * (self.segment_len + SEGMENT_OVERHEAD) + sealed_segment_len(self.plain_len - full * self.segment_len)
    }

    /// Seals `plain` into `sealed` on the calling thread.
    ///
    /// # Errors
    /// [`SealError::WrongBuffer`] where a buffer has not exactly [`Self::plain_len`] or [`Self::sealed_len`] bytes,
    /// [`SealError::Cipher`]. The indices are spent then: the stream must begin anew.
    pub fn seal(self, plain: &[u8], sealed: &mut [u8]) -> Result<(), SealError> {
        self.check(plain.len(), sealed)?;
        Ok(self.seal_rows(Some(plain), sealed, 0)?)
    }

    /// Seals `plain` into `sealed`, groups of segments side by side on the worker pool. Blocks until all are done.
    ///
    /// # Errors
    /// As for [`Self::seal`].
    pub fn seal_parallel(self, plain: &[u8], sealed: &mut [u8]) -> Result<(), SealError> {
        self.check(plain.len(), sealed)?;
        let (text_len, rows_len) = (ROWS * self.segment_len, ROWS * (self.segment_len + SEGMENT_OVERHEAD));
        let seal = |(nth, sealed): (usize, &mut [u8])| {
            let start = nth * text_len;
            let plain = &plain[start..plain.len().min(start + text_len)];
            self.seal_rows(Some(plain), sealed, nth * ROWS)
        };
        Ok(pool::run(|| sealed.par_chunks_mut(rows_len).enumerate().try_for_each(seal))?)
    }

    /// Seals in place, on the calling thread: `sealed` holds each segment's plaintext where its ciphertext goes, that
    /// is, every [`Sealer::segment_len`] + 32 bytes. Faster than [`Self::seal`] where the plaintext can be read there.
    ///
    /// # Errors
    /// As for [`Self::seal`].
    pub fn seal_in_place(self, sealed: &mut [u8]) -> Result<(), SealError> {
        self.check(self.plain_len, sealed)?;
        Ok(self.seal_rows(None, sealed, 0)?)
    }

    fn segment_count(&self) -> u64 {
        self.plain_len.div_ceil(self.segment_len).max(1) as u64
    }

    fn check(&self, plain_given: usize, sealed: &[u8]) -> Result<(), SealError> {
        let (plain_len, sealed_len) = (self.plain_len, self.sealed_len());
        if (plain_given, sealed.len()) == (plain_len, sealed_len) {
            return Ok(());
        }
        Err(SealError::WrongBuffer { plain_len, sealed_len, plain_given, sealed_given: sealed.len() })
    }

    /// Some rows of the batch, the first of which is its row `first`.
    fn seal_rows(&self, plain: Option<&[u8]>, sealed: &mut [u8], first: usize) -> Result<(), CipherFailed> {
        let plain_len = plain.map_or(self.plain_len, <[u8]>::len);
        let ends = first * self.segment_len + plain_len == self.plain_len;
        let (segment_len, first, last) = (self.segment_len, self.first + first as u64, self.last && ends);
        self.keys.seal(&mut Rows { plain, plain_len, sealed, segment_len, first, last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Context, Kind, Layout, vector_file::Vector};

    fn sealer(bits: u8) -> Sealer {
        let unbound = Unbound::with_salt(KeyId::from_bytes([1; 16]), SegmentShift::new(bits).unwrap(), [2; 32]);
        Sealer::begin(
            CpuPath::chosen().unwrap(),
            &DataKey::from_bytes(&mut [3; 32]),
            unbound,
            &Context::new(Kind::Stream).digest(),
        )
        .unwrap()
    }

    /// Bytes with a prime period: no two blocks look alike.
    fn painted(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn sealed_in_batches(mut sealer: Sealer, plain: &[u8], batch_len: usize) -> Vec<u8> {
        let mut sealed = sealer.header_bytes().to_vec();
        let count = plain.len().div_ceil(batch_len).max(1);
        for nth in 0..count {
            let part = &plain[nth * batch_len..plain.len().min((nth + 1) * batch_len)];
            let batch = sealer.next_batch(part.len(), nth + 1 == count).unwrap();
            let start = sealed.len();
            sealed.resize(start + batch.sealed_len(), 0);
            if nth % 2 == 0 {
                batch.seal(part, &mut sealed[start..]).unwrap();
            } else {
                batch.seal_parallel(part, &mut sealed[start..]).unwrap();
            }
        }
        sealed
    }

    #[test]
    fn every_vector_that_opens_is_what_the_sealer_makes() {
        for vector in Vector::all().iter().filter(|vector| vector.name.starts_with("opened-")) {
            let shift = SegmentShift::new(vector.number("shift")).unwrap();
            let key_id = KeyId::from_bytes(vector.array("key-id"));
            let unbound = Unbound::with_salt(key_id, shift, vector.array("salt"));
            let sealer = Sealer::begin(CpuPath::chosen().unwrap(), &vector.key(), unbound, &vector.context()).unwrap();
            let sealed = sealed_in_batches(sealer, &vector.bytes("plain"), shift.segment_len());
            assert!(sealed == vector.bytes("sealed"), "{}: {}", vector.name, vector.text("why"));
        }
    }

    #[test]
    fn a_batch_can_go_to_another_thread() {
        fn sendable<T: Send + 'static>() {}
        sendable::<SealBatch>();
        sendable::<Sealer>();
    }

    #[test]
    fn after_the_last_batch_there_is_none() {
        let mut sealer = sealer(9);
        let _ = sealer.next_batch(512, true).unwrap();
        for (plain_len, last) in [(512, false), (1, true), (0, true)] {
            assert!(matches!(sealer.next_batch(plain_len, last), Err(SealError::AfterLast)));
        }
    }

    #[test]
    fn a_batch_before_the_last_is_whole_segments() {
        let mut sealer = sealer(9);
        for plain_len in [0, 1, 511, 513, 1023] {
            assert!(matches!(sealer.next_batch(plain_len, false), Err(SealError::NotWholeSegments { .. })));
        }
        assert_eq!(sealer.next_batch(1024, false).unwrap().first, 0);
        assert_eq!(sealer.next_batch(512, false).unwrap().first, 2, "refused batches took no index");
    }

    #[test]
    fn only_an_empty_object_has_an_empty_last_batch() {
        assert_eq!(sealer(9).next_batch(0, true).unwrap().sealed_len(), 32);
        let mut sealer = sealer(9);
        let _ = sealer.next_batch(512, false).unwrap();
        assert!(matches!(sealer.next_batch(0, true), Err(SealError::EmptyLastBatch)));
    }

    #[test]
    fn a_stream_ends_at_its_greatest_length() {
        let mut sealer = sealer(20);
        sealer.next_index = (PLAIN_LEN_MAX >> 20) - 1;
        assert!(matches!(sealer.next_batch((1 << 20) + 1, true), Err(SealError::TooLong)));
        assert!(matches!(sealer.next_batch(usize::MAX, true), Err(SealError::TooLong)));
        assert!(sealer.next_batch(1 << 20, true).is_ok());
    }

    #[test]
    fn buffers_of_another_length_are_refused() {
        for (plain_len, sealed_len) in [(599, 656), (601, 656), (600, 655), (600, 657), (0, 0)] {
            let batch = sealer(9).next_batch(600, true).unwrap();
            assert_eq!(batch.sealed_len(), 656);
            let refused = batch.seal(&vec![0; plain_len], &mut vec![0; sealed_len]);
            assert!(matches!(refused, Err(SealError::WrongBuffer { .. })));
        }
    }

    #[test]
    fn a_sealing_made_again_has_another_salt() {
        let (key, context) = (DataKey::generate().unwrap(), Context::new(Kind::Stream).digest());
        let shift = SegmentShift::for_plain_len(1);
        let again = || Sealer::new(&key, KeyId::from_bytes([1; 16]), &context, shift).unwrap();
        let (one, two) = (again(), again());
        assert_ne!(one.header_bytes()[32..64], two.header_bytes()[32..64]);
        assert!(!one.commitment().matches(&two.commitment()));
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_batched_does_not_show(len in 0usize..6000, segments in 1usize..5) {
            let plain = painted(len);
            let whole = sealed_in_batches(sealer(9), &plain, usize::MAX / 2);
            prop_assert_eq!(whole.len() as u64, Layout::from_plain(len as u64, SegmentShift::new(9).unwrap()).sealed_len());
            prop_assert!(sealed_in_batches(sealer(9), &plain, segments * 512) == whole);
        }
    }
}
