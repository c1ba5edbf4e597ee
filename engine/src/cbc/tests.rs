//! One check for every path: against the `cbc` crate and AWS-LC by the letter, and therefore against each other.
//!
//! A path that this processor lacks is printed, never counted as passed: CI shows which ones ran.

use std::ops::Range;

use aes::{
    Aes256, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use proptest::{collection::vec, prelude::*};

use super::{CpuPath, Decrypts, Encrypts, Lane, portable};
use crate::{
    Context, ContextDigest, DataKey, HEADER_LEN, KeyId, Kind, Layout, OpenError, Opener, Sealer, SegmentShift,
    derive::StreamKeys,
    header::{Header, Unbound},
    tag::{Mac, Place},
};

const GUARD: u8 = 0xa5;

/// Every path that is present; the others are printed.
pub(crate) fn paths() -> Vec<CpuPath> {
    let named = CpuPath::NAMES.map(|name| CpuPath::named(name).inspect_err(|_| println!("absent: {name}")));
    named.into_iter().flatten().collect()
}

/// Bytes with a prime period: no two blocks look alike.
fn painted(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Lanes of so many blocks, each at an odd place with guard bytes around it.
struct Guarded {
    bytes: Vec<u8>,
    lanes: Vec<Range<usize>>,
}

impl Guarded {
    fn new(offset: usize, lens: &[usize]) -> Self {
        let (mut bytes, mut lanes) = (vec![GUARD; offset], Vec::new());
        for (nth, len) in lens.iter().enumerate() {
            bytes.extend([GUARD; 13]);
            let start = bytes.len();
            bytes.extend(painted(len * 16 + nth).split_off(nth));
            lanes.push(start..bytes.len());
        }
        bytes.extend([GUARD; 64]);
        Self { bytes, lanes }
    }

    fn lanes(&mut self, iv: impl Fn(usize) -> [u8; 16]) -> Vec<Lane<'_>> {
        let (mut rest, mut done, mut lanes) = (&mut self.bytes[..], 0, Vec::new());
        for (nth, range) in self.lanes.iter().enumerate() {
            let (lane, after) = rest[range.start - done..].split_at_mut(range.len());
            lanes.push(Lane { chain: iv(nth), blocks: lane.as_chunks_mut().0 });
            (rest, done) = (after, range.end);
        }
        lanes
    }
}

fn check_lanes(path: CpuPath, key: &[u8; 32], offset: usize, lens: &[usize]) {
    let iv = |nth: usize| (nth as u128 * 0x0123_4567_89ab_cdef).to_be_bytes();
    let mut expected = Guarded::new(offset, lens);
    let mut found = Guarded { bytes: expected.bytes.clone(), lanes: expected.lanes.clone() };
    for lane in expected.lanes(iv) {
        portable::encrypt(&Aes256::new(key.into()), &lane.chain, lane.blocks);
    }
    let mut lanes = found.lanes(iv);
    Encrypts::new(path, key).encrypt_lanes(&mut lanes);
    let chains: Vec<_> = lanes.iter().map(|lane| lane.chain).collect();
    assert!(found.bytes == expected.bytes, "{path}, lanes of {lens:?} blocks");
    for (nth, (range, chain)) in expected.lanes.iter().zip(chains).enumerate() {
        let last = expected.bytes[range.clone()].last_chunk().copied().unwrap_or(iv(nth));
        assert_eq!(chain, last, "{path}, lane {nth} of {lens:?}: the chain goes on from the last block");
    }
}

fn check_decryption(path: CpuPath, key: &[u8; 32], offset: usize, blocks: usize) {
    let (ciphertext, iv) = (Guarded::new(offset, &[blocks]), [0x77; 16]);
    let ciphertext = ciphertext.bytes[ciphertext.lanes[0].clone()].as_chunks().0;
    let mut expected = Guarded::new(offset, &[blocks]);
    let mut found = Guarded::new(offset, &[blocks]);
    portable::decrypt(&Aes256::new(key.into()), &iv, ciphertext, expected.lanes(|_| iv)[0].blocks);
    Decrypts::new(path, key).decrypt(&iv, ciphertext, found.lanes(|_| iv)[0].blocks);
    assert!(found.bytes == expected.bytes, "{path}, {blocks} blocks");
}

#[test]
fn every_number_of_lanes_is_encrypted_as_by_the_definition() {
    // 32 lanes are shared out as twice 16, 25 as 13 and 12, and 65 do not fit the crate's widest call.
    for path in paths() {
        for count in (0..=33).chain([48, 49, 63, 64, 65, 97]) {
            check_lanes(path, &[count as u8; 32], count % 16, &vec![9; count]);
        }
    }
}

#[test]
fn every_length_around_a_line_and_a_stride_is_as_by_the_definition() {
    for path in paths() {
        for blocks in (0..=70).chain([127, 128, 129, 1023, 1024, 1025]) {
            check_lanes(path, &[3; 32], 1, &[blocks]);
            check_lanes(path, &[3; 32], 2, &[blocks; 17]);
            check_decryption(path, &[3; 32], 3, blocks);
        }
    }
}

proptest! {
    #[test]
    fn lanes_of_any_lengths_are_encrypted_as_by_the_definition(
        key: [u8; 32], offset in 0usize..64, lens in vec(0usize..40, 0..60),
    ) {
        paths().into_iter().for_each(|path| check_lanes(path, &key, offset, &lens));
    }

    #[test]
    fn any_ciphertext_is_decrypted_as_by_the_definition(key: [u8; 32], offset in 0usize..64, blocks in 0usize..300) {
        paths().into_iter().for_each(|path| check_decryption(path, &key, offset, blocks));
    }
}

fn key() -> DataKey {
    DataKey::from_bytes(&mut [3; 32])
}

fn context() -> ContextDigest {
    Context::new(Kind::Stream).digest()
}

fn unbound(bits: u8) -> Unbound {
    Unbound::with_salt(KeyId::from_bytes([1; 16]), SegmentShift::new(bits).unwrap(), [2; 32])
}

/// A sealed stream as docs/format.md says it, with the `cbc` crate and AWS-LC, one segment after another.
fn sealed_by_the_letter(bits: u8, plain: &[u8]) -> Vec<u8> {
    let unbound = unbound(bits);
    let mut derived = StreamKeys::default();
    let commitment = derived.derive(&key(), unbound.prefix(), &context()).unwrap();
    let (keys, count) = (derived.segment_keys(), plain.len().div_ceil(1 << bits).max(1));
    let mut sealed = unbound.bind(commitment).as_bytes().to_vec();
    for index in 0..count {
        let text = &plain[index << bits..plain.len().min((index + 1) << bits)];
        let mut iv = Block::from((index as u128).to_be_bytes());
        Aes256::new(keys.iv.into()).encrypt_block(&mut iv);
        let padding_len = 16 - text.len() % 16;
        let mut ciphertext = [text, &vec![padding_len as u8; padding_len]].concat();
        portable::encrypt(&Aes256::new(keys.enc.into()), &iv.into(), ciphertext.as_chunks_mut().0);
        let place = Place { index: index as u64, last: index + 1 == count };
        let tag = Mac::new(keys.mac).unwrap().tag(place, &ciphertext).unwrap();
        sealed.extend([&ciphertext[..], &tag].concat());
    }
    sealed
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Apart,
    InPlace,
    Parallel,
}

/// Seals in batches of so many segments, into a buffer that begins at an odd place and is guarded.
fn sealed_on(path: CpuPath, bits: u8, plain: &[u8], segments: usize, offset: usize, form: Form) -> Vec<u8> {
    let mut sealer = Sealer::begin(path, &key(), unbound(bits), &context()).unwrap();
    let mut sealed = sealer.header_bytes().to_vec();
    let batch_len = segments << bits;
    let count = plain.len().div_ceil(batch_len).max(1);
    for nth in 0..count {
        let part = &plain[nth * batch_len..plain.len().min((nth + 1) * batch_len)];
        let batch = sealer.next_batch(part.len(), nth + 1 == count).unwrap();
        let mut guarded = vec![GUARD; offset + batch.sealed_len() + 64];
        let end = guarded.len() - 64;
        match form {
            Form::Apart => batch.seal(part, &mut guarded[offset..end]).unwrap(),
            Form::Parallel => batch.seal_parallel(part, &mut guarded[offset..end]).unwrap(),
            Form::InPlace => {
                for (row, text) in guarded[offset..end].chunks_mut((1 << bits) + 32).zip(part.chunks(1 << bits)) {
                    row[..text.len()].copy_from_slice(text);
                }
                batch.seal_in_place(&mut guarded[offset..end]).unwrap();
            }
        }
        let around = guarded[..offset].iter().chain(&guarded[end..]);
        assert!(around.clone().all(|byte| *byte == GUARD), "{path}, {form:?}: a byte beyond the output");
        sealed.extend(&guarded[offset..end]);
    }
    sealed
}

/// Opens in batches of so many segments, into guarded rooms.
fn opened_on(path: CpuPath, sealed: &[u8], plain_len: Option<usize>, segments: usize) -> Result<Vec<u8>, OpenError> {
    let (header, rows) = sealed.split_at_checked(HEADER_LEN).unwrap_or((sealed, &[]));
    let opener = Opener::on_path(path, &key(), header, &context())?;
    let shift = opener.header().segment_shift();
    let layout = match plain_len {
        Some(plain_len) => Layout::from_plain(plain_len as u64, shift),
        None => opener.layout(sealed.len() as u64)?,
    };
    let (mut plain, mut parallel) = (Vec::new(), Vec::new());
    for (nth, rows) in rows.chunks(segments * (shift.segment_len() + 32)).enumerate() {
        let first = (nth * segments) as u64;
        let room_len = opener.room_len(&layout, first, rows.len());
        let mut room = vec![GUARD; room_len + 64];
        let opened = opener.open_batch_into(&layout, first, rows, &mut room[..room_len]);
        assert!(room[room_len..].iter().all(|byte| *byte == GUARD), "{path}: a byte beyond the room");
        let in_parallel = opener.open_batch_parallel(&layout, first, rows, &mut parallel);
        assert_eq!(opened.is_ok(), in_parallel.is_ok(), "{path}");
        if opened.is_err() {
            let untouched = [[0], [GUARD]].map(|byte| byte.repeat(room_len)).contains(&room[..room_len].to_vec());
            assert!(untouched, "{path}: plaintext of a segment that is not right");
        }
        plain.extend(&room[..opened?]);
    }
    assert!(plain == parallel, "{path}");
    Ok(plain)
}

fn check_stream(bits: u8, plain_len: usize, segments: usize, offset: usize) {
    let plain = painted(plain_len);
    let expected = sealed_by_the_letter(bits, &plain);
    for path in paths() {
        for form in [Form::Apart, Form::InPlace, Form::Parallel] {
            let sealed = sealed_on(path, bits, &plain, segments, offset, form);
            assert!(sealed == expected, "{path}, {form:?}: {plain_len} bytes, shift {bits}, {segments} a batch");
        }
        assert!(opened_on(path, &expected, Some(plain_len), segments).unwrap() == plain, "{path}: {plain_len} bytes");
        assert!(opened_on(path, &expected, None, segments).unwrap() == plain, "{path}: {plain_len} bytes");
    }
}

#[test]
fn every_path_seals_every_number_of_segments_to_the_bytes_of_the_format() {
    for count in (0..=26).chain([31, 32, 33, 48, 49]) {
        check_stream(9, count * 512, 64, count % 32);
        check_stream(9, count * 512 + 300, 64, count % 32);
    }
}

/// Memory that ends where a page does which nobody may touch.
#[allow(unsafe_code)] // Only mmap gives such memory.
fn before_a_forbidden_page(len: usize) -> &'static mut [u8] {
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
    let (page, whole) = (4096, len.next_multiple_of(4096));
    let flags = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place the kernel picks touches nothing that exists.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), whole + page, flags, MapFlags::PRIVATE) }.unwrap();
    let start: *mut u8 = start.cast();
    // SAFETY: the last page of the mapping just made.
    unsafe { mprotect(start.wrapping_add(whole).cast(), page, MprotectFlags::empty()) }.unwrap();
    // SAFETY: `len` bytes of the mapping, up to that page, which are never unmapped and lent out once.
    unsafe { std::slice::from_raw_parts_mut(start.wrapping_add(whole - len), len) }
}

