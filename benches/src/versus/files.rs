//! Whole files: how much is gained by a second worker, lost against a plain copy, and what one byte of a stream costs.
//!
//! Contenders are interleaved round by round, and each row is a ratio of medians. Files lie on a memory file system
//! where one has room, since a disk's own writing back would otherwise decide. Every contender writes into pages that are
//! there already, unless the row says "new": giving out pages is the kernel's work, and varies threefold between runs.

mod batches;
mod mapped;

use std::{
    fs::{self, File},
    hint::black_box,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use batches::{Batches, Sink, Source};
use rayon::{ThreadPool, ThreadPoolBuilder};
use strongroom_engine::{
    Context, DataKey, Existing, HEADER_LEN, KeyId, Layout, OpenError, Opener, SealError, SealedSource, Target, Watch,
    seal_file,
};

/// One comparison.
#[derive(Clone, Debug)]
pub struct Row {
    /// What we did.
    pub case: String,
    /// What it is held against.
    pub peer: String,
    /// Our figure.
    pub ours: f64,
    /// The peer's.
    pub theirs: f64,
    /// Of both.
    pub unit: &'static str,
    /// How many times better we are, whichever way better is.
    pub ratio: f64,
    /// By which instructions, or which kind of file.
    pub path: String,
    /// The least ratio that is good enough, where there is a bar.
    pub at_least: Option<f64>,
}

impl Row {
    /// Of figures where more is better.
    fn rate(case: &str, peer: &str, len: u64, ours: Duration, theirs: Duration) -> Self {
        let rate = |time: Duration| len as f64 / time.as_secs_f64() / 1e9;
        let (ours, theirs) = (rate(ours), rate(theirs));
        Self::new(case, peer, ours, theirs, "GB/s", ours / theirs)
    }

    /// Of times, where less is better.
    fn time(case: &str, peer: &str, ours: Duration, theirs: Duration) -> Self {
        let (ours, theirs) = (ours.as_secs_f64() * 1e9, theirs.as_secs_f64() * 1e9);
        Self::new(case, peer, ours, theirs, "ns", theirs / ours)
    }

    fn new(case: &str, peer: &str, ours: f64, theirs: f64, unit: &'static str, ratio: f64) -> Self {
        Self { case: case.into(), peer: peer.into(), ours, theirs, unit, ratio, path: String::new(), at_least: None }
    }

    fn at_least(self, ratio: f64) -> Self {
        Self { at_least: Some(ratio), ..self }
    }
}

/// How much is measured, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the file.
    pub len: u64,
    /// Of which the medians are taken.
    pub rounds: usize,
    /// Where the files lie; twice their length and a little must fit.
    pub folder: PathBuf,
}

impl Options {
    /// `len` bytes in shared memory where that has room, else in the folder for temporary files.
    pub fn new(len: u64, rounds: usize) -> Self {
        let shared = PathBuf::from("/dev/shm");
        let room = rustix::fs::statvfs(&shared).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
        let folder = if room / 5 * 2 > len { shared } else { std::env::temp_dir() };
        Self { len, rounds, folder }
    }
}

/// What can go wrong while measuring.
pub type Failure = Box<dyn std::error::Error>;

/// All rows about files.
///
/// # Errors
/// The disk is full, or a file was not what it should be.
pub fn rows(options: &Options) -> Result<Vec<Row>, Failure> {
    let bench = Bench::new(options)?;
    // Memory first: what an earlier sealing gave back would hide what this one takes.
    let mut rows = vec![bench.memory()?];
    rows.extend(bench.whole_files()?);
    rows.extend(bench.one_byte()?);
    rows.extend(bench.maps_and_positions()?);
    let kind = if options.folder.starts_with("/dev/shm") { "shared memory" } else { "disk" };
    rows.iter_mut().for_each(|row| row.path = kind.into());
    Ok(rows)
}

struct Bench {
    folder: tempfile::TempDir,
    len: u64,
    rounds: usize,
    key: DataKey,
    id: KeyId,
    one: ThreadPool,
    two: ThreadPool,
}

