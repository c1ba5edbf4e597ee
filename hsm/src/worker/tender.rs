//! The thread that tends one worker after another.
//!
//! It takes calls from the pool's queue, a few at a time, and gives them to its process in one write. The process answers in
//! order, so the first without a reply is the one that hangs: it costs its caller the deadline and the worker its life;
//! those behind it are tried once more, by whichever worker is free.

use super::calls::{Call, NoCall, Waiting};
use super::frame::{Reply, Request};
use super::process::{Process, Silence};
use super::state::{Pool, Standing, note};
use crate::error::KeyError;
use crate::pkcs11::Failure;
use crossbeam_channel::Receiver;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most calls given to a worker in one write.
const BATCH_MAX: usize = 16;

/// How long a request may wait behind calls that nobody waits for, as far as their last ones tell.
const BACKGROUND_TIME: Duration = Duration::from_millis(2);

/// After so many batches of requests comes one of the background, so that it goes on however many requests there are.
const BACKGROUND_EVERY: u32 = 4;

/// For calls that make keys.
const SLOW_DEADLINE: Duration = Duration::from_secs(120);

/// Why a worker's life ended.
enum End {
    /// The supervisor was dropped.
    Closed,
    /// Its process is of no more use.
    Broken(KeyError),
}

/// What a ready worker does next.
enum Next {
    /// These calls; none of them means it has been idle for long.
    Batch(VecDeque<Call>),
    /// Nothing: its process ended.
    Gone,
    /// Nothing: the supervisor was dropped.
    Closed,
}

/// The thread that tends one worker after another.
pub(super) struct Tender {
    pool: Arc<Pool>,
    index: usize,
    waiting: Waiting,
    /// Batches of requests since the background was looked at.
    in_a_row: u32,
    /// A call that only a process which begins can answer: for the successor.
    for_successor: Option<Call>,
}

impl Tender {
    pub(super) fn new(pool: Arc<Pool>, index: usize, waiting: Waiting) -> Self {
        Self { pool, index, waiting, in_a_row: 0, for_successor: None }
    }

    /// Until the supervisor is dropped.
    pub(super) fn tend(&mut self) {
        let retry_max = self.pool.config.limits.retry_every;
        let mut pause = Duration::from_millis(20).min(retry_max);
        loop {
            match self.pool.open_worker(self.index) {
                Ok((process, generation)) => {
                    pause = Duration::from_millis(20).min(retry_max);
                    match self.serve(process, generation) {
                        End::Closed => {
                            self.pool.set(self.index, Standing::Failed(KeyError::away("the HSM workers have ended")));
                            return;
                        }
                        End::Broken(error) => {
                            tracing::warn!(worker = self.index, %error, "HSM worker ended; its successor starts");
                            self.pool.set(self.index, Standing::Starting);
                        }
                    }
                }
                Err(error) => {
                    let changed = self.pool.set(self.index, Standing::Failed(error.clone()));
                    if changed {
                        tracing::error!(worker = self.index, %error, "HSM worker cannot open its token");
                    }
                    if self.turn_away_for(pause, &error) {
                        return;
                    }
                    pause = (pause * 2).min(retry_max);
                }
            }
        }
    }

