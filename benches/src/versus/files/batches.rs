//! Files sealed, opened and copied by every way in and out, with the engine's public parts: what the engine itself would
//! do if it read or wrote otherwise. And the copy that sealing is held against.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::Mutex,
};

use rayon::ThreadPool;
use strongroom_engine::{
    ContextDigest, DataKey, HEADER_LEN, KeyId, Layout, Opener, SealBatch, Sealer, SegmentShift, Target,
};

use super::{Failure, mapped::Mapped};

/// As the engine's own.
const BATCH_LEN: usize = 256 * 1024;

/// How bytes come in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Position,
    Map,
}

/// How bytes go out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sink {
    Position,
    Map,
}

/// Files by batches, with these workers and this key.
pub(super) struct Batches<'a> {
    pub(super) workers: &'a ThreadPool,
    pub(super) key: &'a DataKey,
    pub(super) id: KeyId,
    pub(super) context: &'a ContextDigest,
}

impl Batches<'_> {
    /// Seals the file `plain` as `sealed`.
    pub(super) fn seal(&self, plain: &Path, source: Source, sealed: &Path, sink: Sink) -> Result<(), Failure> {
        let reader = Reader::open(plain, source)?;
        let layout = Layout::from_plain(reader.len, SegmentShift::for_plain_len(reader.len));
        let writer = Writer::open(sealed, sink, layout.sealed_len())?;
        let mut sealer = Sealer::new(self.key, self.id, self.context, layout.segment_shift())?;
        writer.write(sealer.header_bytes(), 0)?;
        let mut offset = 0;
        let next = Mutex::new(|| -> Option<(u64, SealBatch)> {
            let left = reader.len - offset;
            let len = left.min(BATCH_LEN as u64);
            let batch = (left > 0).then(|| sealer.next_batch(len as usize, len == left).ok())?;
            offset += len;
            Some((offset - len, batch?))
        });
        self.on_workers(|| {
            let (mut sealed, segment_len) = (vec![0; 2 * BATCH_LEN], layout.segment_shift().segment_len());
            while let Some((offset, batch)) = taken(&next) {
                let (plain_len, sealed) = (batch.plain_len(), &mut sealed[..batch.sealed_len()]);
                for (row, start) in sealed.chunks_mut(segment_len + 32).zip((0..plain_len).step_by(segment_len)) {
                    reader.read(&mut row[..segment_len.min(plain_len - start)], offset + start as u64)?;
                }
                batch.seal_in_place(sealed)?;
                writer.write(sealed, layout.segment_offset(offset >> layout.segment_shift().bits()))?;
            }
            Ok(())
        })
    }

    /// Opens the file `sealed` as `plain`.
    pub(super) fn open(&self, sealed: &Path, source: Source, plain: &Path, sink: Sink) -> Result<(), Failure> {
        let reader = Reader::open(sealed, source)?;
        let mut header = [0; HEADER_LEN];
        reader.read(&mut header, 0)?;
        let opener = Opener::new(self.key, &header, self.context)?;
        let sealed_layout = opener.layout(reader.len)?;
        let last = sealed_layout.segment_count() - 1;
        let mut segment = vec![0; sealed_layout.segment_sealed_len(last)];
        reader.read(&mut segment, sealed_layout.segment_offset(last))?;
        let layout = Layout::from_plain(opener.open_last(&sealed_layout, &segment)?, sealed_layout.segment_shift());
        let writer = Writer::open(plain, sink, layout.plain_len().unwrap_or(0))?;
        let step = (BATCH_LEN / layout.segment_shift().segment_len()).max(1);
        let mut firsts = (0..layout.segment_count()).step_by(step);
        let next = Mutex::new(|| firsts.next());
        self.on_workers(|| {
            let (mut sealed, mut plain) = (Vec::new(), Vec::new());
            while let Some(first) = taken(&next) {
                let offset = layout.segment_offset(first);
                sealed.resize((layout.segment_offset(first + step as u64) - offset) as usize, 0);
                reader.read(&mut sealed, offset)?;
                plain.resize(opener.room_len(&layout, first, sealed.len()), 0);
                let plain_len = opener.open_batch_into(&layout, first, &sealed, &mut plain)?;
                writer.write(&plain[..plain_len], first << layout.segment_shift().bits())?;
            }
            Ok(())
        })
    }

    fn on_workers(&self, work: impl Fn() -> Result<(), Failure> + Sync) -> Result<(), Failure> {
        on_workers(self.workers, work)
    }
}

/// Copies the file by the calls that sealing makes: from a map into a buffer, from there to a place in the target.
pub(super) fn copy(workers: &ThreadPool, plain: &Path, target: &Target) -> Result<std::time::Duration, Failure> {
    let began = std::time::Instant::now();
    let reader = Reader::open(plain, Source::Map)?;
    let mut offsets = (0..reader.len).step_by(BATCH_LEN);
    let next = Mutex::new(|| offsets.next());
    on_workers(workers, || {
        let mut buffer = vec![0; BATCH_LEN];
        while let Some(offset) = taken(&next) {
            let part = &mut buffer[..(reader.len - offset).min(BATCH_LEN as u64) as usize];
            reader.read(part, offset)?;
            target.write_at(part, offset)?;
        }
        Ok(())
    })?;
    Ok(began.elapsed())
}

/// A whole segment of its own, sealed.
pub(super) fn seal_as_one_segment(key: &DataKey, id: KeyId, plain: &[u8], path: &Path) -> Result<(), Failure> {
    let context = strongroom_engine::Context::file(&id).digest();
    let shift = SegmentShift::new(plain.len().trailing_zeros() as u8).ok_or("no segment has this length")?;
    let mut sealer = Sealer::new(key, id, &context, shift)?;
    let batch = sealer.next_batch(plain.len(), true)?;
    let mut sealed = sealer.header_bytes().to_vec();
    sealed.resize(HEADER_LEN + batch.sealed_len(), 0);
    batch.seal(plain, &mut sealed[HEADER_LEN..])?;
    Ok(fs::write(path, sealed)?)
}

fn taken<T>(next: &Mutex<impl FnMut() -> Option<T>>) -> Option<T> {
    next.lock().ok().and_then(|mut next| next())
}

/// Runs `work` once on every worker.
fn on_workers(workers: &ThreadPool, work: impl Fn() -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let ends = workers.broadcast(|_| work().map_err(|error| error.to_string()));
    Ok(ends.into_iter().collect::<Result<(), String>>()?)
}

struct Reader {
    file: File,
    map: Option<Mapped>,
    len: u64,
}

impl Reader {
    fn open(path: &Path, source: Source) -> Result<Self, Failure> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let map = match source {
            Source::Map => Some(Mapped::for_reading(&file)?),
            Source::Position => None,
        };
        Ok(Self { file, map, len })
    }

    fn read(&self, target: &mut [u8], offset: u64) -> Result<(), Failure> {
        match &self.map {
            Some(map) => map.read(target, offset as usize),
            None => self.file.read_exact_at(target, offset)?,
        }
        Ok(())
    }
}

struct Writer {
    file: File,
    map: Option<Mapped>,
}

impl Writer {
    /// Into what is there already, so that its pages are too.
    fn open(path: &Path, sink: Sink, len: u64) -> Result<Self, Failure> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        file.set_len(len)?;
        let map = match sink {
            Sink::Map => Some(Mapped::for_writing(&file)?),
            Sink::Position => None,
        };
        Ok(Self { file, map })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        match &self.map {
            Some(map) => map.write(bytes, offset as usize),
            None => self.file.write_all_at(bytes, offset)?,
        }
        Ok(())
    }
}
