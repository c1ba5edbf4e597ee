//! A file's bytes by memory map, read only by copying them out.
//!
//! Another process may write to the file at any moment, so no reference to mapped bytes ever exists: each is copied
//! once, into memory that is ours, and only the copy is looked at. The length is that of the moment of opening; a
//! file that is cut short later gives errors.

use std::{fs::File, io, path::Path};

use memmap2::MmapOptions;

use super::fault::{Faulted, Guarded};

/// A file, open for reading.
pub(super) struct Map {
    file: File,
    /// None for an empty file, which cannot be mapped.
    bytes: Option<Guarded>,
}

impl Map {
    /// Maps the whole file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let len = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes = match len {
            0 => None,
            _ => Some(Guarded::new(MmapOptions::new().len(len).map_raw_read_only(&file)?)?),
        };
        Ok(Self { file, bytes })
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Copies the bytes from `offset` on into `target`, which after an error holds anything.
    ///
    /// # Errors
    /// `UnexpectedEof` where they are not all inside; another where they are gone or the disk fails.
    pub(super) fn copy(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(target.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(bytes) = &self.bytes else { return Ok(()) };
        bytes
            .copy(offset as usize, target)
            .map_err(|Faulted| io::Error::other("the file was cut short while it was read, or its disk failed"))
    }

    /// That the file has not become shorter since: the last page of one that has reads as zeros, without a fault.
    pub(super) fn check_whole(&self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short while it was read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_what_the_file_holds_and_nothing_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let map = Map::open(&path).unwrap();
        let mut target = [0; 4];
        map.copy(6, &mut target).unwrap();
        assert_eq!(target, *b"6789");
        for offset in [7, 10, 11, u64::MAX] {
            assert!(map.copy(offset, &mut target).is_err(), "offset {offset}");
        }
    }

    #[test]
    fn an_empty_file_is_a_map_of_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let map = Map::open(file.path()).unwrap();
        assert!(map.len() == 0 && map.copy(0, &mut []).is_ok() && map.copy(0, &mut [0]).is_err());
    }

    #[test]
    fn a_cut_inside_the_last_page_is_seen_in_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let map = Map::open(file.path()).unwrap();
        map.check_whole().unwrap();
        file.as_file().set_len(9).unwrap();
        map.copy(0, &mut [0; 10]).unwrap(); // No fault: the page is still there.
        assert!(map.check_whole().is_err());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(Map::open(Path::new("/dev/null")).is_err());
        assert!(Map::open(Path::new("/")).is_err());
    }
}
