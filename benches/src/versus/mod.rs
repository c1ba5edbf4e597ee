//! Us and the peers, side by side: which cases there are, and how they race.
//!
//! Contenders take turns in slices of about a millisecond, on one pinned core unless a case needs more, so that what
//! disturbs one disturbs the other. A run gives medians and their ratio; of three runs the quietest counts.
//! **One file per question. A new case is a function that gives a [`Case`], and a line in [`cases`].**

mod ceiling;
mod decrypt;
mod encrypt;
pub mod files;
mod open;
mod rows;
mod seal;
mod small;

use std::time::{Duration, Instant};

/// One row of the table of bars.
pub struct Case {
    /// What is measured, for people and for `--only`.
    pub name: String,
    /// Against whom.
    pub peer: &'static str,
    /// The path we take.
    pub path: &'static str,
    /// In what `ours` and `theirs` are counted.
    pub unit: Unit,
    /// The least ratio that is good enough. Of a bar that says "at most", the inverse.
    pub at_least: f64,
    /// Who races; none where this machine or this build lacks one of them.
    pub race: Option<Race>,
}

/// How a time becomes a figure. The ratio is always ours to theirs where more is better.
#[derive(Clone, Copy)]
pub enum Unit {
    /// 10^9 bytes a second; the contender works on so many bytes a call.
    GigabytesPerSecond(f64),
    /// Nanoseconds a call.
    Nanoseconds,
    /// Seconds a call.
    Seconds,
}

/// Two contenders.
pub struct Race {
    /// Ours.
    pub ours: Contender,
    /// Theirs.
    pub theirs: Contender,
    /// Whether one core is enough.
    pub pinned: bool,
}

/// Something to do again and again; it gives the time that counts, which lets it prepare in between.
pub type Contender = Box<dyn FnMut() -> Duration>;

/// Times all of `work`.
pub fn timed(mut work: impl FnMut() + 'static) -> Contender {
    Box::new(move || {
        let started = Instant::now();
        work();
        started.elapsed()
    })
}

/// What a race came to.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Ours, in the case's unit.
    pub ours: f64,
    /// Theirs, in the case's unit.
    pub theirs: f64,
    /// Above 1 where we are better.
    pub ratio: f64,
}

/// Every case, in the order of the table of bars.
pub fn cases() -> Vec<Case> {
    [encrypt::cases(), decrypt::cases(), seal::cases(), open::cases(), small::cases()].into_iter().flatten().collect()
}

/// How long one contender runs before it is the other's turn, and how many turns there are.
const SLICE: Duration = Duration::from_micros(1500);
const TURNS: usize = 41;

impl Race {
    /// One run: medians of turns.
    pub fn run(&mut self, unit: Unit) -> Outcome {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (our_calls, their_calls) = (calls_in_slice(&mut self.ours), calls_in_slice(&mut self.theirs));
        // What fills the slice many times over needs no 41 turns to have a median.
        let turns = if our_calls.max(their_calls) > 1 { TURNS } else { 11 };
        for _ in 0..turns {
            ours.push(slice(&mut self.ours, our_calls));
            theirs.push(slice(&mut self.theirs, their_calls));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        Outcome { ours: unit.figure(ours), theirs: unit.figure(theirs), ratio: theirs / ours }
    }
}

impl Unit {
    /// What a call of so many seconds is in this unit.
    fn figure(self, seconds: f64) -> f64 {
        match self {
            Self::GigabytesPerSecond(bytes) => bytes / seconds / 1e9,
            Self::Nanoseconds => seconds * 1e9,
            Self::Seconds => seconds,
        }
    }

    /// How fast both contenders were together: to compare runs of one case.
    pub fn speed(self, outcome: &Outcome) -> f64 {
        match self {
            Self::GigabytesPerSecond(_) => outcome.ours * outcome.theirs,
            Self::Nanoseconds | Self::Seconds => 1.0 / (outcome.ours * outcome.theirs),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GigabytesPerSecond(_) => "GB/s",
            Self::Nanoseconds => "ns",
            Self::Seconds => "s",
        }
    }
}

fn calls_in_slice(contender: &mut Contender) -> usize {
    contender();
    let once = contender().max(Duration::from_nanos(50));
    (SLICE.as_nanos() / once.as_nanos()).max(1) as usize
}

/// Seconds a call, the first of the slice being for warming up.
fn slice(contender: &mut Contender, calls: usize) -> f64 {
    if calls > 1 {
        contender();
    }
    let total: Duration = (0..calls).map(|_| contender()).sum();
    total.as_secs_f64() / calls as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
