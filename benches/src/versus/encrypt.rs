//! How fast is CBC encryption of many segments, against the peers and against what the registers could do?

use strongroom_engine::{CpuPath, measure::Cbc};

use super::{
    Case, Contender, Race, Unit, ceiling,
    rows::{Rows, in_cache, kibibytes},
    timed,
};

const KEY: [u8; 32] = [7; 32];
const IV: [u8; 16] = [9; 16];
const MEBIBYTE: usize = 1 << 20;
/// Both our 24 lanes and the 16 of ipsec-mb share a multiple of this evenly.
const LANES: usize = 48;

pub(super) fn cases() -> Vec<Case> {
    let best = CpuPath::fastest().name();
    let mut cases = Vec::new();
    for segment_len in [4096, 16384, 32768] {
        let count = in_cache(segment_len).next_multiple_of(LANES);
        let what = format!("CBC encryption, {} segments", kibibytes(segment_len));
        cases.push(case(&what, "ipsec-mb", best, 1.2, segment_len, count));
    }
    cases.push(case("CBC encryption, 16 KiB segments, 64 MiB", "ipsec-mb", best, 1.15, 16384, 64 * MEBIBYTE / 16384));
    for segment_len in [4096, 16384, 32768] {
        let count = in_cache(segment_len).next_multiple_of(LANES);
        let what = format!("CBC encryption, {} segments", kibibytes(segment_len));
        cases.push(case(&what, "OpenSSL", best, 13.0, segment_len, count));
    }
    for (path, at_least) in [("vaes512", 0.82), ("vaes256", 0.80), ("aesni", 0.90)] {
        for segment_len in [4096, 16384] {
            let count = in_cache(segment_len).next_multiple_of(LANES);
            let what = format!("CBC encryption, {} segments, {path}", kibibytes(segment_len));
            cases.push(case(&what, "registers only", path, at_least, segment_len, count));
        }
    }
    // Whole calls of each path: 8, 24 and 64 at once.
    for (path, at_least, count) in [("aesni", 8.0, 48), ("vaes256", 13.0, 48), ("crate", 3.0, 64)] {
        let what = format!("CBC encryption, 4 KiB segments, {path}");
        cases.push(case(&what, "cbc crate", path, at_least, 4096, count));
    }
    cases
}

fn case(name: &str, peer: &'static str, path: &'static str, at_least: f64, segment_len: usize, count: usize) -> Case {
    let bytes = segment_len * count;
    let race = CpuPath::named(path).ok().and_then(|path| {
        let theirs = match peer {
            "registers only" => ceiling::contender(path, bytes)?,
            "cbc crate" => cbc_crate(segment_len, count),
            _ => peer_contender(peer, segment_len, count)?,
        };
        Some(Race { ours: ours(path, segment_len, count), theirs, pinned: true })
    });
    Case { name: name.to_owned(), peer, path, unit: Unit::GigabytesPerSecond(bytes as f64), at_least, race }
}

fn ours(path: CpuPath, segment_len: usize, count: usize) -> Contender {
    let (cbc, mut rows) = (Cbc::new(path, &KEY), Rows::new(segment_len, count));
    let stride = rows.stride;
    timed(move || cbc.encrypt_rows(&IV, rows.all(), stride, segment_len))
}

fn cbc_crate(segment_len: usize, count: usize) -> Contender {
    use aes::{
        Aes256, Block,
        cipher::{BlockModeEncrypt, InnerIvInit, KeyInit},
    };
    let (key, mut rows) = (Aes256::new(&KEY.into()), Rows::new(segment_len, count));
    let stride = rows.stride;
    timed(move || {
        for row in rows.all().chunks_mut(stride) {
            let blocks = Block::cast_slice_from_core_mut(row[..segment_len].as_chunks_mut().0);
            cbc::Encryptor::inner_iv_init(&key, &IV.into()).encrypt_blocks(blocks);
        }
    })
}

#[cfg(feature = "peers")]
fn peer_contender(peer: &str, segment_len: usize, count: usize) -> Option<Contender> {
    use crate::peers::{Direction::Encrypt, IpsecMb, OpenSsl};
    let mut rows = Rows::new(segment_len, count);
    let stride = rows.stride;
    let (mut ipsec, mut openssl) = (IpsecMb::new(&KEY, Encrypt), OpenSsl::new(&KEY, Encrypt));
    Some(match peer {
        // Its length has 16 bits: a longer one would be skipped, and look very fast.
        "ipsec-mb" => timed(move || assert_eq!(ipsec.cbc(&IV, rows.all(), stride, segment_len), count)),
        _ => timed(move || assert_eq!(openssl.cbc(&IV, rows.all(), stride, segment_len), count)),
    })
}

#[cfg(not(feature = "peers"))]
fn peer_contender(_peer: &str, _segment_len: usize, _count: usize) -> Option<Contender> {
    None
}
