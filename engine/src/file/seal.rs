//! A whole file, sealed.
//!
//! Batches are handed out in order and sealed by whoever is free; each knows its place in the target. A worker copies each
//! segment to where its ciphertext goes and seals it there, so it holds one batch, whatever the file's length.

use std::{io, iter, path::Path};

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::{Progress, Watch, map::Map, target::Target};
use crate::{
    context::ContextDigest,
    error::SealError,
    header::{Commitment, HEADER_LEN, SegmentShift},
    key::{DataKey, KeyId},
    layout::{Layout, SEGMENT_OVERHEAD},
    pool,
    seal::{SealBatch, Sealer},
};

/// What became of a file that was sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealedFile {
    /// Bytes of the source.
    pub plain_len: u64,
    /// Bytes of the target.
    pub sealed_len: u64,
    /// What binds the target to its key and context.
    pub commitment: Commitment,
}

/// Seals the file `source` into `target`, which is then still to be kept. Blocks.
///
/// A source that others write to meanwhile is sealed as it was read, batch by batch, from different moments; one that
/// they cut short is an error.
///
/// # Errors
/// [`SealError::Read`], [`SealError::Write`] (a full disk too), [`SealError::Cancelled`], those of [`Sealer::new`],
/// and [`SealError::TooLong`].
pub fn seal_file(
    source: &Path,
    target: &Target,
    key: &DataKey,
    key_id: KeyId,
    context: &ContextDigest,
    watch: Watch<'_>,
) -> Result<SealedFile, SealError> {
    let read = |offset, error| SealError::Read { path: source.to_owned(), offset, source: error };
    let map = Map::open(source).map_err(|error| read(0, error))?;
    let plain_len = map.len();
    let layout = Layout::from_plain(plain_len, SegmentShift::for_plain_len(plain_len));
    let mut sealer = Sealer::new(key, key_id, context, layout.segment_shift())?;
    target.reserve(layout.sealed_len())?;
    target.write_at(sealer.header_bytes(), 0)?;

    let (commitment, progress) = (sealer.commitment(), Progress::new(watch, plain_len));
    let (segment_len, row_len) = (sealer.segment_len(), sealer.segment_len() + SEGMENT_OVERHEAD);
    let batches = batches(&mut sealer, plain_len);
    pool::run(|| {
        batches.par_bridge().try_for_each_init(Rows::default, |rows, batch| {
            let (offset, batch) = batch?;
            if watch.cancelled() {
                return Err(SealError::Cancelled);
            }
            let (plain_len, rows) = (batch.plain_len(), rows.of(batch.sealed_len()));
            for (row, start) in rows.chunks_mut(row_len).zip((0..plain_len).step_by(segment_len)) {
                let (plain, start) = (&mut row[..segment_len.min(plain_len - start)], offset + start as u64);
                map.copy(start, plain).map_err(|error| read(start, error))?;
            }
            batch.seal_in_place(rows)?;
            target.write_at(rows, layout.segment_offset(offset >> layout.segment_shift().bits()))?;
            progress.add(plain_len);
            Ok(())
        })
    })?;
    map.check_whole().map_err(|error: io::Error| read(plain_len, error))?;
    Ok(SealedFile { plain_len, sealed_len: layout.sealed_len(), commitment })
}

/// One worker's memory: a batch of rows, plaintext first and ciphertext then, wiped in the end.
#[derive(Default)]
struct Rows(Zeroizing<Vec<u8>>);

impl Rows {
    /// Room for `sealed_len` bytes, as far from a cache line as they will lie in the file: rows that split lines cost the
    /// cipher 9 %. A vector that grows leaves its old memory unwiped: the first batch is the longest.
    fn of(&mut self, sealed_len: usize) -> &mut [u8] {
        const LINE: usize = 64;
        self.0.resize(sealed_len + 2 * LINE, 0);
        let start = self.0.as_ptr().align_offset(LINE).min(LINE) + HEADER_LEN % LINE;
        &mut self.0[start..start + sealed_len]
    }
}

/// The batches of `plain_len` bytes, each with its offset in the plaintext: all full but the last.
fn batches(sealer: &mut Sealer, plain_len: u64) -> impl Iterator<Item = Result<(u64, SealBatch), SealError>> + Send {
    let mut next = Some(0);
    iter::from_fn(move || {
        let offset = next?;
        let (left, full) = (plain_len - offset, sealer.batch_len());
        let last = left <= full as u64;
        next = if last { None } else { Some(offset + full as u64) };
        let batch = sealer.next_batch(if last { left as usize } else { full }, last);
        Some(batch.map(|batch| (offset, batch)))
    })
}
