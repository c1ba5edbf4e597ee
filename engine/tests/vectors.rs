//! The engine against every vector of tests/vectors, which another implementation wrote.

mod vector_file;

use strongroom_engine::{HEADER_LEN, Layout, OpenError, Opener, open_small};
use vector_file::Vector;

/// Opens one as a reader does that knows only key, context and the sealed bytes.
fn open(vector: &Vector, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    if vector.text("form") == "small" {
        let label = String::leak(vector.text("label").to_owned());
        return open_small(&vector.key(), label, &vector.context(), sealed).map(|plain| plain.to_vec());
    }
    let (header, segments) = sealed.split_at(sealed.len().min(HEADER_LEN));
    let opener = Opener::new(&vector.key(), header, &vector.context())?;
    let layout = opener.layout(sealed.len() as u64)?;
    let last = layout.segment_offset(layout.segment_count() - 1) as usize;
    let plain_len = opener.open_last(&layout, &sealed[last..])?;
    let (mut plain, mut parallel) = (Vec::new(), Vec::new());
    opener.open_batch(&layout, 0, segments, &mut plain)?;
    opener.open_batch_parallel(&layout, 0, segments, &mut parallel)?;
    assert!(plain == parallel && plain.len() as u64 == plain_len, "{}", vector.name);
    assert_eq!(Layout::from_plain(plain_len, layout.segment_shift()).sealed_len(), sealed.len() as u64);
    Ok(plain)
}

fn outcome(opened: &Result<Vec<u8>, OpenError>) -> &'static str {
    match opened {
        Ok(_) => "opened",
        Err(OpenError::Refused) => "refused",
        Err(OpenError::UnknownFormat { .. }) => "unknown-format",
        Err(_) => "another error",
    }
}

#[test]
fn every_vector_has_its_outcome() {
    for vector in Vector::all() {
        let opened = open(&vector, &vector.bytes("sealed"));
        assert_eq!(outcome(&opened), vector.text("expect"), "{}: {}", vector.name, vector.text("why"));
        if let Ok(plain) = opened {
            assert!(plain == vector.bytes("plain"), "{}: the plaintext", vector.name);
        }
    }
}

#[test]
fn a_batch_with_an_altered_segment_is_refused_without_its_last_segment_too() {
    // A ranged read opens batches that the last segment is not in.
    for vector in Vector::all().iter().filter(|vector| ["swapped", "spliced"].contains(&vector.name.as_str())) {
        let sealed = vector.bytes("sealed");
        let opener = Opener::new(&vector.key(), &sealed[..HEADER_LEN], &vector.context()).unwrap();
        let layout = opener.layout(sealed.len() as u64).unwrap();
        let mut plain = Vec::new();
        let two = &sealed[HEADER_LEN..layout.segment_offset(2) as usize];
        assert!(matches!(opener.open_batch(&layout, 0, two, &mut plain), Err(OpenError::Refused)), "{}", vector.name);
        assert!(plain.is_empty());
    }
}
