//! How fast is CBC decryption, against what the registers could do?

use strongroom_engine::{CpuPath, measure::Cbc};

use super::{
    Case, Race, Unit, ceiling,
    rows::{Rows, in_cache, kibibytes},
    timed,
};

pub(super) fn cases() -> Vec<Case> {
    let bars = [("vaes512", 0.95), ("vaes256", 0.65), ("aesni", 0.65)];
    bars.into_iter().map(|(path, at_least)| case(path, at_least, 16384)).collect()
}

fn case(path: &'static str, at_least: f64, segment_len: usize) -> Case {
    let count = in_cache(segment_len);
    let bytes = segment_len * count;
    let race = CpuPath::named(path).ok().and_then(|path| {
        let (cbc, mut rows) = (Cbc::new(path, &[7; 32]), Rows::new(segment_len, count));
        let (stride, mut plain) = (rows.stride, vec![0; bytes]);
        let ours = timed(move || {
            for (row, plain) in rows.all().chunks(stride).zip(plain.chunks_mut(segment_len)) {
                cbc.decrypt(&[9; 16], &row[..segment_len], plain);
            }
        });
        Some(Race { ours, theirs: ceiling::contender(path, bytes)?, pinned: true })
    });
    Case {
        name: format!("CBC decryption, {} segments, {path}", kibibytes(segment_len)),
        peer: "registers only",
        path,
        unit: Unit::GigabytesPerSecond(bytes as f64),
        at_least,
        race,
    }
}
