//! Step 2: what is asked for, against what is configured. Pure: configuration and request in, decision out.

pub mod encryption;
pub mod language;
