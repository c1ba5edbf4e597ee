//! How fast is each path by itself: CBC encryption and decryption, sealing and opening, of a batch that stays in cache?
//!
//! Between versions of our own code, with criterion's statistics; `versus` compares with others.
#![allow(missing_docs)] // criterion's macros write undocumented functions.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_engine::{Context, CpuPath, DataKey, KeyId, Kind, Layout, Opener, Sealer, SegmentShift, measure::Cbc};

const BATCH_LEN: usize = 384 * 1024;
const SHIFTS: [u8; 3] = [10, 12, 14];

fn paths() -> Vec<CpuPath> {
    CpuPath::NAMES.iter().filter_map(|name| CpuPath::named(name).ok()).collect()
}

fn encrypt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encrypt");
    group.throughput(Throughput::Bytes(BATCH_LEN as u64));
    for (path, shift) in paths().into_iter().flat_map(|path| SHIFTS.map(|shift| (path, shift))) {
        let (segment_len, cbc) = (1 << shift, Cbc::new(path, &[7; 32]));
        let stride = segment_len + 32;
        let mut rows = vec![5; BATCH_LEN / segment_len * stride];
        group.bench_function(BenchmarkId::new(path.name(), segment_len), |bencher| {
            bencher.iter(|| cbc.encrypt_rows(&[9; 16], &mut rows, stride, segment_len));
        });
    }
}

fn decrypt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decrypt");
    group.throughput(Throughput::Bytes(BATCH_LEN as u64));
    for path in paths() {
        let (cbc, ciphertext, mut plain) = (Cbc::new(path, &[7; 32]), vec![5; BATCH_LEN], vec![0; BATCH_LEN]);
        group.bench_function(path.name(), |bencher| {
            bencher.iter(|| cbc.decrypt(&[9; 16], &ciphertext, &mut plain));
        });
    }
}

/// A stream of one batch: its sealer, and room for its rows.
fn stream(path: CpuPath, shift: u8) -> Option<(DataKey, Sealer, Vec<u8>)> {
    let key = DataKey::from_bytes(&mut [7; 32]);
    let (context, shift) = (Context::new(Kind::Stream).digest(), SegmentShift::new(shift)?);
    let sealer = Sealer::on_path(path, &key, KeyId::from_bytes([1; 16]), &context, shift).ok()?;
    let rows = vec![5; BATCH_LEN / sealer.segment_len() * (sealer.segment_len() + 32)];
    Some((key, sealer, rows))
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(BATCH_LEN as u64));
    for (path, shift) in paths().into_iter().flat_map(|path| SHIFTS.map(|shift| (path, shift))) {
        let Some((_, mut sealer, mut rows)) = stream(path, shift) else { continue };
        group.bench_function(BenchmarkId::new(path.name(), 1 << shift), |bencher| {
            bencher.iter(|| sealer.next_batch(BATCH_LEN, false).map(|batch| batch.seal_in_place(&mut rows)));
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(BATCH_LEN as u64));
    for (path, shift) in paths().into_iter().flat_map(|path| SHIFTS.map(|shift| (path, shift))) {
        let Some((key, mut sealer, mut rows)) = stream(path, shift) else { continue };
        let sealed = sealer.next_batch(BATCH_LEN, true).and_then(|batch| batch.seal_in_place(&mut rows));
        let opener = Opener::on_path(path, &key, sealer.header_bytes(), &Context::new(Kind::Stream).digest());
        let (Ok(()), Ok(opener)) = (sealed, opener) else { continue };
        let layout = Layout::from_plain(BATCH_LEN as u64, opener.header().segment_shift());
        let mut room = vec![0; opener.room_len(&layout, 0, rows.len())];
        group.bench_function(BenchmarkId::new(path.name(), 1 << shift), |bencher| {
            bencher.iter(|| opener.open_batch_into(&layout, 0, &rows, &mut room));
        });
    }
}

criterion_group!(kernels, encrypt, decrypt, seal, open);
criterion_main!(kernels);
