//! Rows as they lie in a batch buffer: each segment, then 32 bytes for padding and tag, the first at 32 bytes after a
//! cache line, as after the 96 bytes of a header.

/// Bytes that are aligned as the engine's batches are on their way to disk.
pub(super) struct Rows {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
    /// From row to row.
    pub(super) stride: usize,
}

impl Rows {
    /// So many segments of `segment_len` bytes.
    pub(super) fn new(segment_len: usize, count: usize) -> Self {
        let stride = segment_len + 32;
        let bytes: Vec<u8> = (0..stride * count + 128).map(|at| (at % 251) as u8).collect();
        let start = bytes.as_ptr().align_offset(64) + 32;
        Self { bytes, start, len: stride * count, stride }
    }

    pub(super) fn all(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

/// Segments of a batch that stays in cache: 256 KiB, and 16 at least.
pub(super) fn in_cache(segment_len: usize) -> usize {
    (256 * 1024 / segment_len).max(16)
}

pub(super) fn kibibytes(len: usize) -> String {
    format!("{} KiB", len / 1024)
}
