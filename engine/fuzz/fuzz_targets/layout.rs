//! Lengths, offsets and ranges agree with each other, whatever numbers come in, and none overflows.
//!
//! Input: shift (1 byte), then a length, and start and end of a range (8 bytes each).
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::{Layout, PLAIN_LEN_MAX, SegmentShift};

fuzz_target!(|input: &[u8]| {
    let Some((shift, numbers)) = input.split_first() else { return };
    let ([len, start, end, ..], _) = numbers.as_chunks::<8>() else { return };
    let (len, start, end) = (u64::from_be_bytes(*len), u64::from_be_bytes(*start), u64::from_be_bytes(*end));
    let Some(shift) = SegmentShift::new(*shift) else { return };
    check_from_plain(Layout::from_plain(len, shift), len.min(PLAIN_LEN_MAX), start, end);
    if let Ok(layout) = Layout::from_sealed(len, shift) {
        assert_eq!(layout.sealed_len(), len);
        let last = layout.segment_count() - 1;
        assert_eq!(layout.segment_offset(last) + layout.segment_sealed_len(last) as u64, len);
    }
});

fn check_from_plain(layout: Layout, plain_len: u64, start: u64, end: u64) {
    assert_eq!(layout.plain_len(), Some(plain_len));
    let again = Layout::from_sealed(layout.sealed_len(), layout.segment_shift()).unwrap();
    assert_eq!(again.segment_count(), layout.segment_count());
    let range = layout.range(start..end);
    assert_eq!(range.take, end.min(plain_len).saturating_sub(start.min(plain_len)));
    if range.count > 0 {
        let segment_len = layout.segment_shift().segment_len() as u64;
        assert!(range.first + range.count <= layout.segment_count() && range.skip < segment_len as usize);
        assert_eq!(range.first * segment_len + range.skip as u64, start);
        assert_eq!(range.sealed_offset, layout.segment_offset(range.first));
        assert!(range.sealed_offset + range.sealed_len <= layout.sealed_len());
        assert!(range.skip as u64 + range.take <= range.count * segment_len);
    } else {
        assert_eq!(range.take, 0);
    }
}
