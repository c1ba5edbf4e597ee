//! A file that appears whole and durable, or not at all.
//!
//! It is written under a temporary name in the same folder, made durable, renamed, and then the folder is made
//! durable. Whatever ends before that (an error, a cancel, a panic) removes the temporary file. A failed fsync is
//! never tried again: the kernel has dropped the pages.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::id::fresh_id;

/// A file in the making; only its owner may read it.
pub(crate) struct Target {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Target {
    /// Begins the file that will stand at `path`, in the place of what stands there now.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let name = fresh_id(0).map_err(io::Error::other)?;
        let temporary = folder(path).join(format!(".strongroom-{:032x}", u128::from_be_bytes(name)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { file, temporary, path: path.to_owned() })
    }

    /// Writes all of `bytes` at `offset`; from several threads at once, each its own bytes.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Makes it durable under its name.
    pub(crate) fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        File::open(folder(&self.path))?.sync_all()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already when the file was kept. Nobody is left to tell of a failure: the name says whose leaving it is.
        let _ = fs::remove_file(&self.temporary);
    }
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

    #[test]
    fn a_file_appears_only_when_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let target = Target::create(&path).unwrap();
        target.write_at(b"cd", 2).unwrap();
        target.write_at(b"ab", 0).unwrap();
        assert!(!path.exists());
        target.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_kept_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"old").unwrap();
        Target::create(&path).unwrap().write_at(b"new", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let target = Target { file: full, temporary: PathBuf::from("/nowhere/a"), path: PathBuf::from("/nowhere/b") };
        assert_eq!(target.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_name_without_a_folder_is_in_the_current_one() {
        assert_eq!(folder(Path::new("file")), Path::new("."));
        assert_eq!(folder(Path::new("/file")), Path::new("/"));
    }
}
