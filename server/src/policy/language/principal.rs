//! Who asks, and whom a statement of a resource's policy is about.
//!
//! There is one account. Principals of other accounts, services and identity providers are read and match nobody here.

use super::document::{Malformed, texts};
use super::json::Json;
use super::statement::Effect;
use crate::arn::ACCOUNT;

/// The same account, as access control lists and listings name it.
pub const CANONICAL_ID: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Nobody who is known: the request was not signed.
    Anonymous,
    /// The owner of the account.
    Owner,
    /// A user, by name.
    User(String),
}

impl Principal {
    /// How policies name them.
    pub fn arn(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Owner => Some(format!("arn:aws:iam::{ACCOUNT}:root")),
            Self::User(name) => Some(format!("arn:aws:iam::{ACCOUNT}:user/{name}")),
        }
    }
}

/// Whom a statement is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// `*`: also who did not sign.
    Everyone,
    /// The account, by its number, its root or its canonical id.
    Account,
    /// One user.
    User(String),
    /// Somebody of elsewhere.
    Stranger,
}

impl Named {
    /// Whether the statement of this effect is about who asks. To allow the account is to allow its owner, who may hand
    /// it on by policies of users; to deny it is to deny everybody in it.
    pub(super) fn includes(&self, principal: &Principal, effect: Effect) -> bool {
        match (self, principal) {
            (Self::Account, Principal::User(_)) => effect == Effect::Deny,
            _ => self.is(principal),
        }
    }

    /// Whether it names exactly who asks, as `NotPrincipal` spares only those.
    pub(super) fn is(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Everyone, _) | (Self::Account, Principal::Owner) => true,
            (Self::User(named), Principal::User(name)) => named == name,
            _ => false,
        }
    }

    /// The element `Principal` or `NotPrincipal`.
    pub(super) fn parse(element: &Json) -> Result<Vec<Self>, Malformed> {
        match element {
            Json::Text(text) if text == "*" => Ok(vec![Self::Everyone]),
            Json::Object(members) if !members.is_empty() => {
                let mut named = Vec::new();
                for (kind, names) in members {
                    for name in texts(names).map_err(|error| error.at(kind))? {
                        named.push(Self::of(kind, name).map_err(|error| error.at(kind))?);
                    }
                }
                Ok(named)
            }
            _ => Err(Malformed::new("must be \"*\" or an object such as {\"AWS\": \"*\"}")),
        }
    }

    fn of(kind: &str, name: &str) -> Result<Self, Malformed> {
        match kind {
            "AWS" => Self::of_aws(name),
            "CanonicalUser" if name == CANONICAL_ID => Ok(Self::Account),
            "CanonicalUser" if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(Self::Stranger)
            }
            "Service" if name.contains('.') && !name.contains('*') => Ok(Self::Stranger),
            "Federated" if !name.is_empty() && !name.contains('*') => Ok(Self::Stranger),
            "CanonicalUser" | "Service" | "Federated" => Err(invalid(name)),
            _ => {
                Err(Malformed::new("this kind of principal is unknown: AWS, CanonicalUser, Service and Federated are"))
            }
        }
    }

    fn of_aws(name: &str) -> Result<Self, Malformed> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if name == "*" {
            return Ok(Self::Everyone);
        }
        if is_account(name) {
            return Ok(if name == ACCOUNT { Self::Account } else { Self::Stranger });
        }
        let segments: Vec<&str> = name.splitn(6, ':').collect();
        let ["arn", _, service @ ("iam" | "sts"), "", account, resource] = segments[..] else {
            return Err(invalid(name));
        };
        if !is_account(account) || name.contains(['*', '?']) || name.contains("${") {
            return Err(invalid(name));
        }
        match (account == ACCOUNT && service == "iam", resource.split_once('/')) {
            (true, None) if resource == "root" => Ok(Self::Account),
            (false, None) if resource == "root" => Ok(Self::Stranger),
            (true, Some(("user", user))) if !user.is_empty() => Ok(Self::User(user.to_owned())),
            (_, Some(("user" | "role" | "assumed-role" | "federated-user", rest))) if !rest.is_empty() => {
                Ok(Self::Stranger)
            }
            _ => Err(invalid(name)),
        }
    }
}

fn invalid(name: &str) -> Malformed {
    Malformed::new(format!(
        "invalid principal {name:?}: name \"*\", an account, or a user or role by its whole ARN, without wildcards"
    ))
}
