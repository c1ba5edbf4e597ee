//! `strongroom hsm bench`: wraps, unwraps and rewraps a second, by number of workers and of sessions, on a key of its own.
//!
//! More is often slower (many modules have one lock), so the number is measured, not assumed. The key is destroyed at the
//! end, however the measuring ended; what a bench that was killed has left, the next one destroys. It is told from any
//! other key by its version 0: those that wrap something begin at 1.

use crate::doctor::{BenchPlan, BenchReport, InProcess, Rates, ThroughWorkers};
use crate::error::KeyError;
use crate::provider::{Alias, KnownKey, MasterKeyAdmin as _, MasterKeys as _, Version};
use crate::worker::{ModuleConfig, Supervisor, WorkerCommand};
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;
use pollster::block_on;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use strongroom_engine::{Context, ContextDigest, DataKey, Kind};

/// What only a bench makes.
const VERSION: Version = Version(0);

/// Threads on which callers wait.
const THREADS: usize = 2;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchOptions {
    /// Numbers of worker processes.
    pub workers: Vec<usize>,
    /// Numbers of sessions in one process.
    pub sessions: Vec<u32>,
    /// Time for each figure.
    pub each: Duration,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { workers: vec![1, 2, 3, 4], sessions: vec![1, 2, 4, 8], each: Duration::from_millis(500) }
    }
}

/// Measures. Blocks for some seconds; not for async threads.
pub fn bench(command: &WorkerCommand, config: &ModuleConfig, options: &BenchOptions) -> Result<BenchReport, KeyError> {
    let alias = Alias::new("strongroom-bench").map_err(|error| KeyError::Misconfigured(error.to_string()))?;
    let mut config = config.clone();
    config.aliases = vec![alias.clone()];
    config.limits.workers = 1;
    let one = Supervisor::start(command.clone(), config.clone(), Vec::new())?;
    destroy_leavings(&one, &alias)?;
    let key = block_on(one.create_master_key(&alias, VERSION))?.into_known(true);
    let measured = measure(command, &config, options, &one, &key);
    let destroyed = block_on(one.destroy_master_key(&key.alias, key.version, &key.id));
    let report = measured?;
    destroyed?;
    Ok(report)
}

/// Keys of benches that were killed.
fn destroy_leavings(one: &Supervisor, alias: &Alias) -> Result<(), KeyError> {
    let mut left = block_on(one.list_versions(alias))?;
    left.retain(|key| key.version == VERSION);
    for key in left {
        block_on(one.destroy_master_key(&key.alias, key.version, &key.id))?;
        tracing::warn!(id = %key.id, "an earlier bench was stopped and left its key on the token: it is destroyed now");
    }
    Ok(())
}

fn measure(
    command: &WorkerCommand,
    config: &ModuleConfig,
    options: &BenchOptions,
    one: &Supervisor,
    key: &KnownKey,
) -> Result<BenchReport, KeyError> {
    one.register(vec![key.clone()]);
    let milliseconds = u32::try_from(options.each.as_millis()).unwrap_or(u32::MAX);
    let mut in_process: Vec<InProcess> = Vec::new();
    for sessions in &options.sessions {
        let plan = BenchPlan { master: key.id, sessions: *sessions, milliseconds };
        match block_on(one.bench_in_process(plan)) {
            Ok(figures) => in_process.push(figures),
            // So many sessions or threads are too many for this module: what is known by now is the answer.
            Err(error) => {
                tracing::warn!(sessions, %error, "the module does not work with so many sessions in one process");
                break;
            }
        }
    }
    let mut through_workers = Vec::new();
    for workers in &options.workers {
        let mut config = config.clone();
        config.limits.workers = *workers;
        let pool = Supervisor::start(command.clone(), config, vec![key.clone()])?;
        await_workers(&pool, *workers)?;
        for callers in [1, 2, *workers * 8, *workers * 32] {
            through_workers.push(through(&pool, *workers, callers, key, options.each)?);
        }
    }
    let best_workers = best(&through_workers);
    let successor_ms = successor(one, key)?;
    let serial = one.token_serial();
    Ok(BenchReport { serial, rung: key.canary.rung, in_process, through_workers, successor_ms, best_workers })
}

