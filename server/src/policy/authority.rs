//! On whose authority a request acts: who asks, with which policies, and what is known of the request.
//!
//! Made once, when the signature was found right, and handed to each operation, which asks it before it does anything.
//! A decision that cannot be made is no permission.

use std::sync::Arc;

use super::action::{Action, KeyAction};
use super::language::{Decision, Facts, Policy, Principal, Request, decide};
use crate::arn::ACCOUNT;
use crate::error::OpError;
use crate::users::Caller;

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
    /// `None`: nobody signed.
    caller: Option<Arc<Caller>>,
    facts: Facts,
}

impl Authority {
    /// The authority of whoever signed, if anybody did, over a request of which this is known.
    pub fn new(caller: Option<Arc<Caller>>, mut facts: Facts) -> Self {
        of_caller(&mut facts, caller.as_deref());
        Self { caller, facts }
    }

    /// Whether it is the owner, who can always put a bucket's policy right.
    pub fn is_owner(&self) -> bool {
        *self.principal() == Principal::Owner
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
        let uses_every_key = self.caller.as_ref().is_some_and(|caller| caller.uses_every_key);
        let first = if uses_every_key { Decision::Allowed } else { Decision::NotAllowed };
        let decisions = arns.iter().map(|arn| self.decide(action.name(), arn, None));
        refuse(decisions.fold(first, Decision::and))
    }

    /// The same authority, with one thing more known of the request.
    pub fn knowing(&self, key: &str, value: &str) -> Self {
        let mut known = self.clone();
        known.facts.set(key, value);
        known
    }

    /// The same, where that thing has several names.
    pub fn knowing_all(&self, key: &str, values: Vec<String>) -> Self {
        let mut known = self.clone();
        known.facts.set_all(key, values);
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

    fn principal(&self) -> &Principal {
        self.caller.as_ref().map_or(&Principal::Anonymous, |caller| &caller.principal)
    }

    fn decide(&self, action: &str, resource: &str, policy: Option<&Policy>) -> Decision {
        let request = Request { principal: self.principal(), action, resource, facts: &self.facts };
        let policies = self.caller.iter().flat_map(|caller| &caller.policies);
        decide(&request, policies, policy)
    }
}

fn of_caller(facts: &mut Facts, caller: Option<&Caller>) {
    let Some(caller) = caller else {
        facts.set("aws:PrincipalType", "Anonymous");
        facts.set("aws:userid", "anonymous");
        return;
    };
    let (kind, id) = match &caller.principal {
        Principal::Anonymous => ("Anonymous", "anonymous"),
        Principal::Owner => ("Account", ACCOUNT),
        Principal::User(name) => {
            facts.set("aws:username", name.as_str());
            ("User", caller.user_id.as_str())
        }
    };
    facts.set("aws:PrincipalType", kind);
    facts.set("aws:userid", id);
    if let Some(arn) = caller.principal.arn() {
        facts.set("aws:PrincipalArn", arn);
        facts.set("aws:PrincipalAccount", ACCOUNT);
        facts.set("aws:PrincipalIsAWSService", "false");
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

    fn caller(principal: Principal, uses_every_key: bool, policies: Vec<Policy>) -> Authority {
        let (access_key, user, user_id) = ("AKID".into(), "x".into(), "0f".into());
        let caller = Caller { access_key, principal, user, user_id, uses_every_key, policies };
        Authority::new(Some(Arc::new(caller)), Facts::default())
    }

    fn user(statements: &str) -> Authority {
        let policy = Policy::of_user(&format!("{{\"Statement\": [{statements}]}}")).unwrap();
        caller(Principal::User("ann".into()), false, vec![policy])
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
        for authority in [all, caller(Principal::Owner, false, vec![])] {
            assert!(authority.allow(Action::PutObject, "arn:aws:s3:::b/k", None).is_ok());
            assert!(!uses(&authority, KeyAction::Decrypt));
        }
        assert!(uses(&caller(Principal::Owner, true, vec![]), KeyAction::Decrypt));
        assert!(!uses(&Authority::new(None, Facts::default()), KeyAction::Decrypt));
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
