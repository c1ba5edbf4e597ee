//! A sealed stream that was altered anywhere, cut or lengthened is refused, whole and by segments, and gives no byte.
//!
//! Input: the plaintext length and what is cut off or added (2 bytes each), then changes: place (2 bytes) and the bits
//! that flip there (1 byte).
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::{Context, DataKey, HEADER_LEN, KeyId, Kind, OpenError, Opener, Sealer, SegmentShift};

fuzz_target!(|input: &[u8]| {
    let Some((lengths, changes)) = input.split_first_chunk::<4>() else { return };
    let plain_len = usize::from(u16::from_be_bytes([lengths[0], lengths[1]])) % 4096;
    let length_change = i16::from_be_bytes([lengths[2], lengths[3]]);
    let sealed = seal(&vec![7; plain_len]);
    let mut altered = sealed.clone();
    altered.resize(altered.len().saturating_add_signed(length_change.into()), 0);
    for change in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= change[2];
        }
    }
    match open(&altered) {
        Ok(plain) => assert!(altered == sealed && plain == vec![7; plain_len]),
        Err(_) => assert!(altered != sealed),
    }
});

fn key() -> DataKey {
    DataKey::from_bytes(&mut [1; 32])
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let context = Context::new(Kind::Stream).digest();
    let shift = SegmentShift::new(9).unwrap();
    let mut sealer = Sealer::new(&key(), KeyId::from_bytes([7; 16]), &context, shift).unwrap();
    let batch = sealer.next_batch(plain.len(), true).unwrap();
    let mut sealed = sealer.header_bytes().to_vec();
    sealed.resize(HEADER_LEN + batch.sealed_len(), 0);
    batch.seal(plain, &mut sealed[HEADER_LEN..]).unwrap();
    sealed
}

fn open(sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let context = Context::new(Kind::Stream).digest();
    let (header, segments) = sealed.split_at(sealed.len().min(HEADER_LEN));
    let opener = Opener::new(&key(), header, &context)?;
    let layout = opener.layout(sealed.len() as u64)?;
    let last = layout.segment_count() - 1;
    let told = opener.open_last(&layout, &sealed[layout.segment_offset(last) as usize..]);
    let mut plain = Vec::new();
    let opened = opener.open_batch(&layout, 0, segments, &mut plain);
    if opened.is_err() {
        assert!(plain.is_empty(), "a failure released plaintext");
    } else {
        assert_eq!(told.unwrap(), plain.len() as u64);
    }
    opened.map(|()| plain)
}
