//! What can go wrong with a master key, sorted by what the caller can do about it.
//!
//! No variant ever holds a PIN, a key or a piece of one; reasons name the PKCS#11 call and its return value only.

use crate::provider::{Alias, MasterKeyId};

/// Why a key was not wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The HSM cannot be reached, hangs, or has lost its login. It is tried again without being asked: wait.
    #[error("HSM away: {reason}")]
    Away {
        /// What was seen, for the log.
        reason: String,
    },
    /// Other context, altered bytes, other master key: deliberately one answer. The canary of its version opens.
    #[error("wrapped key refused: not wrapped for this object under this master key, or altered since")]
    Refused,
    /// The HSM answers and opens other versions, but not this one: restore it to the token, or give up.
    #[error("master key {id} is not on the token, though other master keys are")]
    UnknownMasterKey {
        /// The CKA_ID that the wrapped key names as its parent.
        id: MasterKeyId,
    },
    /// No version of this alias is current here.
    #[error("no current master key under alias {alias}: create one, or correct the alias")]
    NoSuchAlias {
        /// The alias that was asked for.
        alias: Alias,
    },
    /// The token takes no more wraps under the version that this node knows: read the keyring again, tell the provider,
    /// and ask once more. If the keyring has no later version, an operator adopts or destroys the one on the token.
    #[error(
        "alias {alias} has a later master key than this node knows: adopt it (keys adopt), or make a later one (keys rotate)"
    )]
    Superseded {
        /// The alias.
        alias: Alias,
    },
    /// An administrator has disabled this version: it neither wraps nor unwraps until it is enabled again.
    #[error("master key {id} is disabled: enable it, if that is meant")]
    Disabled {
        /// Its CKA_ID.
        id: MasterKeyId,
    },
    /// Waiting does not help: an administrator must act, and the text says on what.
    #[error("HSM set-up: {0}")]
    Misconfigured(String),
}

impl KeyError {
    pub(crate) fn away(reason: impl Into<String>) -> Self {
        Self::Away { reason: reason.into() }
    }
}
