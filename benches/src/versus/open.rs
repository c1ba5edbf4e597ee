//! How fast is opening (tags, decryption, padding), against AES-256-GCM of the same chunks by AWS-LC?

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use strongroom_engine::{Context, CpuPath, DataKey, KeyId, Kind, Layout, Opener, Sealer, SegmentShift};

use super::{
    Case, Contender, Race, Unit,
    rows::{Rows, in_cache, kibibytes},
    timed,
};

pub(super) fn cases() -> Vec<Case> {
    let best = CpuPath::fastest();
    [(12, 1.1), (14, 1.1), (15, 1.0)].map(|(shift, at_least)| case(best, shift, at_least)).into()
}

fn case(path: CpuPath, shift: u8, at_least: f64) -> Case {
    let segment_len = 1 << shift;
    let count = in_cache(segment_len);
    Case {
        name: format!("open, {} segments", kibibytes(segment_len)),
        peer: "AWS-LC AES-256-GCM",
        path: path.name(),
        unit: Unit::GigabytesPerSecond((segment_len * count) as f64),
        at_least,
        race: ours(path, shift, count).map(|ours| Race { ours, theirs: gcm(segment_len, count), pinned: true }),
    }
}

fn ours(path: CpuPath, shift: u8, count: usize) -> Option<Contender> {
    let (key, context) = (DataKey::from_bytes(&mut [7; 32]), Context::new(Kind::Stream).digest());
    let shift = SegmentShift::new(shift)?;
    let mut sealer = Sealer::on_path(path, &key, KeyId::from_bytes([1; 16]), &context, shift).ok()?;
    let mut rows = Rows::new(sealer.segment_len(), count);
    sealer.next_batch(count * sealer.segment_len(), true).ok()?.seal_in_place(rows.all()).ok()?;
    let opener = Opener::on_path(path, &key, sealer.header_bytes(), &context).ok()?;
    let layout = Layout::from_plain((count * sealer.segment_len()) as u64, shift);
    let mut room = vec![0; opener.room_len(&layout, 0, rows.all().len())];
    Some(timed(move || {
        let opened = opener.open_batch_into(&layout, 0, rows.all(), &mut room);
        assert!(opened.is_ok(), "nobody altered it");
    }))
}

fn gcm(segment_len: usize, count: usize) -> Contender {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap_or_else(|_| unreachable!("32 bytes")));
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut rows = Rows::new(segment_len, count);
    let stride = rows.stride;
    for row in rows.all().chunks_mut(stride) {
        let (text, tag) = row.split_at_mut(segment_len);
        if let Ok(made) = key.seal_in_place_separate_tag(nonce(), Aad::empty(), text) {
            tag[..16].copy_from_slice(made.as_ref());
        }
    }
    let mut plain = vec![0; segment_len * count];
    timed(move || {
        for (row, plain) in rows.all().chunks(stride).zip(plain.chunks_mut(segment_len)) {
            let (text, tag) = row.split_at(segment_len);
            let opened = key.open_separate_gather(nonce(), Aad::empty(), text, &tag[..16], plain);
            assert!(opened.is_ok(), "nobody altered it");
        }
    })
}