impl Bench {
    fn new(options: &Options) -> Result<Self, Failure> {
        let pool = |count| ThreadPoolBuilder::new().num_threads(count).build();
        let bench = Self {
            folder: tempfile::tempdir_in(&options.folder)?,
            len: options.len,
            rounds: options.rounds,
            key: DataKey::generate()?,
            id: KeyId::fresh(1)?,
            one: pool(1)?,
            two: pool(2)?,
        };
        paint(&bench.path("plain"), options.len)?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn target(&self, name: &str) -> Result<Target, Failure> {
        Ok(Target::create(&self.path(name), Existing::Replace)?)
    }

    fn seal(&self, workers: &ThreadPool, target: &Target) -> Result<Duration, SealError> {
        let context = Context::file(&self.id).digest();
        let plain = self.path("plain");
        let began = Instant::now();
        workers.install(|| seal_file(&plain, target, &self.key, self.id, &context, Watch::none()))?;
        Ok(began.elapsed())
    }

    /// Two workers against one, and against a copy by the same calls.
    fn whole_files(&self) -> Result<Vec<Row>, Failure> {
        let target = self.target("sealed")?;
        self.seal(&self.two, &target)?;
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..self.rounds {
            times[0].push(self.seal(&self.one, &target)?);
            times[1].push(self.seal(&self.two, &target)?);
            times[2].push(batches::copy(&self.two, &self.path("plain"), &target)?);
        }
        let [one, two, copy] = times.map(median);
        drop(target);
        let mut new = [const { Vec::new() }; 2];
        for _ in 0..self.rounds {
            for (workers, times) in [&self.one, &self.two].into_iter().zip(&mut new) {
                times.push(self.seal(workers, &self.target("sealed")?)?);
            }
        }
        let [new_one, new_two] = new.map(median);
        Ok(vec![
            Row::rate("seal a file, 2 workers", "1 worker", self.len, two, one).at_least(1.5),
            Row::rate("seal a file, 2 workers", "copy by the same calls", self.len, two, copy).at_least(0.75),
            Row::rate("seal to a new file, 2 workers", "1 worker", self.len, new_two, new_one),
        ])
    }

    /// The most anonymous memory that sealing takes beyond what the process has already.
    fn memory(&self) -> Result<Row, Failure> {
        let (target, done) = (self.target("sealed")?, AtomicBool::new(false));
        let before = anonymous_memory()?;
        let most = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut most = before;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(anonymous_memory().unwrap_or(u64::MAX));
                    std::thread::sleep(Duration::from_millis(1));
                }
                most
            });
            let sealed = self.seal(&self.two, &target);
            done.store(true, Ordering::Relaxed);
            sealed.map(|_| watcher.join().unwrap_or(u64::MAX))
        })?;
        let mib = most.saturating_sub(before) as f64 / f64::from(1 << 20);
        let row = Row::new("anonymous memory of sealing a file", "64 MiB", mib, 64.0, "MiB", 64.0 / mib.max(0.01));
        Ok(row.at_least(1.0))
    }

    /// One byte of a long stream that is open, against one segment: as a file of its own, and in memory.
    fn one_byte(&self) -> Result<Vec<Row>, Failure> {
        let context = Context::file(&self.id).digest();
        let target = self.target("sealed")?;
        self.seal(&self.two, &target)?;
        target.keep()?;
        let long = SealedSource::open(&self.path("sealed"), &self.key, &context)?;
        let segment_len = long.header().segment_shift().segment_len();
        let short = self.file_of_one_segment(segment_len)?;
        let sealed = fs::read(self.path("short.sealed"))?;
        let opener = Opener::new(&self.key, &sealed[..HEADER_LEN], &context)?;
        let layout = Layout::from_plain(segment_len as u64, opener.header().segment_shift());

        let mut times = [const { Vec::new() }; 3];
        for round in 0..self.rounds.max(5) as u64 {
            let middle = (self.len / 2 + round * 7 * segment_len as u64) % self.len;
            times[0].push(each(|| byte(&long, middle))?);
            times[1].push(each(|| byte(&short, segment_len as u64 / 2))?);
            times[2].push(each(|| {
                let mut plain = Vec::new();
                opener.open_batch(&layout, 0, &sealed[HEADER_LEN..], &mut plain)?;
                black_box(&plain);
                Ok(())
            })?);
        }
        let [long, short, memory] = times.map(median);
        fs::remove_file(self.path("sealed"))?;
        Ok(vec![
            Row::time("open 1 byte of a long stream", "of a file of one segment", long, short).at_least(1.0 / 1.2),
            Row::time("open 1 byte of a long stream", "one segment in memory", long, memory).at_least(1.0 / 1.2),
        ])
    }

    fn file_of_one_segment(&self, segment_len: usize) -> Result<SealedSource, Failure> {
        // The shift follows the length, so one segment of the long stream's length comes only from a sealer of its own.
        let context = Context::file(&self.id).digest();
        let (plain, path) = (self.path("short"), self.path("short.sealed"));
        paint(&plain, segment_len as u64)?;
        batches::seal_as_one_segment(&self.key, self.id, &fs::read(&plain)?, &path)?;
        Ok(SealedSource::open(&path, &self.key, &context)?)
    }

    /// The four ways in and out, with two workers; first sealing, then opening.
    fn maps_and_positions(&self) -> Result<Vec<Row>, Failure> {
        let context = Context::file(&self.id).digest();
        let batches = Batches { workers: &self.two, key: &self.key, id: self.id, context: &context };
        let ways = [
            (Source::Position, Sink::Position),
            (Source::Map, Sink::Position),
            (Source::Position, Sink::Map),
            (Source::Map, Sink::Map),
        ];
        let (plain, sealed, opened) = (self.path("plain"), self.path("sealed"), self.path("opened"));
        let mut rows = Vec::new();
        for what in ["seal", "open"] {
            let mut times = [const { Vec::new() }; 4];
            for round in 0..=self.rounds {
                for ((source, sink), times) in ways.into_iter().zip(&mut times) {
                    let began = Instant::now();
                    if what == "seal" {
                        batches.seal(&plain, source, &sealed, sink)?;
                    } else {
                        batches.open(&sealed, source, &opened, sink)?;
                    }
                    if round > 0 {
                        times.push(began.elapsed()); // the first makes the target's pages
                    }
                }
            }
            let times = times.map(median);
            for ((source, sink), time) in ways.into_iter().zip(times).skip(1) {
                let case = format!("{what} a file, {source:?} to {sink:?}");
                rows.push(Row::rate(&case, "Position to Position", self.len, time, times[0]));
            }
        }
        Ok(rows)
    }
}

fn byte(source: &SealedSource, at: u64) -> Result<(), OpenError> {
    let mut byte = [0; 1];
    source.open_range(at..at + 1, &mut &mut byte[..], Watch::none())?;
    black_box(byte);
    Ok(())
}

/// Time of one call, from many, after some to warm up.
fn each(mut call: impl FnMut() -> Result<(), OpenError>) -> Result<Duration, OpenError> {
    const WARM: u32 = 100;
    const COUNT: u32 = 2_000;
    (0..WARM).try_for_each(|_| call())?;
    let began = Instant::now();
    (0..COUNT).try_for_each(|_| call())?;
    Ok(began.elapsed() / COUNT)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A file of bytes in which no two blocks look alike.
fn paint(path: &Path, len: u64) -> io::Result<()> {
    use std::io::Write;
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    let bytes: Vec<u8> = (0..(1 << 20) + 7).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut left = len;
    while left > 0 {
        let part = left.min(bytes.len() as u64) as usize;
        file.write_all(&bytes[..part])?;
        left -= part as u64;
    }
    file.flush()
}

/// In bytes.
fn anonymous_memory() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("the kernel does not say how much memory is anonymous"))
}
