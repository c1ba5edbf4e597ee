//! Which segment size, how many lanes, how large a batch? `sweep FOLDER` measures and writes `FOLDER/sweep.svg`.
//!
//! The plot decides three constants of the engine: the segment shift of each length (`SegmentShift::for_plain_len`), the
//! lanes of a loop, and the bytes of a batch. One core, the fastest of 31 slices, since a
//! neighbour only ever slows it down; figures of another machine differ, their order hardly.
#![allow(clippy::print_stdout)]

use std::{env, fs, io, path::PathBuf, time::Instant};

use strongroom_benches::plot::{Curve, Panel, svg};
use strongroom_engine::{Context, CpuPath, DataKey, KeyId, Kind, Sealer, SegmentShift};

fn main() -> io::Result<()> {
    strongroom_benches::core::pin();
    let path = CpuPath::fastest();
    let panels = [small_objects(path), lanes(path), batches(path)];
    for panel in &panels {
        println!("{}", panel.title);
        for curve in &panel.curves {
            let points = curve.points.iter().map(|(x, y)| format!("{x}: {y:.2}"));
            println!("  {:<14} {}", curve.name, points.collect::<Vec<_>>().join("  "));
        }
    }
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    fs::write(folder.join("sweep.svg"), svg(&format!("Sealing on one core, path {path}"), &panels))
}

/// Whole objects, keys and header included, by the shift of their segments.
fn small_objects(path: CpuPath) -> Panel {
    let curves = [1, 4, 16, 64, 256].map(|kibibytes: usize| Curve {
        name: format!("{kibibytes} KiB"),
        points: (9..=16)
            .filter(|shift| kibibytes << 10 >> shift > 0)
            .map(|shift| (f64::from(shift), speed(path, shift, kibibytes << 10, kibibytes << 10, true)))
            .collect(),
    });
    Panel { title: "one object, by segment shift".to_owned(), x: "shift", log: false, curves: curves.into() }
}

/// Batches of so many segments, which is so many lanes up to 24.
fn lanes(path: CpuPath) -> Panel {
    let curves = [10, 12, 14].map(|shift| Curve {
        name: format!("{} KiB segments", 1 << (shift - 10)),
        points: [1, 2, 4, 6, 8, 12, 16, 20, 24]
            .map(|lanes: usize| (lanes as f64, speed(path, shift, lanes << shift, 1 << 20, false)))
            .into(),
    });
    Panel { title: "a batch, by its segments".to_owned(), x: "lanes", log: false, curves: curves.into() }
}

/// Batches of so many bytes out of a buffer of 4 MiB: small ones pay for their ends, large ones leave the cache.
fn batches(path: CpuPath) -> Panel {
    let curves = [12, 14].map(|shift| Curve {
        name: format!("{} KiB segments", 1 << (shift - 10)),
        points: [32, 64, 128, 256, 384, 512, 1024, 2048, 4096]
            .map(|kibibytes: usize| (kibibytes as f64, speed(path, shift, kibibytes << 10, kibibytes << 10, false)))
            .into(),
    });
    Panel { title: "a batch, by its size".to_owned(), x: "KiB", log: true, curves: curves.into() }
}

/// GB/s of sealing `total` bytes in batches, in place; with a new sealer for each, where `anew`.
fn speed(path: CpuPath, shift: u8, batch_len: usize, total: usize, anew: bool) -> f64 {
    let (key, context) = (DataKey::from_bytes(&mut [7; 32]), Context::new(Kind::Stream).digest());
    let begin = || {
        let shift = SegmentShift::new(shift)?;
        Sealer::on_path(path, &key, KeyId::from_bytes([1; 16]), &context, shift).ok()
    };
    let (segment_len, batches) = (1 << shift, total.div_ceil(batch_len));
    let mut rows = vec![5; batch_len / segment_len * (segment_len + 32) + 64];
    let start = rows.as_ptr().align_offset(64) % 64;
    let rows_len = rows.len() - 64;
    let rows = &mut rows[start..start + rows_len];
    let Some(mut sealer) = begin() else { return 0.0 };
    let mut once = || {
        if anew && let Some(fresh) = begin() {
            sealer = fresh;
        }
        for _ in 0..batches {
            let sealed = sealer.next_batch(batch_len, anew).and_then(|batch| batch.seal_in_place(rows));
            assert!(sealed.is_ok(), "lengths are right");
        }
    };
    let seconds = (0..31)
        .map(|_| {
            let (started, mut calls) = (Instant::now(), 0);
            while started.elapsed().as_micros() < 1000 {
                once();
                calls += 1;
            }
            started.elapsed().as_secs_f64() / f64::from(calls)
        })
        .fold(f64::MAX, f64::min);
    (batches * batch_len) as f64 / seconds / 1e9
}
