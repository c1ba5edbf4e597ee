//! Step 2: what is asked for, against what is configured. Pure: configuration and request in, decision out.

pub mod action;
pub mod authority;
pub mod encryption;
pub mod language;

pub use action::{Action, KeyAction};
pub use authority::Authority;