#[test]
fn not_a_byte_beyond_the_buffers_is_read() {
    for path in paths() {
        for plain_len in [1, 512, 1024, 1280, 512 * 16, 512 * 17 + 256, 512 * 24 + 511] {
            let plain = before_a_forbidden_page(plain_len);
            plain.copy_from_slice(&painted(plain_len));
            let mut sealer = Sealer::begin(path, &key(), unbound(9), &context()).unwrap();
            let batch = sealer.next_batch(plain_len, true).unwrap();
            let sealed = before_a_forbidden_page(batch.sealed_len());
            batch.seal(plain, sealed).unwrap();
            let mut sealer = Sealer::begin(path, &key(), unbound(9), &context()).unwrap();
            sealer.next_batch(plain_len, true).unwrap().seal_in_place(sealed).unwrap();

            let whole = sealed_by_the_letter(9, &painted(plain_len));
            sealed.copy_from_slice(&whole[HEADER_LEN..]);
            let opener = Opener::on_path(path, &key(), &whole[..HEADER_LEN], &context()).unwrap();
            let layout = Layout::from_plain(plain_len as u64, SegmentShift::new(9).unwrap());
            let opened = opener.open_batch_into(&layout, 0, sealed, before_a_forbidden_page(plain_len));
            assert_eq!(opened.unwrap(), plain_len, "{path}");
        }
    }
}

