//! A sealed file, opened whole or by ranges.
//!
//! Its header is proven and its last segment authentic before its length is believed, once, when it is opened; after
//! that a range costs the segments that it touches, wherever it lies. Each batch is copied out of the map once, and only
//! the copy is verified and opened: whoever changes the file in between changes nothing that was looked at.

use std::{
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    sync::Mutex,
};

use rayon::prelude::*;

use super::{Buffers, Progress, Watch, map::Map, target::Target};
use crate::{
    context::ContextDigest,
    error::{OpenError, WriteError},
    header::{HEADER_LEN, Header},
    key::DataKey,
    layout::Layout,
    open::Opener,
    pool,
    seal::BATCH_LEN,
};

/// Fewer plaintext bytes than this are opened where the caller is: to wake the pool takes longer. About 10 us.
const PARALLEL_LEN_MIN: u64 = 64 * 1024;

/// A sealed file that was proven to belong to one key and one context, and is whole up to its end.
pub struct SealedSource {
    path: PathBuf,
    map: Map,
    opener: Opener,
    layout: Layout,
    plain_len: u64,
    /// What the last range used: to take and wipe memory anew costs as much as a segment.
    spare: Mutex<Buffers>,
}

impl SealedSource {
    /// Maps the file, checks its header against key and context, and authenticates its last segment.
    ///
    /// # Errors
    /// [`OpenError::Read`], and those of [`Opener::new`] and [`Opener::open_batch`].
    pub fn open(path: &Path, key: &DataKey, context: &ContextDigest) -> Result<Self, OpenError> {
        let read = |offset| move |source| OpenError::Read { path: path.to_owned(), offset, source };
        let map = Map::open(path).map_err(read(0))?;
        let mut header = [0; HEADER_LEN];
        let header = &mut header[..map.len().min(HEADER_LEN as u64) as usize];
        map.copy(0, header).map_err(read(0))?;
        let opener = Opener::new(key, header, context)?;
        let sealed_layout = opener.layout(map.len())?;
        let last = sealed_layout.segment_count() - 1;
        let mut sealed = vec![0; sealed_layout.segment_sealed_len(last)];
        let offset = sealed_layout.segment_offset(last);
        map.copy(offset, &mut sealed).map_err(read(offset))?;
        let plain_len = opener.open_last(&sealed_layout, &sealed)?;
        let layout = Layout::from_plain(plain_len, sealed_layout.segment_shift());
        Ok(Self { path: path.to_owned(), map, opener, layout, plain_len, spare: Mutex::default() })
    }

    /// Bytes of the plaintext, authentic.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// The header, proven.
    pub fn header(&self) -> &Header {
        self.opener.header()
    }

    /// Opens all of it into `target`, which is then still to be kept. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Read`], [`OpenError::Write`] (a full disk too), [`OpenError::Cancelled`], and those of
    /// [`Opener::open_batch`].
    pub fn open_to(&self, target: &Target, watch: Watch<'_>) -> Result<(), OpenError> {
        target.reserve(self.plain_len)?;
        let (batches, progress) = (self.batches(0..self.layout.segment_count()), Progress::new(watch, self.plain_len));
        pool::run(|| {
            batches.par_bridge().try_for_each_init(Buffers::default, |buffers, batch| {
                if watch.cancelled() {
                    return Err(OpenError::Cancelled);
                }
                let first = batch.start;
                let plain = self.open_here(batch, buffers)?;
                target.write_at(plain, first << self.layout.segment_shift().bits())?;
                progress.add(plain.len());
                Ok(())
            })
        })
    }

    /// Opens only the plaintext bytes `range` and writes them to `target` in order, each batch once all of it is
    /// authentic; gives their number. A range that reaches beyond the end is cut there. Blocks.
    ///
    /// # Errors
    /// As for [`Self::open_to`]. What was written before an error is authentic, but not all.
    pub fn open_range(&self, range: Range<u64>, target: &mut impl Write, watch: Watch<'_>) -> Result<u64, OpenError> {
        let write = |source| WriteError::from_io(Path::new("the target of a range"), source);
        let wanted = self.layout.range(range);
        let open = if wanted.sealed_len < PARALLEL_LEN_MIN { Self::open_here } else { Self::open_on_pool };
        // Whoever comes second meanwhile takes memory of their own.
        let (mut spare, mut own) = (self.spare.try_lock(), Buffers::default());
        let buffers = spare.as_deref_mut().unwrap_or(&mut own);
        let (mut skip, mut left) = (wanted.skip, wanted.take);
        for batch in self.batches(wanted.first..wanted.first + wanted.count) {
            if watch.cancelled() {
                return Err(OpenError::Cancelled);
            }
            let plain = open(self, batch, buffers)?;
            let taken = left.min((plain.len() - skip) as u64);
            target.write_all(&plain[skip..skip + taken as usize]).map_err(write)?;
            left -= taken;
            skip = 0;
            (watch.progress)(wanted.take - left, wanted.take);
        }
        target.flush().map_err(write)?;
        Ok(wanted.take)
    }

    /// `segments`, cut into ranges of a full batch each.
    fn batches(&self, segments: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send + use<> {
        let batch = (BATCH_LEN / self.layout.segment_shift().segment_len()).max(1) as u64;
        segments.clone().step_by(batch as usize).map(move |first| first..(first + batch).min(segments.end))
    }

    /// Opens a batch on the calling thread.
    fn open_here<'b>(&self, segments: Range<u64>, buffers: &'b mut Buffers) -> Result<&'b [u8], OpenError> {
        self.copy(&segments, &mut buffers.sealed)?;
        let room_len = self.opener.room_len(&self.layout, segments.start, buffers.sealed.len());
        buffers.reserve_plain(room_len);
        buffers.plain.resize(room_len, 0);
        let (sealed, plain) = (&buffers.sealed, &mut buffers.plain);
        let plain_len = self.opener.open_batch_into(&self.layout, segments.start, sealed, plain)?;
        Ok(&buffers.plain[..plain_len])
    }

    /// Opens a batch on all threads of the pool.
    fn open_on_pool<'b>(&self, segments: Range<u64>, buffers: &'b mut Buffers) -> Result<&'b [u8], OpenError> {
        self.copy(&segments, &mut buffers.sealed)?;
        buffers.plain.clear();
        buffers.reserve_plain(self.opener.room_len(&self.layout, segments.start, buffers.sealed.len()));
        self.opener.open_batch_parallel(&self.layout, segments.start, &buffers.sealed, &mut buffers.plain)?;
        Ok(&buffers.plain)
    }

    /// Copies a batch out of the map, once: only the copy is looked at.
    fn copy(&self, segments: &Range<u64>, sealed: &mut Vec<u8>) -> Result<(), OpenError> {
        let offset = self.layout.segment_offset(segments.start);
        sealed.resize((self.layout.segment_offset(segments.end) - offset) as usize, 0);
        let read = |source| OpenError::Read { path: self.path.clone(), offset, source };
        self.map.copy(offset, sealed).map_err(read)
    }
}