/// Kills the worker of a pool of one, and takes the time until a wrap succeeds again.
fn successor(pool: &Supervisor, key: &KnownKey) -> Result<f64, KeyError> {
    let (context, data_key) = (context(), data_key()?);
    let mut times = Vec::new();
    for _ in 0..5 {
        block_on(pool.wrap(&key.alias, &data_key, &context))?;
        let begun = Instant::now();
        for id in pool.worker_ids() {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            // One that has ended by itself is as good.
            let _ = id.map(|id| kill_process(id, Signal::KILL));
        }
        block_on(pool.wrap(&key.alias, &data_key, &context))?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(2).copied().unwrap_or_default())
}

fn await_workers(pool: &Supervisor, workers: usize) -> Result<(), KeyError> {
    let begun = Instant::now();
    while pool.worker_ids().len() < workers {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(KeyError::away(format!(
                "the token takes only {} of {workers} workers",
                pool.worker_ids().len()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn through(
    pool: &Supervisor,
    workers: usize,
    callers: usize,
    key: &KnownKey,
    each: Duration,
) -> Result<ThroughWorkers, KeyError> {
    let context = context();
    let data_key = data_key()?;
    let wrapped = block_on(pool.wrap(&key.alias, &data_key, &context))?;
    let rates = Rates {
        wraps_per_second: rate(callers, each, async || pool.wrap(&key.alias, &data_key, &context).await.map(drop))?,
        unwraps_per_second: rate(callers, each, async || pool.unwrap(&wrapped, &context).await.map(drop))?,
        rewraps_per_second: rate(callers, each, async || pool.rewrap(&key.alias, &wrapped, &context).await.map(drop))?,
    };
    Ok(ThroughWorkers { workers, callers, rates })
}

/// Calls a second of so many callers, who wait as those of a server do: as tasks on a few threads.
fn rate(callers: usize, each: Duration, call: impl AsyncFn() -> Result<(), KeyError> + Sync) -> Result<f64, KeyError> {
    let begun = Instant::now();
    let one = async || {
        let mut done = 0_u64;
        // Once at least, however long it took to begin.
        loop {
            call().await?;
            done += 1;
            if begun.elapsed() >= each {
                return Ok::<u64, KeyError>(done);
            }
        }
    };
    let threads = callers.min(THREADS);
    let some = |thread: usize| {
        let mine = (thread..callers).step_by(threads).map(|_| one());
        block_on(mine.collect::<FuturesUnordered<_>>().try_fold(0, async |sum, done| Ok(sum + done)))
    };
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || some(thread))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(KeyError::away("panic"))));
        joined.sum::<Result<u64, KeyError>>()
    })?;
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

fn best(rows: &[ThroughWorkers]) -> usize {
    let most = rows.iter().map(|row| row.rates.wraps_per_second).fold(0.0, f64::max);
    let good = rows.iter().filter(|row| row.rates.wraps_per_second >= most * 0.9);
    good.map(|row| row.workers).min().unwrap_or(1)
}

fn context() -> ContextDigest {
    Context { object_key: b"bench", ..Context::new(Kind::DataKey) }.digest()
}

fn data_key() -> Result<DataKey, KeyError> {
    DataKey::generate().map_err(|error| KeyError::Misconfigured(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_workers_within_a_tenth_of_the_best_are_best() {
        let row = |workers, wraps_per_second| ThroughWorkers {
            workers,
            callers: 8,
            rates: Rates { wraps_per_second, unwraps_per_second: 1.0, rewraps_per_second: 1.0 },
        };
        assert_eq!(best(&[row(1, 50.0), row(2, 95.0), row(3, 100.0), row(4, 60.0)]), 2);
        assert_eq!(best(&[]), 1);
    }
}