#[test]
fn every_path_seals_every_segment_size_to_the_bytes_of_the_format() {
    for bits in 9..=20 {
        let segment_len = 1 << bits;
        for plain_len in [0, 1, segment_len - 1, segment_len, segment_len + 1, 2 * segment_len + 257] {
            check_stream(bits, plain_len, 4, 1);
        }
    }
}

#[test]
fn every_path_seals_a_last_segment_of_every_length_to_the_bytes_of_the_format() {
    // Blocks, lines, windows and strides all end somewhere in here, beside full segments and alone.
    for rest in (0..=64).flat_map(|blocks| [16 * blocks, 16 * blocks + 1, 16 * blocks + 15]) {
        check_stream(10, rest, 8, 0);
        check_stream(10, 5 * 1024 + rest, 8, 0);
    }
}

proptest! {
    #[test]
    fn every_path_seals_any_length_to_the_bytes_of_the_format(
        bits in 9u8..=13, len in 0usize..60_000, segments in 1usize..30, offset in 0usize..70,
    ) {
        check_stream(bits, len, segments, offset);
    }
}

/// Refused on every path, one segment at a time and all at once, with and without the length known beforehand.
fn check_refused(sealed: &[u8], plain_len: usize, what: &str) {
    for (segments, plain_len) in [(1, None), (8, None), (8, Some(plain_len))] {
        check_refused_in(sealed, segments, plain_len, what);
    }
}

