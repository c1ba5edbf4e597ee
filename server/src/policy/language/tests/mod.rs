//! The language as its users meet it: documented examples, documents that are refused, and a model to agree with.

mod agreement;
mod examples;
mod model;
mod refused;

use super::{Decision, Facts, Policy, Principal, Request, decide};

/// The decision of one bucket's policy and one user's, where there are.
fn judge(
    bucket_policy: Option<&Policy>,
    user_policy: Option<&Policy>,
    principal: &Principal,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> Decision {
    decide(&Request { principal, action, resource, facts }, user_policy, bucket_policy)
}
