//! A whole file, sealed.
//!
//! Batches are handed out in order and sealed by whoever is free; each knows its place in the target. Two workers hold
//! two batches, so memory stays at a megabyte each whatever the file's length.

use std::{io, iter, path::Path};

use rayon::prelude::*;

use super::{Buffers, Progress, Watch, map::Map, target::Target};
use crate::{
    context::ContextDigest,
    error::SealError,
    header::{Commitment, SegmentShift},
    key::{DataKey, KeyId},
    layout::Layout,
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
    let batches = batches(&mut sealer, plain_len);
    pool::run(|| {
        batches.par_bridge().try_for_each_init(Buffers::default, |buffers, batch| {
            let (offset, batch) = batch?;
            if watch.cancelled() {
                return Err(SealError::Cancelled);
            }
            let (plain, sealed) = buffers.of(batch.plain_len(), batch.sealed_len());
            map.copy(offset, plain).map_err(|error| read(offset, error))?;
            batch.seal(plain, sealed)?;
            target.write_at(sealed, layout.segment_offset(offset >> layout.segment_shift().bits()))?;
            progress.add(plain.len());
            Ok(())
        })
    })?;
    map.check_whole().map_err(|error: io::Error| read(plain_len, error))?;
    Ok(SealedFile { plain_len, sealed_len: layout.sealed_len(), commitment })
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
