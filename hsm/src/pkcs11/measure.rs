//! How fast the module is in this process: threads, each with a session of its own, without frames.
//!
//! Runs in a worker, so that a module that does not bear threads costs the bench a worker and nobody else anything.

use super::TokenKeys;
use super::failure::{Failure, describe, lost};
use super::mechanism::{self, Master, Pattern};
use super::object::{self, Found};
use crate::doctor::{BenchPlan, InProcess, Rates};
use cryptoki::session::Session;
use std::time::{Duration, Instant};

impl TokenKeys {
    pub(crate) fn bench(&mut self, plan: &BenchPlan) -> Result<InProcess, Failure> {
        let known = self.find(&plan.master)?;
        let session = self.door.session().map_err(|error| lost(&error))?;
        let found = object::find(&session, &known.id, known.canary.rung, true).map_err(|error| lost(&error))?;
        let Found::Key(master) = found else { return Err(Failure::misconfigured("the key to measure with is gone")) };
        let pattern = self.habits.pattern(&master).ok_or_else(|| Failure::misconfigured("no rung"))?;
        let sealed = mechanism::encrypt(&session, pattern, &master, &[1; 32], &[2; 32])
            .map_err(|error| Failure::misconfigured(error.describe()))?;
        let each = Duration::from_millis(plan.milliseconds.into());
        let unwrap = |session: &Session| unwrap(session, pattern, &master, &sealed);
        let wrap = |session: &Session| wrap(session, pattern, &master);
        let rates = Rates {
            wraps_per_second: self.rate(plan.sessions, each, &wrap)?,
            unwraps_per_second: self.rate(plan.sessions, each, &unwrap)?,
            rewraps_per_second: self
                .rate(plan.sessions, each, &|session| unwrap(session).and_then(|()| wrap(session)))?,
        };
        Ok(InProcess { sessions: plan.sessions, rates })
    }

    fn rate(
        &self,
        sessions: u32,
        each: Duration,
        call: &(dyn Fn(&Session) -> Result<(), String> + Sync),
    ) -> Result<f64, Failure> {
        let (module, slot) = (&self.door.module, self.door.slot);
        let begun = Instant::now();
        let one = move || {
            let session = module.open_ro_session(slot).map_err(|error| describe(&error))?;
            let mut done = 0_u64;
            while begun.elapsed() < each {
                call(&session)?;
                done += 1;
            }
            Ok::<u64, String>(done)
        };
        let done: Result<u64, String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..sessions).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("panic".to_owned()))).sum()
        });
        Ok(done.map_err(Failure::misconfigured)? as f64 / begun.elapsed().as_secs_f64())
    }
}

fn wrap(session: &Session, pattern: Pattern, master: &Master) -> Result<(), String> {
    let sealed = mechanism::encrypt(session, pattern, master, &[1; 32], &[2; 32]).map_err(|e| e.describe())?;
    unwrap(session, pattern, master, &sealed)
}

fn unwrap(session: &Session, pattern: Pattern, master: &Master, sealed: &[u8]) -> Result<(), String> {
    mechanism::decrypt(session, pattern.rung(), master, sealed, &[2; 32]).map(drop).map_err(|e| e.describe())
}
