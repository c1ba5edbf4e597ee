//! How fast is sealing (IVs, padding, encryption, tags), against AES-256-GCM of the same chunks by AWS-LC?

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use strongroom_engine::{Context, CpuPath, DataKey, KeyId, Kind, Sealer, SegmentShift};

use super::{
    Case, Contender, Race, Unit,
    rows::{Rows, in_cache, kibibytes},
    timed,
};

pub(super) fn cases() -> Vec<Case> {
    let best = CpuPath::fastest();
    let mut cases: Vec<_> =
        [(12, 1.0), (13, 1.0), (14, 1.0), (15, 1.0)].map(|(shift, at_least)| case(best, shift, None, at_least)).into();
    cases.push(case(best, 14, Some(64 << 20), 0.9));
    cases
}

fn case(path: CpuPath, shift: u8, len: Option<usize>, at_least: f64) -> Case {
    let segment_len = 1 << shift;
    let count = len.map_or(in_cache(segment_len), |len| len / segment_len);
    let what = if len.is_some() { ", 64 MiB" } else { "" };
    Case {
        name: format!("seal, {} segments{what}", kibibytes(segment_len)),
        peer: "AWS-LC AES-256-GCM",
        path: path.name(),
        unit: Unit::GigabytesPerSecond((segment_len * count) as f64),
        at_least,
        race: ours(path, shift, count).map(|ours| Race { ours, theirs: gcm(segment_len, count), pinned: true }),
    }
}

/// One long stream, batch after batch, in place.
fn ours(path: CpuPath, shift: u8, count: usize) -> Option<Contender> {
    let (key, context) = (DataKey::from_bytes(&mut [7; 32]), Context::new(Kind::Stream).digest());
    let shift = SegmentShift::new(shift)?;
    let mut sealer = Sealer::on_path(path, &key, KeyId::from_bytes([1; 16]), &context, shift).ok()?;
    let mut rows = Rows::new(sealer.segment_len(), count);
    let (segment_len, stride) = (sealer.segment_len(), rows.stride);
    let batch_len = sealer.batch_len().max(16 * segment_len);
    Some(timed(move || {
        for batch in rows.all().chunks_mut(batch_len / segment_len * stride) {
            let sealed = sealer
                .next_batch(batch.len() / stride * segment_len, false)
                .map(|sealing| sealing.seal_in_place(batch));
            assert!(matches!(sealed, Ok(Ok(()))), "the stream is longer than these runs");
        }
    }))
}

fn gcm(segment_len: usize, count: usize) -> Contender {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap_or_else(|_| unreachable!("32 bytes")));
    let mut rows = Rows::new(segment_len, count);
    let (stride, mut index) = (rows.stride, 0u128);
    timed(move || {
        for row in rows.all().chunks_mut(stride) {
            index += 1;
            let mut nonce = [0; 12];
            nonce.copy_from_slice(&index.to_be_bytes()[4..]);
            let (text, tag) = row.split_at_mut(segment_len);
            let nonce = Nonce::assume_unique_for_key(nonce);
            if let Ok(made) = key.seal_in_place_separate_tag(nonce, Aad::empty(), text) {
                tag[..16].copy_from_slice(made.as_ref());
            }
        }
    })
}
