//! On whose authority a request acts: who asks, under which policies, and what is known of the request.
//!
//! Made once, when the signature was found right, and handed to each operation, which asks it before it does anything.
//! A decision that cannot be made is no permission.

use std::sync::Arc;

use super::action::{Action, KeyAction};
use super::language::{Decision, Facts, Policy, Principal, Request, decide};
use crate::error::OpError;

/// A condition key, and its values when an upload was opened.
pub type UploadFact = (String, Vec<String>);

/// Condition keys that an upload is judged by from its beginning to its end, whatever its parts say.
const OF_THE_UPLOAD: [&str; 10] = [
    "s3:x-amz-acl",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];

/// Who asks, and what is known of what they ask.
#[derive(Clone, Debug)]
pub struct Authority {
    principal: Principal,
    policies: Vec<Arc<Policy>>,
    facts: Facts,
}

impl Authority {
    /// The authority of `principal`, who has these policies, over a request of which this is known.
    pub fn new(principal: Principal, policies: Vec<Arc<Policy>>, facts: Facts) -> Self {
        Self { principal, policies, facts }
    }

    /// Whether it is the owner, who can always put a bucket's policy right.
    pub fn is_owner(&self) -> bool {
        self.principal == Principal::Owner
    }

    /// Refuses what no policy allows, or one denies. `policy` is that of the bucket, where there is one.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`].
    pub fn allow(&self, action: Action, resource: &str, policy: Option<&Policy>) -> Result<(), OpError> {
        refuse(self.decide(action.name(), resource, policy))
    }

    /// The same for a master key, which has several ARNs: one must be allowed, and none denied.
    ///
    /// # Errors
    /// [`OpError::AccessDenied`].
    pub fn allow_key(&self, action: KeyAction, arns: &[String]) -> Result<(), OpError> {
        let decisions = arns.iter().map(|arn| self.decide(action.name(), arn, None));
        refuse(decisions.fold(Decision::NotAllowed, Decision::and))
    }

    /// The same authority, with one thing more known of the request.
    pub fn knowing(&self, key: &str, value: &str) -> Self {
        let mut known = self.clone();
        known.facts.set(key, value);
        known
    }

    /// What an upload that this request opens is judged by later.
    pub fn facts_of_upload(&self) -> Vec<UploadFact> {
        let facts = OF_THE_UPLOAD.into_iter().map(|key| (key.to_owned(), self.facts.values(key).to_vec()));
        facts.filter(|(_, values)| !values.is_empty()).collect()
    }

    /// The same authority over a step of an upload that was opened with these facts.
    pub fn within_upload(&self, facts: &[UploadFact]) -> Self {
        let mut within = self.clone();
        for key in OF_THE_UPLOAD {
            within.facts.remove(key);
        }
        for (key, values) in facts {
            within.facts.set_all(key, values.clone());
        }
        within
    }

    fn decide(&self, action: &str, resource: &str, policy: Option<&Policy>) -> Decision {
        let request = Request { principal: &self.principal, action, resource, facts: &self.facts };
        decide(&request, self.policies.iter().map(Arc::as_ref), policy)
    }
}

fn refuse(decision: Decision) -> Result<(), OpError> {
    match decision {
        Decision::Allowed => Ok(()),
        Decision::Denied => Err(OpError::AccessDenied("a policy denies this")),
        Decision::NotAllowed => Err(OpError::AccessDenied("no policy allows this")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIAS: &str = "arn:aws:kms:us-east-1:000000000000:alias/a";
    const ID: &str = "arn:aws:kms:us-east-1:000000000000:key/0f";

    fn user(statements: &str) -> Authority {
        let policy = Policy::of_user(&format!("{{\"Statement\": [{statements}]}}")).unwrap();
        Authority::new(Principal::User("ann".into()), vec![Arc::new(policy)], Facts::default())
    }

    fn uses(authority: &Authority, action: KeyAction) -> bool {
        authority.allow_key(action, &[ALIAS.into(), ID.into()]).is_ok()
    }

    #[test]
    fn a_key_may_be_used_by_who_may_use_it_under_any_of_its_names_and_is_denied_under_none() {
        let allows = |arn: &str| format!(r#"{{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "{arn}"}}"#);
        let denies = format!(r#"{{"Effect": "Deny", "Action": "kms:*", "Resource": "{ID}"}}"#);
        assert!(uses(&user(&allows(ALIAS)), KeyAction::Decrypt));
        assert!(uses(&user(&allows(ID)), KeyAction::Decrypt));
        assert!(!uses(&user(&allows(ALIAS)), KeyAction::GenerateDataKey));
        assert!(!uses(&user(&allows("arn:aws:kms:us-east-1:000000000000:alias/b")), KeyAction::Decrypt));
        assert!(!uses(&user(&format!("{}, {denies}", allows(ALIAS))), KeyAction::Decrypt));
    }

    #[test]
    fn permission_on_all_of_s3_is_none_to_use_a_key() {
        let all = user(r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}"#);
        let owner = Authority::new(Principal::Owner, vec![], Facts::default());
        for authority in [all, owner] {
            assert!(authority.allow(Action::PutObject, "arn:aws:s3:::b/k", None).is_ok());
            assert!(!uses(&authority, KeyAction::Decrypt));
        }
    }

    #[test]
    fn a_part_is_judged_by_what_its_upload_was_opened_with() {
        const SSE: &str = "s3:x-amz-server-side-encryption";
        let policy = r#"{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*",
            "Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}}}"#;
        let (opening, part) = (user(policy).knowing(SSE, "AES256"), user(policy));
        let may = |authority: Authority| authority.allow(Action::PutObject, "arn:aws:s3:::b/k", None).is_ok();
        assert!(!may(part.clone()));
        assert!(may(part.within_upload(&opening.facts_of_upload())));
        assert!(!may(opening.within_upload(&part.facts_of_upload())));
    }
}
