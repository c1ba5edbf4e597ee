//! What a PKCS#11 call that failed means to the worker, and how it is told.
//!
//! Only the names of the call and of its return value go into a text: never an argument.

use super::pin::RefusedPin;
use crate::error::KeyError;
use cryptoki::error::Error;
use std::time::Duration;

/// How a piece of work in the worker ended, if not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// For the caller of this one call; the worker goes on.
    Call(KeyError),
    /// The module or token is lost: only a new process helps (C_Finalize beside a call in flight kills most modules).
    Lost(String),
    /// A known key is not seen, though the token is there: a process that begins looks again, and only then it is gone.
    Stale(String),
    /// The token refused the PIN, or would lock at the next wrong one: not to be tried again with the same PIN.
    PinRefused {
        /// What is told.
        what: String,
        /// By which that PIN is known again; nothing where none was tried.
        refused: Option<RefusedPin>,
    },
}

impl Failure {
    pub(crate) fn misconfigured(what: impl Into<String>) -> Self {
        Self::Call(KeyError::Misconfigured(what.into()))
    }

    /// Why, without what it means.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Call(error) => error.to_string(),
            Self::Lost(reason) | Self::Stale(reason) | Self::PinRefused { what: reason, .. } => reason,
        }
    }

    pub(crate) fn into_error(self) -> KeyError {
        match self {
            Self::Call(error) => error,
            Self::Lost(reason) | Self::Stale(reason) => KeyError::Away { reason },
            Self::PinRefused { what, .. } => KeyError::Misconfigured(what),
        }
    }
}

/// One short line: the crate's own text is a paragraph of the standard.
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("{value:?} from C_{function:?}"),
        other => other.to_string(),
    }
}

pub(crate) fn lost(error: &Error) -> Failure {
    Failure::Lost(describe(error))
}

/// Some modules answer an error while another process writes to the token: a change is tried again for a while.
pub(crate) fn patiently<T>(mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut pause = Duration::from_millis(10);
    loop {
        match work() {
            Err(Failure::Lost(_)) if pause < Duration::from_millis(500) => std::thread::sleep(pause),
            result => return result,
        }
        pause *= 2;
    }
}
