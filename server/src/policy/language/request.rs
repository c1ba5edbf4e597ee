//! What is asked: by whom, which action, on what, and the facts that conditions and variables look at.

use std::collections::BTreeMap;

use super::principal::Principal;

/// One question to the policies.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// For instance `s3:GetObject`.
    pub action: &'a str,
    /// The ARN of what it is done to.
    pub resource: &'a str,
    /// What is known of the request.
    pub facts: &'a Facts,
}

/// Condition keys and their values. The case of a key means nothing; a key without a value counts as absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Gives a key this one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_ascii_lowercase(), vec![value.into()]);
    }

    /// Gives a key these values, where one thing has several names, or as many as the request has.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_ascii_lowercase(), values);
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(&key.to_ascii_lowercase());
    }

    /// The values of a key that is written in lower case; none if it is absent.
    pub fn values(&self, lower_key: &str) -> &[String] {
        self.0.get(lower_key).map(Vec::as_slice).unwrap_or_default()
    }
}