fn check_refused_in(sealed: &[u8], segments: usize, plain_len: Option<usize>, what: &str) {
    for path in paths() {
        match opened_on(path, sealed, plain_len, segments) {
            Err(OpenError::Refused) => {}
            // Whoever knows the length of the plaintext gives other bytes than those of a stream of that length.
            Err(OpenError::NotWholeSegments { .. }) if plain_len.is_some() => {}
            other => panic!("{path}: {what} gave {:?}", other.map(|plain| plain.len())),
        }
    }
}

/// Two full segments and a short one.
fn small_stream() -> (Vec<u8>, usize) {
    (sealed_by_the_letter(9, &painted(1100)), 1100)
}

#[test]
fn every_single_bit_that_changes_is_noticed_with_one_error() {
    let (sealed, _) = small_stream();
    for bit in 32..sealed.len() * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        check_refused_in(&altered, 8, None, &format!("bit {bit}"));
    }
    for bit in 0..32 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Header::parse(&altered[..HEADER_LEN]), Err(OpenError::UnknownFormat { .. })), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_extension_is_noticed_with_one_error() {
    let (sealed, plain_len) = small_stream();
    for len in 0..sealed.len() {
        check_truncated(&sealed[..len], plain_len);
    }
    for more in [1, 15, 16, 31, 32, 33, 48, 544] {
        check_refused(&[&sealed[..], &vec![0; more]].concat(), plain_len, &format!("{more} bytes more"));
    }
}

/// What is left may be whole segments that are right by themselves: then only the end is missing.
fn check_truncated(sealed: &[u8], plain_len: usize) {
    for path in paths() {
        for segments in [1, 8] {
            let opened = opened_on(path, sealed, None, segments);
            assert!(matches!(opened, Err(OpenError::Refused)), "{path}: {} bytes left", sealed.len());
        }
        if let Ok(plain) = opened_on(path, sealed, Some(plain_len), 1) {
            assert!(plain.len() < plain_len && painted(plain_len).starts_with(&plain), "{path}: {} left", sealed.len());
        }
    }
}

#[test]
fn every_swap_and_repeat_of_segments_is_noticed_with_one_error() {
    let plain_len = 4 * 512;
    let sealed = sealed_by_the_letter(9, &painted(plain_len));
    let row = |nth: usize| HEADER_LEN + nth * 544..HEADER_LEN + (nth + 1) * 544;
    for one in 0..4 {
        for two in (0..4).filter(|two| *two != one) {
            let mut repeated = sealed.clone();
            repeated.copy_within(row(one), row(two).start);
            check_refused(&repeated, plain_len, &format!("segment {one} in place of {two}"));
            repeated[row(one)].copy_from_slice(&sealed[row(two)]);
            check_refused(&repeated, plain_len, &format!("segments {one} and {two} swapped"));
        }
    }
}
