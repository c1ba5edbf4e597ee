//! Any bytes are a header, read to themselves, or refused; and no header opens under a key that it was not made for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_engine::{Context, ContextDigest, DataKey, HEADER_LEN, Header, Kind, Opener};

fuzz_target!(|bytes: &[u8]| {
    let key = DataKey::from_bytes(&mut [1; 32]);
    let context: ContextDigest = Context::new(Kind::Stream).digest();
    match Header::parse(bytes) {
        Ok(header) => {
            assert_eq!(bytes.len(), HEADER_LEN);
            assert_eq!(header.key_id().as_bytes()[..], bytes[16..32]);
            assert_eq!(u32::from(bytes[5]), header.segment_shift().segment_len().trailing_zeros());
        }
        Err(_) => assert!(bytes.len() != HEADER_LEN || bytes[..4] != *b"SRM1" || bytes[4] != 1 || is_odd(bytes)),
    }
    assert!(Opener::new(&key, bytes, &context).is_err());
});

/// A shift out of range, or reserved bytes that are not zero.
fn is_odd(bytes: &[u8]) -> bool {
    !(9..=20).contains(&bytes[5]) || bytes[6..16].iter().any(|byte| *byte != 0)
}
