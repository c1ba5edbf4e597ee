//! The policies of a user. A policy about master keys is an affair of those who administer keys, one about buckets and
//! objects of those who administer data; one about both takes both, and so does the removal of one.

use serde_json::Value;

use super::record::IdentityPolicy;
use super::{Name, UserError, Users};
use crate::administrators::Roles;
use crate::policy::language::Policy;

/// All policies of one user together, in bytes: they are read at each of its requests.
const DOCUMENTS_LEN_MAX: usize = 20 << 10;

impl Users {
    /// Gives a user a policy, in the place of one of the same name.
    ///
    /// # Errors
    /// [`UserError::MalformedPolicy`], [`UserError::NotAllowed`], [`UserError::NoSuchUser`], [`UserError::TooMany`],
    /// [`UserError::Conflict`].
    pub async fn put_policy(&self, user: &Name, policy: &Name, document: &str, roles: Roles) -> Result<(), UserError> {
        check(document)?;
        permit(roles, document)?;
        let (row, mut record) = self.read(user).await?;
        let fresh = IdentityPolicy { name: policy.to_string(), document: document.to_owned() };
        match record.policies.binary_search_by(|own| own.name.as_str().cmp(policy.as_str())) {
            Ok(place) => {
                permit(roles, &record.policies[place].document)?;
                record.policies[place] = fresh;
            }
            Err(place) => record.policies.insert(place, fresh),
        }
        let together: usize = record.policies.iter().map(|own| own.document.len()).sum();
        if together > DOCUMENTS_LEN_MAX {
            let limit = DOCUMENTS_LEN_MAX;
            return Err(UserError::TooMany(format!(
                "the policies of {user} would be longer than {limit} bytes together"
            )));
        }
        self.change(user, row, &record).await
    }

    /// A policy of a user, as it was put.
    ///
    /// # Errors
    /// [`UserError::NoSuchPolicy`], [`UserError::NoSuchUser`].
    pub async fn policy(&self, user: &Name, policy: &Name) -> Result<String, UserError> {
        let found = self.read(user).await?.1.policies.into_iter().find(|own| own.name == policy.as_str());
        found.map(|own| own.document).ok_or_else(|| no_such_policy(user, policy))
    }

    /// Takes a policy from a user.
    ///
    /// # Errors
    /// [`UserError::NotAllowed`], [`UserError::NoSuchPolicy`], [`UserError::NoSuchUser`], [`UserError::Conflict`].
    pub async fn delete_policy(&self, user: &Name, policy: &Name, roles: Roles) -> Result<(), UserError> {
        let (row, mut record) = self.read(user).await?;
        let place = record.policies.iter().position(|own| own.name == policy.as_str());
        let place = place.ok_or_else(|| no_such_policy(user, policy))?;
        permit(roles, &record.policies[place].document)?;
        record.policies.remove(place);
        self.change(user, row, &record).await
    }
}

fn no_such_policy(user: &Name, policy: &Name) -> UserError {
    UserError::NoSuchPolicy { user: user.clone(), policy: policy.clone() }
}

/// Refuses what no request could ever be held against.
fn check(document: &str) -> Result<(), UserError> {
    Policy::of_user(document).map(drop).map_err(|error| UserError::MalformedPolicy(error.to_string()))
}

fn permit(roles: Roles, document: &str) -> Result<(), UserError> {
    let needed = roles_of(document);
    match roles.cover(needed) {
        true => Ok(()),
        false => Err(UserError::NotAllowed(format!(
            "this policy takes an administrator of {needed}, and you administer {roles}: statements about kms: and about \
             s3: go into policies of their own"
        ))),
    }
}

/// Who may put a document. Only what plainly speaks of one service is left to its administrators. It is read here once
/// more, which is safe: one that names an element twice was refused, so that there is one way to read it.
pub(super) fn roles_of(document: &str) -> Roles {
    let Ok(document) = serde_json::from_str::<Value>(document) else { return Roles::BOTH };
    let statements = many(&document["Statement"]);
    let of_statement = |statement: &Value| match (&statement["Action"], &statement["NotAction"]) {
        (Value::Null, _) => Roles::BOTH,
        (actions, Value::Null) => many(actions).iter().fold(Roles::NONE, |all, action| all | of_action(action)),
        _ => Roles::BOTH,
    };
    match statements {
        [] => Roles::BOTH,
        statements => statements.iter().fold(Roles::NONE, |all, statement| all | of_statement(statement)),
    }
}

fn of_action(action: &Value) -> Roles {
    let service = action.as_str().and_then(|action| action.split_once(':')).map(|(service, _)| service);
    match service {
        Some(service) if service.eq_ignore_ascii_case("s3") => Roles::DATA,
        Some(service) if service.eq_ignore_ascii_case("kms") => Roles::KEYS,
        // `*`, and whatever else might match both.
        _ => Roles::BOTH,
    }
}

/// A list, or the one that stands for a list.
fn many(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(values) => values,
        one => std::slice::from_ref(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(actions: &str) -> Roles {
        roles_of(&format!(r#"{{"Statement": [{{"Effect": "Allow", {actions}, "Resource": "*"}}]}}"#))
    }

    #[test]
    fn a_document_is_left_to_one_role_only_where_it_plainly_speaks_of_one_service() {
        assert_eq!(roles(r#""Action": "s3:GetObject""#), Roles::DATA);
        assert_eq!(roles(r#""Action": ["S3:*", "s3:Put?bject"]"#), Roles::DATA);
        assert_eq!(roles(r#""Action": "kms:Decrypt""#), Roles::KEYS);
        assert_eq!(roles(r#""Action": ["KMS:*"]"#), Roles::KEYS);
        for both in [
            r#""Action": "*""#,
            r#""Action": ["s3:GetObject", "kms:Decrypt"]"#,
            r#""Action": "?ms:Decrypt""#,
            r#""Action": "*:Decrypt""#,
            r#""Action": "s3*""#,
            r#""Action": 7"#,
            r#""NotAction": "s3:GetObject""#,
            r#""Action": "s3:GetObject", "NotAction": "kms:Decrypt""#,
            r#""Sid": "none""#,
        ] {
            assert_eq!(roles(both), Roles::BOTH, "{both}");
        }
        assert_eq!(roles_of(r#"{"Statement": {"Action": "s3:GetObject"}}"#), Roles::DATA);
        assert_eq!(roles_of("{}"), Roles::BOTH);
        assert_eq!(roles_of("no JSON"), Roles::BOTH);
        let two = r#"{"Statement": [{"Action": "s3:GetObject"}, {"Action": "kms:Decrypt"}]}"#;
        assert_eq!(roles_of(two), Roles::BOTH);
    }
}
