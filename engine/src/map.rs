//! A file's bytes by memory map, read only by copying them out.
//!
//! Another process may write to the file at any moment, so no reference to mapped bytes ever exists: each is copied
//! once, into memory that is ours, and only the copy is looked at. The length is that of the moment of opening.
#![allow(unsafe_code)] // The one reason: a map of memory that others can change, which safe Rust has no word for.

use std::{fs::File, io, path::Path, ptr};

use memmap2::{MmapOptions, MmapRaw};

/// A file, open for reading.
pub(crate) struct Map {
    /// None for an empty file, which cannot be mapped.
    bytes: Option<MmapRaw>,
}

impl Map {
    /// Maps the whole file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let len = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes = match len {
            0 => None,
            _ => Some(MmapOptions::new().len(len).map_raw_read_only(&file)?),
        };
        Ok(Self { bytes })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Copies the bytes from `offset` on into `target`. False, and nothing copied, where they are not all inside.
    pub(crate) fn copy(&self, offset: u64, target: &mut [u8]) -> bool {
        let end = offset.checked_add(target.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return false;
        }
        if let Some(bytes) = &self.bytes {
            // SAFETY: `offset` lies inside the map, as checked above.
            let source = unsafe { bytes.as_ptr().add(offset as usize) };
            // SAFETY: so do all bytes up to the end of `target`, which is our own and cannot overlap a read-only map.
            // Bytes that change meanwhile give some value or another, never a reference to memory that changes.
            unsafe { ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len()) };
        }
        true
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
        assert!(map.copy(6, &mut target));
        assert_eq!(target, *b"6789");
        for offset in [7, 10, 11, u64::MAX] {
            assert!(!map.copy(offset, &mut target), "offset {offset}");
        }
    }

    #[test]
    fn an_empty_file_is_a_map_of_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let map = Map::open(file.path()).unwrap();
        assert!(map.len() == 0 && map.copy(0, &mut []) && !map.copy(0, &mut [0]));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(Map::open(Path::new("/dev/null")).is_err());
        assert!(Map::open(Path::new("/")).is_err());
    }
}
