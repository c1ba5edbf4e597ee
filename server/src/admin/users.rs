//! Commands about users.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report;
use crate::administrators::Roles;
use crate::store::Store;
use crate::users::{Name, UserError};

/// A command about users. None holds a secret: those that the server makes are in its answers only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "users")]
pub enum UserCommand {
    /// Every user.
    List,
    /// A new user.
    Create {
        /// Its name.
        user: Name,
    },
    /// One user.
    Show {
        /// Which.
        user: Name,
    },
    /// Deletes a user, with access keys and policies.
    Delete {
        /// Which.
        user: Name,
    },
    /// A new access key; the answer holds its secret.
    CreateKey {
        /// Whose.
        user: Name,
    },
    /// The access keys of a user.
    ListKeys {
        /// Whose.
        user: Name,
    },
    /// Deletes an access key.
    DeleteKey {
        /// Whose.
        user: Name,
        /// Which.
        access_key: String,
    },
    /// Has an access key sign nothing, or takes that back.
    EnableKey {
        /// Whose.
        user: Name,
        /// Which.
        access_key: String,
        /// Whether it signs.
        enabled: bool,
    },
    /// Gives a user a policy.
    PutPolicy {
        /// Whose.
        user: Name,
        /// Its name.
        policy: Name,
        /// JSON.
        document: String,
    },
    /// A policy as it was put.
    GetPolicy {
        /// Whose.
        user: Name,
        /// Which.
        policy: Name,
    },
    /// The names of a user's policies.
    ListPolicies {
        /// Whose.
        user: Name,
    },
    /// Takes a policy from a user.
    DeletePolicy {
        /// Whose.
        user: Name,
        /// Which.
        policy: Name,
    },
}

impl UserCommand {
    /// What it takes at least, before anything is looked up; `None`: any role will do. What a policy says may take more.
    pub(super) fn needs(&self) -> Option<Roles> {
        match self {
            Self::List
            | Self::Show { .. }
            | Self::ListKeys { .. }
            | Self::PutPolicy { .. }
            | Self::GetPolicy { .. }
            | Self::ListPolicies { .. }
            | Self::DeletePolicy { .. } => None,
            Self::Create { .. }
            | Self::Delete { .. }
            | Self::CreateKey { .. }
            | Self::DeleteKey { .. }
            | Self::EnableKey { .. } => Some(Roles::DATA),
        }
    }
}

/// Does what a command says, for somebody with these roles.
pub(super) async fn perform(store: &Store, command: UserCommand, roles: Roles) -> Result<Value, UserError> {
    let users = &store.users;
    Ok(match command {
        UserCommand::List => report(&users.list().await?),
        UserCommand::Create { user } => report(&users.create(&user).await?),
        UserCommand::Show { user } => report(&users.show(&user).await?),
        UserCommand::Delete { user } => {
            users.delete(&user).await?;
            json!({ "deleted": user })
        }
        UserCommand::CreateKey { user } => {
            let key = users.create_key(&user, roles).await?;
            json!({ "user": user, "access_key": key.id, "secret": key.secret.as_str() })
        }
        UserCommand::ListKeys { user } => report(&users.list_keys(&user).await?),
        UserCommand::DeleteKey { user, access_key } => {
            users.delete_key(&user, &access_key).await?;
            json!({ "user": user, "deleted": access_key })
        }
        UserCommand::EnableKey { user, access_key, enabled } => {
            users.set_key_enabled(&user, &access_key, enabled).await?;
            json!({ "user": user, "access_key": access_key, "enabled": enabled })
        }
        UserCommand::PutPolicy { user, policy, document } => {
            users.put_policy(&user, &policy, &document, roles).await?;
            json!({ "user": user, "policy": policy })
        }
        UserCommand::GetPolicy { user, policy } => {
            let document = users.policy(&user, &policy).await?;
            json!({ "user": user, "policy": policy, "document": document })
        }
        UserCommand::ListPolicies { user } => report(&users.show(&user).await?.policies),
        UserCommand::DeletePolicy { user, policy } => {
            users.delete_policy(&user, &policy, roles).await?;
            json!({ "user": user, "deleted": policy })
        }
    })
}
