//! S3 on top of sealed streams and HSM master keys.
//!
//! ```text
//! 1 request (s3) -> 2 policy -> 3 key -> 4 engine (pipeline, bridge) -> 5 blob -> 6 keyring -> 7 catalog
//! ```
//!
//! A PUT runs from left to right, a GET back. Only [`ops`] knows the order; a step knows neither its neighbours nor
//! HTTP, and reaches blob store, keyring, catalog, master keys and clock through traits only.

pub mod admin;
pub mod administrators;
pub mod arn;
pub mod audit;
pub mod blob;
mod bridge;
pub mod catalog;
pub mod cli;
pub mod clock;
mod commit;
mod condemned;
pub mod config;
pub mod credentials;
pub mod error;
pub mod file_keys;
pub mod http;
pub mod id;
pub mod jobs;
pub mod key;
pub mod keyring;
pub mod life;
pub mod log;
pub mod ops;
pub mod pipeline;
pub mod policy;
pub mod readiness;
pub mod s3;
mod session;
pub mod start;
pub mod store;
pub mod users;
