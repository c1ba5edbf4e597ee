//! The process that holds the PKCS#11 module, and its supervision.
//!
//! A call that hangs in a module cannot be abandoned, some modules crash, and none forgets a PIN: so the module runs in
//! a child, which can be killed. [`frame`] is what the two say to each other, [`child`] the child's whole life,
//! [`process`] one child as seen by its parent, [`supervisor`] the door to the pool, [`calls`] where calls wait,
//! [`tender`] the life of each worker and its deadlines.

mod calls;
mod child;
mod config;
mod frame;
mod process;
mod refusal;
mod replies;
mod settings;
mod state;
mod supervisor;
mod tender;

pub use child::run_worker;
pub use config::{Limits, ModuleConfig, WorkerCommand};
pub(crate) use frame::Request;
pub(crate) use process::ask_once;
pub(crate) use settings::KIND;
pub use supervisor::Supervisor;
