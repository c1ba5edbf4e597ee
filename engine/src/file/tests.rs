//! What a user of whole files would notice.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Mutex, atomic::AtomicBool},
};

use super::*;
use crate::{Context, ContextDigest, DataKey, HEADER_LEN, KeyId, OpenError, SealError, WriteError, seal::BATCH_LEN};

const SEALED_SEGMENT: usize = 16 * 1024 + 32;

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

    /// The file `sealed`, which holds `plain`.
    fn sealed(&self, plain: &[u8]) -> PathBuf {
        fs::write(self.path("plain"), plain).unwrap();
        self.seal("sealed", Watch::none()).unwrap();
        self.path("sealed")
    }

    /// Seals the file `plain`.
    fn seal(&self, name: &str, watch: Watch<'_>) -> Result<SealedFile, SealError> {
        let target = Target::create(&self.path(name), Existing::Replace)?;
        let sealed = seal_file(&self.path("plain"), &target, &key(), id(), &context(), watch)?;
        target.keep()?;
        Ok(sealed)
    }

    /// Opens the file `sealed` into `opened`.
    fn open(&self, watch: Watch<'_>) -> Result<u64, OpenError> {
        let source = SealedSource::open(&self.path("sealed"), &key(), &context())?;
        let target = Target::create(&self.path("opened"), Existing::Replace)?;
        source.open_to(&target, watch)?;
        target.keep()?;
        Ok(source.plain_len())
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

#[test]
fn a_file_that_was_sealed_opens_again() {
    for plain_len in [0, 1, 15, 16, 17, 1024, 16385, BATCH_LEN - 1, BATCH_LEN, BATCH_LEN + 1, 5 * BATCH_LEN + 77] {
        let folder = Folder::new();
        folder.sealed(&painted(plain_len));
        assert_eq!(folder.open(Watch::none()).unwrap(), plain_len as u64);
        assert!(fs::read(folder.path("opened")).unwrap() == painted(plain_len), "{plain_len} bytes");
        assert_eq!(folder.names(), ["opened", "plain", "sealed"]);
    }
}

#[test]
fn a_range_of_a_file_is_its_bytes() {
    let folder = Folder::new();
    let (plain_len, plain) = (3 * BATCH_LEN as u64 + 100, painted(3 * BATCH_LEN + 100));
    let source = SealedSource::open(&folder.sealed(&plain), &key(), &context()).unwrap();
    let segment = 16 * 1024;
    let ranges = [0..0, 0..1, segment - 1..segment + 1, 300_000..700_000, 0..plain_len, plain_len - 1..u64::MAX];
    for range in ranges {
        let mut opened = Vec::new();
        let taken = source.open_range(range.clone(), &mut opened, Watch::none()).unwrap();
        let wanted = &plain[range.start as usize..range.end.min(plain_len) as usize];
        assert!(opened == wanted && taken == wanted.len() as u64, "{range:?}");
    }
}

#[test]
fn ranges_that_are_read_side_by_side_do_not_mix() {
    let folder = Folder::new();
    let plain = painted(BATCH_LEN);
    let source = SealedSource::open(&folder.sealed(&plain), &key(), &context()).unwrap();
    std::thread::scope(|scope| {
        for nth in 0..4 {
            let (source, plain) = (&source, &plain);
            scope.spawn(move || {
                for start in (0..200).map(|round| (round * 7919 + nth * 50_000) % plain.len()) {
                    let end = plain.len().min(start + 100 + nth * 20_000);
                    let mut opened = Vec::new();
                    source.open_range(start as u64..end as u64, &mut opened, Watch::none()).unwrap();
                    assert!(opened == plain[start..end], "{start}..{end}");
                }
            });
        }
    });
}

#[test]
fn a_file_with_an_altered_byte_leaves_no_target() {
    let folder = Folder::new();
    let path = folder.sealed(&painted(2 * BATCH_LEN));
    let whole = fs::read(&path).unwrap();
    for at in [0, 70, HEADER_LEN, whole.len() / 2, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        assert!(folder.open(Watch::none()).is_err(), "byte {at}");
    }
    assert_eq!(folder.names(), ["plain", "sealed"]);
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let folder = Folder::new();
    let path = folder.sealed(&painted(5000));
    let whole = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    for len in (0..whole.len() as u64).rev() {
        file.set_len(len).unwrap();
        let opened = SealedSource::open(&path, &key(), &context());
        assert!(opened.is_err_and(|error| !matches!(error, OpenError::Read { .. })), "{len} of {} bytes", whole.len());
    }
}

#[test]
fn a_range_whose_segments_are_right_is_refused_when_the_end_is_missing() {
    let folder = Folder::new();
    let path = folder.sealed(&painted(2 * BATCH_LEN));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..HEADER_LEN + 2 * SEALED_SEGMENT]).unwrap();
    assert!(matches!(SealedSource::open(&path, &key(), &context()), Err(OpenError::Refused)));
}

