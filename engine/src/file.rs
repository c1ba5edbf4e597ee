//! Whole files on the worker pool, with progress and cancel.
//!
//! The source is a memory map; each batch is copied once into a private buffer of its worker, and sealed or opened
//! there. The target appears whole and durable, or not at all. A source that another process cuts short meanwhile is
//! the one thing not handled here: reading such a map ends the process.

use std::{
    io::{self, Write},
    iter,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::{
    context::ContextDigest,
    error::{OpenError, SealError},
    header::{Commitment, HEADER_LEN, SegmentShift},
    key::{DataKey, KeyId},
    layout::Layout,
    map::Map,
    open::Opener,
    pool,
    seal::{BATCH_LEN, SealBatch, Sealer},
    target::Target,
};

/// How a caller follows a file, and stops it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called after each batch with the plaintext bytes done and those there are, from any worker, in any order.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Looked at before each batch; once true, the work ends with `Cancelled` and leaves no target.
    pub cancel: &'a AtomicBool,
}

impl Watch<'_> {
    /// Nobody watches, nobody stops it.
    pub fn none() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { progress: &|_, _| {}, cancel: &NEVER }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

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

/// Seals the file `source` into the file `target`, which only its owner may read. Blocks until it is durable.
///
/// # Errors
/// [`SealError::Read`], [`SealError::Write`] (a full disk too), [`SealError::Cancelled`], those of [`Sealer::new`],
/// and [`SealError::TooLong`]. What stood at `target` before then still does.
pub fn seal_file(
    source: &Path,
    target: &Path,
    key: &DataKey,
    key_id: KeyId,
    context: &ContextDigest,
    watch: Watch<'_>,
) -> Result<SealedFile, SealError> {
    let read = |offset, error| SealError::Read { path: source.to_owned(), offset, source: error };
    let write = |error| SealError::Write { path: target.to_owned(), source: error };
    let map = Map::open(source).map_err(|error| read(0, error))?;
    let layout = Layout::from_plain(map.len(), SegmentShift::for_plain_len(map.len()));
    let mut sealer = Sealer::new(key, key_id, context, layout.segment_shift())?;
    let file = Target::create(target).map_err(write)?;
    file.write_at(sealer.header_bytes(), 0).map_err(write)?;

    let (commitment, plain_len, done) = (sealer.commitment(), map.len(), AtomicU64::new(0));
    let batches = batches(&mut sealer, plain_len);
    pool::run(|| {
        batches.par_bridge().try_for_each_init(Buffers::default, |buffers, batch| {
            let (offset, batch) = batch?;
            if watch.cancelled() {
                return Err(SealError::Cancelled);
            }
            let (plain, sealed) = buffers.of(batch.plain_len(), batch.sealed_len());
            if !map.copy(offset, plain) {
                return Err(read(offset, io::ErrorKind::UnexpectedEof.into()));
            }
            batch.seal(plain, sealed)?;
            let index = offset >> layout.segment_shift().bits();
            file.write_at(sealed, layout.segment_offset(index)).map_err(write)?;
            let plain_len_done = done.fetch_add(plain.len() as u64, Ordering::Relaxed) + plain.len() as u64;
            (watch.progress)(plain_len_done, plain_len);
            Ok(())
        })
    })?;
    file.keep().map_err(write)?;
    Ok(SealedFile { plain_len, sealed_len: layout.sealed_len(), commitment })
}

/// Opens the sealed file `source` into the file `target`, which only its owner may read; gives its plaintext length.
/// Blocks until it is durable.
///
/// # Errors
/// [`OpenError::Read`], [`OpenError::Write`] (a full disk too), [`OpenError::Cancelled`], those of [`Opener::new`]
/// and [`Opener::open_batch`]. What stood at `target` before then still does.
pub fn open_file(
    source: &Path,
    target: &Path,
    key: &DataKey,
    context: &ContextDigest,
    watch: Watch<'_>,
) -> Result<u64, OpenError> {
    let write = |error| OpenError::Write { path: target.to_owned(), source: error };
    let source = SealedSource::open(source, key, context)?;
    let file = Target::create(target).map_err(write)?;
    let done = AtomicU64::new(0);
    pool::run(|| {
        source.batches(0..source.layout.segment_count()).par_bridge().try_for_each_init(
            Buffers::default,
            |buffers, batch| {
                if watch.cancelled() {
                    return Err(OpenError::Cancelled);
                }
                let first = batch.start;
                let plain = source.open_batch(batch, buffers, Opener::open_batch)?;
                file.write_at(plain, first << source.layout.segment_shift().bits()).map_err(write)?;
                let plain_len_done = done.fetch_add(plain.len() as u64, Ordering::Relaxed) + plain.len() as u64;
                (watch.progress)(plain_len_done, source.plain_len);
                Ok(())
            },
        )
    })?;
    file.keep().map_err(write)?;
    Ok(source.plain_len)
}

