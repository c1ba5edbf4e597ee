//! A file that appears whole and durable, or not at all.
//!
//! It is written without a name, or where the file system has no such thing under a temporary one in the same folder;
//! made durable; named; and then the folder is made durable. Whatever ends before that (an error, a cancel, a panic, a
//! killed process) leaves what was there. A failed fsync is never tried again: the kernel has dropped the pages.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, FallocateFlags, OFlags, RenameFlags},
    io::Errno,
};

use crate::{error::WriteError, id::fresh_id};

/// What to do about a file that has the target's name already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// It stays, and the target is refused, at the latest when it is kept.
    Refuse,
    /// It is replaced in one step, when the target is kept.
    Replace,
}

/// A file in the making; only its owner may read it. Dropped before [`Self::keep`], it leaves nothing.
pub struct Target {
    file: File,
    path: PathBuf,
    existing: Existing,
    /// The name it has meanwhile, if it has one.
    temporary: Option<PathBuf>,
    /// Bytes that have room already. To reserve them again would walk all their pages, a fifth of the time of a sealing.
    reserved: AtomicU64,
}

impl Target {
    /// Begins the file that will stand at `path`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn create(path: &Path, existing: Existing) -> Result<Self, WriteError> {
        if existing == Existing::Refuse && path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists { path: path.to_owned() });
        }
        let failed = |source| WriteError::from_io(path, source);
        let nameless = nameless(folder(path)).map_err(failed)?;
        let (file, temporary) = match nameless {
            Some(file) => (file, None),
            None => named(path).map(|(file, name)| (file, Some(name))).map_err(failed)?,
        };
        Ok(Self { file, path: path.to_owned(), existing, temporary, reserved: AtomicU64::new(0) })
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that `len` bytes have room, so that a disk that is too small is told before the work and not after;
    /// the file is that long then.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::Failed`].
    pub fn reserve(&self, len: u64) -> Result<(), WriteError> {
        if len <= self.reserved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let room = rustix::fs::fstatvfs(&self.file);
        // Asked first: to reserve what does not fit would fill the disk for everybody until it fails.
        if room.is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) < len) {
            return Err(self.failed(io::ErrorKind::StorageFull.into()));
        }
        let reserved = rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len));
        match reserved {
            // Some file systems cannot; a disk that is full then says so at a write.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.reserved.fetch_max(len, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// Writes all of `bytes` at `offset`; from several threads at once, each its own bytes.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::Failed`].
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    /// Makes it durable under its name. Blocks until it is.
    ///
    /// # Errors
    /// [`WriteError`]; what stood there before then still does, unless it is the folder that cannot be made durable.
    pub fn keep(mut self) -> Result<(), WriteError> {
        let named = self.file.sync_all().and_then(|()| self.name());
        match named.and_then(|()| File::open(folder(&self.path))?.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.existing == Existing::Refuse => {
                Err(WriteError::Exists { path: self.path.clone() })
            }
            kept => kept.map_err(|error| self.failed(error)),
        }
    }

    /// Gives it its name, in one step.
    fn name(&mut self) -> io::Result<()> {
        match (&self.temporary, self.existing) {
            (None, Existing::Refuse) => self.link(&self.path),
            (None, Existing::Replace) => {
                // Only a rename replaces, and only what has a name can be renamed.
                let temporary = temporary_name(&self.path)?;
                self.link(&temporary)?;
                self.temporary = Some(temporary);
                self.name()
            }
            (Some(temporary), Existing::Replace) => {
                fs::rename(temporary, &self.path)?;
                self.temporary = None;
                Ok(())
            }
            (Some(temporary), Existing::Refuse) => {
                match rustix::fs::renameat_with(CWD, temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
                    Ok(()) => self.temporary = None,
                    // A file system without it; the second name is removed when this is dropped.
                    Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(temporary, &self.path)?,
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            }
        }
    }

    fn link(&self, name: &Path) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, own, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::from_io(&self.path, source)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nobody is left to tell of a failure: the name says whose leaving it is.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A file without a name, which the kernel removes by itself; None where that cannot be had.
fn nameless(folder: &Path) -> io::Result<Option<File>> {
    if !Path::new("/proc/self/fd").exists() {
        return Ok(None); // it could never get a name
    }
    let flags = OFlags::TMPFILE.bits() as i32;
    match OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(folder) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

fn named(path: &Path) -> io::Result<(File, PathBuf)> {
    let temporary = temporary_name(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    Ok((file, temporary))
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = fresh_id(0).map_err(io::Error::other)?;
    Ok(folder(path).join(format!(".strongroom-{:032x}", u128::from_be_bytes(name))))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("file")
        }

        fn count(&self) -> usize {
            fs::read_dir(self.0.path()).unwrap().count()
        }

        /// One target as the file system gives it, and one under a temporary name.
        fn targets(&self, existing: Existing) -> Vec<Target> {
            let (file, temporary) = named(&self.path()).unwrap();
            let mut named = unnamed(file, self.path(), existing);
            named.temporary = Some(temporary);
            vec![Target::create(&self.path(), existing).unwrap(), named]
        }
    }

    fn unnamed(file: File, path: PathBuf, existing: Existing) -> Target {
        Target { file, path, existing, temporary: None, reserved: AtomicU64::new(0) }
    }

    #[test]
    fn a_file_appears_only_when_it_is_kept() {
        for existing in [Existing::Refuse, Existing::Replace] {
            for nth in 0..2 {
                let folder = Folder::new();
                let target = folder.targets(existing).swap_remove(nth);
                target.write_at(b"cd", 2).unwrap();
                target.write_at(b"ab", 0).unwrap();
                assert!(!folder.path().exists());
                target.keep().unwrap();
                assert_eq!(fs::read(folder.path()).unwrap(), b"abcd");
                assert_eq!(folder.count(), 1);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_kept_leaves_what_was_there() {
        let folder = Folder::new();
        fs::write(folder.path(), b"old").unwrap();
        for target in folder.targets(Existing::Replace) {
            target.write_at(b"new", 0).unwrap();
        }
        assert_eq!(fs::read(folder.path()).unwrap(), b"old");
        assert_eq!(folder.count(), 1);
    }

    #[test]
    fn what_has_the_name_is_replaced_only_when_that_was_asked_for() {
        let folder = Folder::new();
        let refused = folder.targets(Existing::Refuse);
        fs::write(folder.path(), b"old").unwrap(); // It came while they were written.
        for target in refused {
            target.write_at(b"new", 0).unwrap();
            assert!(matches!(target.keep(), Err(WriteError::Exists { path }) if path == folder.path()));
        }
        assert!(matches!(Target::create(&folder.path(), Existing::Refuse), Err(WriteError::Exists { .. })));
        assert_eq!(fs::read(folder.path()).unwrap(), b"old");
        for (nth, target) in folder.targets(Existing::Replace).into_iter().enumerate() {
            target.write_at(&[nth as u8], 0).unwrap();
            target.keep().unwrap();
            assert_eq!(fs::read(folder.path()).unwrap(), [nth as u8]);
        }
        assert_eq!(folder.count(), 1);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_replaced_unasked() {
        let folder = Folder::new();
        std::os::unix::fs::symlink("/nowhere", folder.path()).unwrap();
        assert!(matches!(Target::create(&folder.path(), Existing::Refuse), Err(WriteError::Exists { .. })));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let target = unnamed(file, PathBuf::from("/nowhere/b"), Existing::Refuse);
        assert!(matches!(target.write_at(b"x", 0), Err(WriteError::Full { .. })));
    }

    #[test]
    fn what_cannot_fit_is_refused_before_anything_is_taken() {
        let folder = Folder::new();
        for target in folder.targets(Existing::Refuse) {
            assert!(matches!(target.reserve(1 << 60), Err(WriteError::Full { .. })));
            target.reserve(1 << 20).unwrap();
            assert!(target.file.metadata().unwrap().len() <= 1 << 20);
        }
    }

    #[test]
    fn a_name_without_a_folder_is_in_the_current_one() {
        assert_eq!(folder(Path::new("file")), Path::new("."));
        assert_eq!(folder(Path::new("/file")), Path::new("/"));
    }
}