#[test]
fn cancel_leaves_no_target() {
    let folder = Folder::new();
    folder.sealed(&painted(8 * BATCH_LEN));
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &|_, _| cancel.store(true, Ordering::Relaxed), cancel: &cancel };
    assert!(matches!(folder.open(watch), Err(OpenError::Cancelled)));
    assert!(matches!(folder.seal("again", watch), Err(SealError::Cancelled)));
    assert_eq!(folder.names(), ["plain", "sealed"]);
}

#[test]
fn progress_counts_up_to_the_whole() {
    let folder = Folder::new();
    fs::write(folder.path("plain"), painted(3 * BATCH_LEN + 5)).unwrap();
    let seen = Mutex::new(Vec::new());
    let watch = Watch { progress: &|done, total| seen.lock().unwrap().push((done, total)), ..Watch::none() };
    folder.seal("sealed", watch).unwrap();
    let total = 3 * BATCH_LEN as u64 + 5;
    let seen = seen.into_inner().unwrap();
    assert_eq!((seen.len(), seen.iter().max().copied()), (4, Some((total, total))));
}

#[test]
fn a_source_or_target_that_is_not_there_is_named() {
    let folder = Folder::new();
    let read = folder.seal("sealed", Watch::none());
    assert!(matches!(read, Err(SealError::Read { path, .. }) if path == folder.path("plain")));
    fs::write(folder.path("plain"), b"x").unwrap();
    let write = folder.seal("no/folder", Watch::none());
    assert!(
        matches!(write, Err(SealError::Write(WriteError::Failed { path, .. })) if path == folder.path("no/folder"))
    );
}

#[test]
fn a_source_cut_short_while_it_is_sealed_is_an_error_and_leaves_no_target() {
    // To nothing, which faults; and by one byte, which does not.
    for cut_to in [0, 8 * BATCH_LEN as u64 - 1] {
        let folder = Folder::new();
        fs::write(folder.path("plain"), painted(8 * BATCH_LEN)).unwrap();
        let plain = fs::File::options().write(true).open(folder.path("plain")).unwrap();
        let watch = Watch { progress: &|_, _| plain.set_len(cut_to).unwrap(), ..Watch::none() };
        assert!(matches!(folder.seal("sealed", watch), Err(SealError::Read { .. })), "cut to {cut_to}");
        assert_eq!(folder.names(), ["plain"]);
    }
}

#[test]
fn a_sealed_file_cut_short_while_it_is_opened_is_an_error_and_leaves_no_target() {
    let folder = Folder::new();
    let path = folder.sealed(&painted(8 * BATCH_LEN));
    let sealed = fs::File::options().write(true).open(&path).unwrap();
    let watch = Watch { progress: &|_, _| sealed.set_len(0).unwrap(), ..Watch::none() };
    assert!(matches!(folder.open(watch), Err(OpenError::Read { .. } | OpenError::Refused)));
    assert_eq!(folder.names(), ["plain", "sealed"]);
}

/// A thread flips bytes of the file while it is opened `count` times: all of it, or a range.
fn check_that_flips_let_nothing_through(count: usize) {
    let folder = Folder::new();
    let plain = painted(3 * 16 * 1024 + 100);
    let path = folder.sealed(&plain);
    let whole = fs::read(&path).unwrap();
    let source = SealedSource::open(&path, &key(), &context()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    let (done, mut opened_count) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A prime step visits every byte, and each is put right at once, so that some opens succeed.
            for at in (0..).map(|nth: usize| nth * 7919 % whole.len()) {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                for byte in [whole[at] ^ 1 << (at % 8), whole[at]] {
                    file.write_all_at(&[byte], at as u64).unwrap();
                }
            }
        });
        for nth in 0..count as u64 {
            let start = nth * 104_729 % plain.len() as u64;
            let range = start..(start + 1 + nth % 40_000).min(plain.len() as u64);
            let mut opened = Vec::new();
            match source.open_range(range.clone(), &mut opened, Watch::none()) {
                Ok(_) => {
                    assert!(opened == plain[range.start as usize..range.end as usize], "{range:?}");
                    opened_count += 1;
                }
                Err(error) => assert!(opened.is_empty() && matches!(error, OpenError::Refused), "{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{opened_count} of {count} opens succeeded");
    assert!(opened_count > 0, "nothing was tried");
}

#[test]
fn a_thread_that_flips_bytes_during_many_opens_gets_nothing_through() {
    check_that_flips_let_nothing_through(2_000);
}

#[test]
#[ignore = "a minute: run with --ignored, in release"]
fn a_thread_that_flips_bytes_during_a_million_opens_gets_nothing_through() {
    check_that_flips_let_nothing_through(1_000_000);
}