/// Opens only the plaintext bytes `range` of the sealed file `source` and writes them to `target` in order, each batch
/// once all of it is authentic; gives their number. A range that reaches beyond the end is cut there.
///
/// # Errors
/// As for [`open_file`]. What was written before an error is authentic, but not all.
pub fn open_range(
    source: &Path,
    range: Range<u64>,
    target: &mut impl Write,
    key: &DataKey,
    context: &ContextDigest,
    watch: Watch<'_>,
) -> Result<u64, OpenError> {
    let write = |error| OpenError::Write { path: PathBuf::from("the target of a range"), source: error };
    let source = SealedSource::open(source, key, context)?;
    let wanted = source.layout.range(range);
    let (mut buffers, mut skip, mut left) = (Buffers::default(), wanted.skip, wanted.take);
    for batch in source.batches(wanted.first..wanted.first + wanted.count) {
        if watch.cancelled() {
            return Err(OpenError::Cancelled);
        }
        let plain = source.open_batch(batch, &mut buffers, Opener::open_batch_parallel)?;
        let taken = left.min((plain.len() - skip) as u64);
        target.write_all(&plain[skip..skip + taken as usize]).map_err(write)?;
        left -= taken;
        skip = 0;
        (watch.progress)(wanted.take - left, wanted.take);
    }
    target.flush().map_err(write)?;
    Ok(wanted.take)
}

/// One worker's memory, used for one batch after another; plaintext is wiped in the end.
#[derive(Default)]
struct Buffers {
    plain: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

impl Buffers {
    fn of(&mut self, plain_len: usize, sealed_len: usize) -> (&mut [u8], &mut [u8]) {
        // A vector that grows leaves its old memory unwiped: the first batch is the longest, so later ones never do.
        self.plain.resize(plain_len, 0);
        self.sealed.resize(sealed_len, 0);
        (&mut self.plain, &mut self.sealed)
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

/// A sealed file whose header is proven and whose last segment is authentic, so that its length is known.
struct SealedSource {
    path: PathBuf,
    map: Map,
    opener: Opener,
    layout: Layout,
    plain_len: u64,
}

type OpenBatch = fn(&Opener, &Layout, u64, &[u8], &mut Vec<u8>) -> Result<(), OpenError>;

impl SealedSource {
    fn open(path: &Path, key: &DataKey, context: &ContextDigest) -> Result<Self, OpenError> {
        let unread = |error| OpenError::Read { path: path.to_owned(), offset: 0, source: error };
        let map = Map::open(path).map_err(unread)?;
        let mut header = [0; HEADER_LEN];
        if !map.copy(0, &mut header) {
            return Err(OpenError::Refused);
        }
        let opener = Opener::new(key, &header, context)?;
        let sealed_layout = opener.layout(map.len())?;
        let last = sealed_layout.segment_count() - 1;
        let mut sealed = vec![0; sealed_layout.segment_sealed_len(last)];
        if !map.copy(sealed_layout.segment_offset(last), &mut sealed) {
            return Err(OpenError::Refused);
        }
        let plain_len = opener.open_last(&sealed_layout, &sealed)?;
        let layout = Layout::from_plain(plain_len, sealed_layout.segment_shift());
        Ok(Self { path: path.to_owned(), map, opener, layout, plain_len })
    }

    /// `segments`, cut into ranges of a full batch each.
    fn batches(&self, segments: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send + use<> {
        let batch = (BATCH_LEN / self.layout.segment_shift().segment_len()).max(1) as u64;
        segments.clone().step_by(batch as usize).map(move |first| first..(first + batch).min(segments.end))
    }

    /// Copies a batch out of the map, once, and opens the copy.
    fn open_batch<'b>(
        &self,
        segments: Range<u64>,
        buffers: &'b mut Buffers,
        open: OpenBatch,
    ) -> Result<&'b [u8], OpenError> {
        let offset = self.layout.segment_offset(segments.start);
        let sealed_len = self.layout.segment_offset(segments.end) - offset;
        buffers.sealed.resize(sealed_len as usize, 0);
        if !self.map.copy(offset, &mut buffers.sealed) {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(OpenError::Read { path: self.path.clone(), offset, source });
        }
        buffers.plain.clear();
        open(&self.opener, &self.layout, segments.start, &buffers.sealed, &mut buffers.plain)?;
        Ok(&buffers.plain)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use super::*;
    use crate::Context;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// The names in it, to see that nothing else was left.
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn key() -> DataKey {
        DataKey::from_bytes(&mut [1; 32])
    }

    fn id() -> KeyId {
        KeyId::from_bytes([7; 16])
    }

    fn context() -> ContextDigest {
        Context::file(&id()).digest()
    }

    /// Bytes with a prime period: no two blocks look alike.
    fn painted(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn sealed(folder: &Folder, plain: &[u8]) -> PathBuf {
        fs::write(folder.path("plain"), plain).unwrap();
        seal_file(&folder.path("plain"), &folder.path("sealed"), &key(), id(), &context(), Watch::none()).unwrap();
        folder.path("sealed")
    }

    #[test]
    fn a_file_that_was_sealed_opens_again() {
        for plain_len in [0, 1, 15, 16, 17, 1024, 16385, BATCH_LEN - 1, BATCH_LEN, BATCH_LEN + 1, 5 * BATCH_LEN + 77] {
            let folder = Folder::new();
            let sealed = sealed(&folder, &painted(plain_len));
            let opened = open_file(&sealed, &folder.path("opened"), &key(), &context(), Watch::none()).unwrap();
            assert_eq!(opened, plain_len as u64);
            assert!(fs::read(folder.path("opened")).unwrap() == painted(plain_len), "{plain_len} bytes");
            assert_eq!(folder.names(), ["opened", "plain", "sealed"]);
        }
    }

    #[test]
    fn a_range_of_a_file_is_its_bytes() {
        let folder = Folder::new();
        let (plain_len, plain) = (3 * BATCH_LEN as u64 + 100, painted(3 * BATCH_LEN + 100));
        let sealed = sealed(&folder, &plain);
        let segment = 16 * 1024;
        let ranges = [0..0, 0..1, segment - 1..segment + 1, 300_000..700_000, 0..plain_len, plain_len - 1..u64::MAX];
        for range in ranges {
            let mut opened = Vec::new();
            let taken = open_range(&sealed, range.clone(), &mut opened, &key(), &context(), Watch::none()).unwrap();
            let wanted = &plain[range.start as usize..range.end.min(plain_len) as usize];
            assert!(opened == wanted && taken == wanted.len() as u64, "{range:?}");
        }
    }

    #[test]
    fn a_file_with_an_altered_byte_leaves_no_target() {
        let folder = Folder::new();
        let path = sealed(&folder, &painted(2 * BATCH_LEN));
        let whole = fs::read(&path).unwrap();
        for at in [0, 70, HEADER_LEN, whole.len() / 2, whole.len() - 1] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&path, &altered).unwrap();
            assert!(open_file(&path, &folder.path("opened"), &key(), &context(), Watch::none()).is_err(), "byte {at}");
        }
        for len in [0, 95, HEADER_LEN, HEADER_LEN + 16 * 1024 + 32, whole.len() - 16, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(open_file(&path, &folder.path("opened"), &key(), &context(), Watch::none()).is_err(), "{len} left");
        }
        assert_eq!(folder.names(), ["plain", "sealed"]);
    }

    #[test]
    fn a_range_whose_segments_are_right_is_refused_when_the_end_is_missing() {
        let folder = Folder::new();
        let path = sealed(&folder, &painted(2 * BATCH_LEN));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..HEADER_LEN + 2 * (16 * 1024 + 32)]).unwrap();
        let opened = open_range(&path, 0..10, &mut Vec::new(), &key(), &context(), Watch::none());
        assert!(matches!(opened, Err(OpenError::Refused)));
    }

