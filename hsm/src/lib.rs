//! Master keys: they wrap and unwrap data keys inside a PKCS#11 token, and never leave it.
//!
//! ```text
//! server process                        worker process (a child; holds PIN and module)
//!   MasterKeys (provider)
//!     Supervisor  --- frame: wrap --->  TokenKeys --- C_Encrypt, C_Decrypt ---> token
//!                 <-- frame: wrapped --
//! ```
//!
//! [`MasterKeys`] is what the rest of the server sees; [`Supervisor`] is the provider for PKCS#11, [`run_worker`] the `main`
//! of its worker process; [`KeyfileKeys`] is the provider without an HSM; [`Providers`] stands for several at once. A [`WrappedKey`] names its master key by CKA_ID and says how it was wrapped.
//! [`make_softhsm_token`] makes a token for development. Nothing here knows of S3 or objects.

mod bench;
mod cache;
mod canary;
mod dev;
mod doctor;
mod error;
mod keyfile;
mod pkcs11;
mod provider;
mod providers;
mod rung;
mod software;
mod wire;
mod worker;
mod wrapped;

#[cfg(feature = "testing")]
mod memory;

pub use bench::{BenchOptions, bench};
pub use cache::{CacheLimits, CacheStatus, Cached, KeyCache};
pub use dev::{DevToken, make_softhsm_token};
pub use doctor::{
    BenchReport, DoctorPlan, DoctorReport, Finding, InProcess, Latency, Rates, RungFinding, Severity, ThroughWorkers,
};
pub use error::KeyError;
pub use keyfile::{KeyfileConfig, KeyfileKeys};
#[cfg(feature = "testing")]
pub use memory::MemoryKeys;
pub use pkcs11::{PinSource, TokenSelector};
pub use provider::{
    Alias, CreatedKey, Health, Holdings, InvalidAlias, InvalidMasterKeyId, KeyKind, KnownKey, MasterKeyAdmin,
    MasterKeyId, MasterKeys, TokenKey, Version,
};
pub use providers::{ProviderKind, ProviderSettings, Providers};
pub use rung::{Rung, UnknownRung};
pub use wire::Malformed;
pub use worker::{Limits, ModuleConfig, Supervisor, WorkerCommand, run_worker};
pub use wrapped::{DecodeError, WrappedKey};