    /// Answers callers while no worker is ready; the others' callers wait for them. Says whether all is over.
    fn turn_away_for(&mut self, pause: Duration, error: &KeyError) -> bool {
        self.for_successor.take().into_iter().for_each(|call| call.answer(Err(error.clone())));
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.pool.admit().is_ok() {
                std::thread::sleep(left);
                return false;
            }
            match self.waiting.first(false, &crossbeam_channel::never(), left) {
                Ok(call) => self.turn_away(call, error),
                Err(NoCall::Closed) => return true,
                Err(NoCall::Quiet | NoCall::Gone) => return false,
            }
        }
    }

    /// Unless another worker has opened its token since this one last looked: then the call is that one's.
    fn turn_away(&self, call: Call, error: &KeyError) {
        if self.pool.admit().is_ok() {
            self.waiting.leave(call);
        } else {
            call.answer(Err(error.clone()));
        }
    }

    /// Gives calls to one process until it is of no more use.
    fn serve(&mut self, mut process: Process, mut generation: u64) -> End {
        let mut pace = Pace::new(self.pool.config.limits.deadline);
        let gone = match process.watch() {
            Ok(gone) => gone,
            Err(error) => return End::Broken(KeyError::away(format!("cannot watch the worker process: {error}"))),
        };
        loop {
            let batch = match self.next_batch(&pace, &gone) {
                Next::Batch(batch) => batch,
                Next::Gone => return End::Broken(KeyError::away("the worker process ended while idle")),
                Next::Closed => {
                    process.end();
                    return End::Closed;
                }
            };
            let told = match self.pool.known_since(generation) {
                Some((known, newest)) => {
                    generation = newest;
                    self.ask_aside(&mut process, &Request::Know(known))
                }
                None if batch.is_empty() => self.ask_aside(&mut process, &Request::Probe),
                None => Ok(()),
            };
            if let Err(error) = told {
                self.keep_for_successor(batch);
                return End::Broken(error);
            }
            if let Err(error) = self.run(&mut process, batch, &mut pace) {
                return End::Broken(error);
            }
        }
    }

    /// What waits, as much as one write may take, but no more than this worker's share. Empty-handed after a while.
    fn next_batch(&mut self, pace: &Pace, gone: &Receiver<()>) -> Next {
        if let Some(call) = self.for_successor.take() {
            return Next::Batch([call].into());
        }
        let limits = &self.pool.config.limits;
        let background_first = self.in_a_row >= BACKGROUND_EVERY;
        let first = match self.waiting.first(background_first, gone, limits.probe_every) {
            Ok(call) => call,
            Err(NoCall::Quiet) => return Next::Batch(VecDeque::new()),
            Err(NoCall::Gone) => return Next::Gone,
            Err(NoCall::Closed) => return Next::Closed,
        };
        let is_background = first.request.is_background();
        self.in_a_row = if is_background { 0 } else { self.in_a_row.saturating_add(1) };
        // What is tried again goes alone: nothing else in flight may cost it its second try, nor it theirs.
        let room = if first.is_repeat { 1 } else { pace.batch_max(is_background) };
        let share = 1 + self.waiting.behind(is_background) / limits.workers.max(1);
        let others = std::iter::from_fn(|| self.waiting.beside(is_background));
        let batch = std::iter::once(first).chain(others).take(room.min(share));
        Next::Batch(batch.filter_map(|call| self.still_wanted(call)).collect())
    }

    /// The call, unless its caller has hung up or has waited so long that it is told so.
    fn still_wanted(&self, call: Call) -> Option<Call> {
        // Two deadlines: behind a call that hangs, the successor still gets to this one.
        let patience = self.pool.config.limits.deadline * 2;
        if call.is_given_up() {
            return None;
        }
        let is_patient = call.is_repeat || call.request.is_background();
        if !is_patient && call.since.elapsed() > patience {
            call.answer(Err(KeyError::away(format!("no HSM worker was free within {patience:?}"))));
            return None;
        }
        Some(call)
    }

    fn ask_aside(&self, process: &mut Process, request: &Request) -> Result<(), KeyError> {
        match process.ask(request) {
            Ok(Reply::Failed(Failure::Call(_))) => Ok(()),
            Ok(Reply::Failed(failure)) => Err(failure.into_error()),
            Ok(Reply::Noted(notes)) => {
                note(self.index, &notes);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(silence) => Err(self.explain(&silence)),
        }
    }

    fn run(&mut self, process: &mut Process, mut batch: VecDeque<Call>, pace: &mut Pace) -> Result<(), KeyError> {
        if let Err(silence) = process.send(batch.iter().map(|call| &call.request)) {
            self.keep_for_successor(batch);
            return Err(self.explain(&silence));
        }
        while let Some(mut call) = batch.pop_front() {
            let begun = Instant::now();
            let is_slow = call.request.is_slow();
            if is_slow {
                process.set_deadline(SLOW_DEADLINE.max(self.pool.config.limits.deadline));
            }
            let answer = process.receive();
            if is_slow {
                process.set_deadline(self.pool.config.limits.deadline);
            }
            match answer {
                Ok(Reply::Failed(Failure::Call(error))) => call.answer(Err(error)),
                Ok(Reply::Failed(failure)) => {
                    if matches!(failure, Failure::Stale(_)) && !call.is_repeat {
                        call.is_repeat = true;
                        self.for_successor = Some(call);
                    } else {
                        batch.push_front(call);
                    }
                    self.keep_for_successor(batch);
                    return Err(failure.into_error());
                }
                Ok(reply) => call.answer(Ok(reply)),
                Err(silence) => {
                    let error = self.explain(&silence);
                    batch.push_front(call);
                    if matches!(silence, Silence::Hung) {
                        charge(process, &mut batch, &error);
                    }
                    self.keep_for_successor(batch);
                    return Err(error);
                }
            }
            if !is_slow {
                pace.took(begun.elapsed());
            }
        }
        Ok(())
    }

    /// Each is tried once more; what already was, or must not be, is told so.
    fn keep_for_successor(&mut self, batch: VecDeque<Call>) {
        for mut call in batch {
            if call.is_repeat || !call.request.may_repeat() {
                call.answer(Err(KeyError::away(
                    "the HSM worker ended during the call; it may or may not have been done",
                )));
            } else {
                call.is_repeat = true;
                self.waiting.leave(call);
            }
        }
    }

    fn explain(&self, silence: &Silence) -> KeyError {
        match silence {
            Silence::Hung => {
                KeyError::away(format!("the module did not answer within {:?}", self.pool.config.limits.deadline))
            }
            Silence::Died => KeyError::away("the worker process ended in the middle of a call"),
        }
    }
}

/// Answers the call that hangs, after those that were done before it and whose replies waited for its own.
fn charge(process: &mut Process, batch: &mut VecDeque<Call>, error: &KeyError) {
    for reply in process.last_replies() {
        match reply {
            Reply::Failed(Failure::Call(error)) => answer_first(batch, Err(error)),
            // The worker has nothing more to say.
            Reply::Failed(_) => break,
            reply => answer_first(batch, Ok(reply)),
        }
    }
    answer_first(batch, Err(error.clone()));
}

fn answer_first(batch: &mut VecDeque<Call>, reply: Result<Reply, KeyError>) {
    if let Some(call) = batch.pop_front() {
        call.answer(reply);
    }
}

/// How long calls take lately, so that a batch on a slow HSM stays far below the deadline.
struct Pace {
    mean: Duration,
    deadline: Duration,
}

impl Pace {
    fn new(deadline: Duration) -> Self {
        Self { mean: Duration::ZERO, deadline }
    }

    fn took(&mut self, time: Duration) {
        self.mean = (self.mean * 7 + time) / 8;
    }

    fn batch_max(&self, is_background: bool) -> usize {
        let time = if is_background { BACKGROUND_TIME } else { self.deadline / 8 };
        let fitting = time.as_micros() / self.mean.as_micros().max(1);
        usize::try_from(fitting).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX)
    }
}
