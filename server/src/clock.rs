//! The time of day, behind a trait so that a simulated world can set it.
//!
//! For dates that people see and for names; nothing irreversible rests on it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where dates come from.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
}

/// The machine's own clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 1970: names stay valid, only their order suffers.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