    #[test]
    fn cancel_leaves_no_target() {
        let folder = Folder::new();
        let path = sealed(&folder, &painted(8 * BATCH_LEN));
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &|_, _| cancel.store(true, Ordering::Relaxed), cancel: &cancel };
        let opened = open_file(&path, &folder.path("opened"), &key(), &context(), watch);
        assert!(matches!(opened, Err(OpenError::Cancelled)));
        let sealed = seal_file(&folder.path("plain"), &folder.path("again"), &key(), id(), &context(), watch);
        assert!(matches!(sealed, Err(SealError::Cancelled)));
        assert_eq!(folder.names(), ["plain", "sealed"]);
    }

    #[test]
    fn progress_counts_up_to_the_whole() {
        let folder = Folder::new();
        fs::write(folder.path("plain"), painted(3 * BATCH_LEN + 5)).unwrap();
        let seen = Mutex::new(Vec::new());
        let watch = Watch { progress: &|done, total| seen.lock().unwrap().push((done, total)), ..Watch::none() };
        seal_file(&folder.path("plain"), &folder.path("sealed"), &key(), id(), &context(), watch).unwrap();
        let total = 3 * BATCH_LEN as u64 + 5;
        let seen = seen.into_inner().unwrap();
        assert_eq!((seen.len(), seen.iter().max().copied()), (4, Some((total, total))));
    }

    #[test]
    fn a_source_or_target_that_is_not_there_is_named() {
        let folder = Folder::new();
        let (missing, target) = (folder.path("missing"), folder.path("no/folder"));
        let read = seal_file(&missing, &folder.path("sealed"), &key(), id(), &context(), Watch::none());
        assert!(matches!(read, Err(SealError::Read { path, .. }) if path == missing));
        fs::write(folder.path("plain"), b"x").unwrap();
        let write = seal_file(&folder.path("plain"), &target, &key(), id(), &context(), Watch::none());
        assert!(matches!(write, Err(SealError::Write { path, .. }) if path == target));
    }
}
