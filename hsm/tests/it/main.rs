//! Master keys on a real SoftHSM token, behind real worker processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod faults;
mod harness;
mod keyfile;
mod loss;
mod provider;
mod setup;
mod wrapping;
