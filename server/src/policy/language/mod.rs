//! The AWS policy language: documents and a request in, a decision out.
//!
//! Pure: no store, no protocol, no clock; what a condition looks at is in the request's [`Facts`]. A document is parsed
//! once, with everything in it checked and compiled, so that evaluating it cannot fail: whatever is not understood is
//! refused when it is put. Without an Allow that applies nothing is allowed, and a Deny that applies always wins.

mod condition;
mod document;
mod json;
mod operator;
mod pattern;
mod principal;
mod public;
mod request;
mod scalar;
mod statement;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use document::{DOCUMENT_LEN_MAX, Malformed, Policy};
pub use principal::{CANONICAL_ID, Principal};
pub use request::{Facts, Request};

/// What all policies together say to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Something allows it and nothing denies it.
    Allowed,
    /// A policy denies it.
    Denied,
    /// Nothing says anything: it is not allowed.
    NotAllowed,
}

/// The decision over a request to one resource. Caller and resource are of one account, so that either the caller's own
/// policies or the resource's may allow; the owner of the account is allowed everything in S3 that no policy denies.
pub fn decide<'a>(
    request: &Request<'_>,
    identity: impl IntoIterator<Item = &'a Policy>,
    resource: Option<&'a Policy>,
) -> Decision {
    // Keys are not the owner's: those who administer data and those who administer keys are different people.
    let owns = *request.principal == Principal::Owner && request.action.starts_with("s3:");
    let owner = owns.then_some(Decision::Allowed);
    let said = identity.into_iter().chain(resource).map(|policy| policy.decide(request));
    said.chain(owner).fold(Decision::NotAllowed, Decision::and)
}

impl Decision {
    /// The stronger of two: a denial, then an allowance.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::Allowed, _) | (_, Self::Allowed) => Self::Allowed,
            (Self::NotAllowed, Self::NotAllowed) => Self::NotAllowed,
        }
    }
}
