//! One core for all contenders, so that none is moved while it runs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores this process may use.
pub fn allowed() -> CpuSet {
    sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new())
}

/// Keeps this thread on these cores. Refused, for instance in a sandbox, the figures only grow noisier.
pub fn stay_on(cores: &CpuSet) {
    let _ = sched_setaffinity(None, cores);
}

/// The last of them: the first ones serve interrupts.
pub fn last_of(cores: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).rev().find(|core| cores.is_set(*core)) {
        one.set(core);
    }
    one
}

/// Keeps this thread on one core.
pub fn pin() {
    stay_on(&last_of(&allowed()));
}
