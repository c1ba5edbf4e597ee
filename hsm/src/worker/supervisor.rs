//! The pool of workers: the one door between async callers and the processes that hold the token.
//!
//! A call waits in a bounded queue for a [`Tender`](super::tender) to take it. While no worker can open the token, callers
//! are told so at once. Nothing here knows of a runtime.

use super::calls::{Desk, desk};
use super::config::{ModuleConfig, WorkerCommand};
use super::frame::{Reply, Request};
use super::process::ask_once;
use super::refusal;
use super::state::Pool;
use super::tender::Tender;
use crate::doctor::{BenchPlan, DoctorPlan, DoctorReport, InProcess};
use crate::error::KeyError;
use crate::provider::{
    Alias, CreatedKey, Health, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, TokenKey, Version,
};
use crate::wrapped::WrappedKey;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use strongroom_engine::{ContextDigest, DataKey};

/// Making an RSA key pair alone takes some devices half a minute.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(120);

/// Master keys in one PKCS#11 token, behind worker processes. See the module for what it promises.
///
/// Dropping it ends the workers.
pub struct Supervisor {
    pool: Arc<Pool>,
    desk: Desk,
}

impl Supervisor {
    /// Starts the workers and returns at once, also while the HSM is away: calls then say so until it is back.
    ///
    /// Fails only where the operating system gives no thread.
    pub fn start(command: WorkerCommand, config: ModuleConfig, known: Vec<KnownKey>) -> Result<Self, KeyError> {
        let (desk, waiting) = desk(config.limits.waiting);
        let workers = config.limits.workers.max(1);
        let pool = Arc::new(Pool::new(command, config, workers));
        pool.register(known);
        for index in 0..workers {
            let mut tender = Tender::new(pool.clone(), index, waiting.clone());
            let life = move || while catch_unwind(AssertUnwindSafe(|| tender.tend())).is_err() {};
            std::thread::Builder::new().name(format!("hsm-{index}")).spawn(life).map_err(|error| {
                KeyError::Misconfigured(format!("the operating system gives no thread for an HSM worker: {error}"))
            })?;
        }
        Ok(Self { pool, desk })
    }

    /// Process ids of the workers that are ready, for status pages.
    pub fn worker_ids(&self) -> Vec<u32> {
        self.pool.worker_ids()
    }

    /// Serial of the token, once a worker has opened it: to be remembered with the master keys.
    pub fn token_serial(&self) -> Option<String> {
        self.pool.serial()
    }

    /// What the module and token are and do, with what to do about each line that is not well. A worker of its own asks,
    /// so that what hangs or crashes costs nobody else.
    pub fn doctor(command: &WorkerCommand, config: &ModuleConfig, plan: DoctorPlan) -> DoctorReport {
        let mut token = config.open_token();
        // A PIN that was refused is not tried by the doctor either.
        token.refused = config.refusal_file.as_deref().and_then(|file| refusal::read(file).ok().flatten());
        let request = Request::Doctor(token, plan);
        let answer = ask_once(command, &config.environment, DOCTOR_DEADLINE, &request);
        match answer.and_then(from_json) {
            Ok(report) => report,
            Err(error) => DoctorReport::failed(&error),
        }
    }

    /// How many wraps or unwraps the module does in one worker without frames, by threads with a session each.
    pub(crate) async fn bench_in_process(&self, plan: BenchPlan) -> Result<InProcess, KeyError> {
        from_json(self.call(Request::Bench(plan)).await?)
    }

    async fn call(&self, request: Request) -> Result<Reply, KeyError> {
        self.pool.admit()?;
        let answer = self.desk.put(request)?;
        answer.await.unwrap_or_else(|_| Err(KeyError::away("the thread that tends the HSM worker failed")))
    }
}

#[async_trait]
impl MasterKeys for Supervisor {
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError> {
        let master = self.pool.to_wrap(alias)?;
        let key = DataKey::copied_from(key.expose());
        match self.call(Request::Wrap { master, context: *context.as_bytes(), key }).await? {
            Reply::Wrapped(wrapped) => Ok(wrapped),
            _ => Err(nonsense()),
        }
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError> {
        self.pool.may_unwrap(&wrapped.master)?;
        match self.call(Request::Unwrap { wrapped: wrapped.clone(), context: *context.as_bytes() }).await? {
            Reply::Unwrapped(key) => Ok(key),
            _ => Err(nonsense()),
        }
    }

    async fn rewrap(
        &self,
        alias: &Alias,
        wrapped: &WrappedKey,
        context: &ContextDigest,
    ) -> Result<WrappedKey, KeyError> {
        self.pool.may_unwrap(&wrapped.master)?;
        let master = self.pool.to_wrap(alias)?;
        let request = Request::Rewrap { master, wrapped: wrapped.clone(), context: *context.as_bytes() };
        match self.call(request).await? {
            Reply::Wrapped(wrapped) => Ok(wrapped),
            _ => Err(nonsense()),
        }
    }

    async fn health(&self) -> Health {
        match self.pool.trouble() {
            None => Health::Ready,
            Some(error) => Health::Degraded { reason: error.to_string() },
        }
    }

    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        self.pool.current(alias)
    }

    fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.pool.name_of(id)
    }
}

#[async_trait]
impl MasterKeyAdmin for Supervisor {
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        if !self.pool.config.takes(alias) {
            return Err(KeyError::NoSuchAlias { alias: alias.clone() });
        }
        match self.call(Request::Create { alias: alias.clone(), version }).await? {
            Reply::Created(created) => Ok(created),
            _ => Err(nonsense()),
        }
    }

    fn register(&self, known: Vec<KnownKey>) {
        self.pool.register(known);
    }

    fn forget(&self, id: &MasterKeyId) {
        self.pool.forget(id);
    }

    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError> {
        from_json(self.call(Request::List).await?)
    }

    async fn adopt_master_key(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        match self.call(Request::Adopt(*id)).await? {
            Reply::Created(created) => Ok(created),
            _ => Err(nonsense()),
        }
    }

    async fn retire_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.call(Request::SetWraps { master: *id, wraps: false }).await.map(drop)
    }

    async fn reinstate_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.call(Request::SetWraps { master: *id, wraps: true }).await.map(drop)
    }

    async fn destroy_master_key(&self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), KeyError> {
        self.call(Request::Destroy { alias: alias.clone(), version, master: *id }).await.map(drop)
    }

    fn serial_of(&self, alias: &Alias) -> Option<String> {
        self.pool.serial().filter(|_| self.pool.config.takes(alias))
    }
}

fn from_json<T: DeserializeOwned>(reply: Reply) -> Result<T, KeyError> {
    match reply {
        Reply::Json(text) => serde_json::from_str(&text).map_err(|_| nonsense()),
        _ => Err(nonsense()),
    }
}

fn nonsense() -> KeyError {
    KeyError::away("the worker answered another question than was asked")
}
