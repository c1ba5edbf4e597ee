//! A map to copy into and out of, for measuring only: nobody else has the file.
#![allow(unsafe_code)] // The one reason: mapped memory is reached by raw pointers.

use std::{fs::File, io, ptr};

use memmap2::{MmapOptions, MmapRaw};

pub(super) struct Mapped(MmapRaw);

impl Mapped {
    pub(super) fn for_reading(file: &File) -> io::Result<Self> {
        MmapOptions::new().map_raw_read_only(file).map(Self)
    }

    /// # Errors
    /// As the system says; the file must be open for reading and writing.
    pub(super) fn for_writing(file: &File) -> io::Result<Self> {
        MmapOptions::new().map_raw(file).map(Self)
    }

    pub(super) fn read(&self, target: &mut [u8], offset: usize) {
        let source = self.at(offset, target.len());
        // SAFETY: `at` checked that the bytes are inside the map, which lives.
        unsafe { ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len()) };
    }

    /// Only on a map for writing; each worker its own bytes.
    pub(super) fn write(&self, bytes: &[u8], offset: usize) {
        let target = self.at(offset, bytes.len());
        // SAFETY: `at` checked that the bytes are inside the map, which lives.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.0.len() && len <= self.0.len() - offset, "beyond the map");
        self.0.as_mut_ptr().wrapping_add(offset)
    }
}
