//! Condition operators by name: a test, whether it is turned round, and what it does with no value and with many.

use std::net::IpAddr;

use ipnet::IpNet;

use super::pattern::{Case, Pattern, Syntax};
use super::request::Facts;
use super::scalar;

/// An operator, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Operator {
    pub(super) test: Test,
    /// `...Not...`: holds where none of the policy's values passes the test.
    pub(super) negated: bool,
    /// `...IfExists`: holds where the key is absent.
    pub(super) if_exists: bool,
    pub(super) set: Set,
}

/// How many of the request's values must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Set {
    /// The key has one value.
    Single,
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

/// What one value of the policy is to one value of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Number(Relation),
    Date(Relation),
    Bool,
    Binary,
    Address,
    Arn,
    /// Whether the key is absent.
    Null,
}

/// The request's value, then this, then the policy's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// The operator of this name; their case matters.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (set, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::All, rest),
            Some(("ForAnyValue", rest)) => (Set::Any, rest),
            Some(_) => return None,
            None => (Set::Single, name),
        };
        let (rest, if_exists) = match rest.strip_suffix("IfExists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (test, negated) = Test::parse(rest)?;
        // It asks itself whether the key exists.
        let plain = set == Set::Single && !if_exists;
        (test != Test::Null || plain).then_some(Self { test, negated, if_exists, set })
    }
}

impl Test {
    fn parse(name: &str) -> Option<(Self, bool)> {
        let number = |relation| Some((Self::Number(relation), false));
        let date = |relation| Some((Self::Date(relation), false));
        match name {
            "StringEquals" => Some((Self::StringEquals, false)),
            "StringNotEquals" => Some((Self::StringEquals, true)),
            "StringEqualsIgnoreCase" => Some((Self::StringEqualsIgnoreCase, false)),
            "StringNotEqualsIgnoreCase" => Some((Self::StringEqualsIgnoreCase, true)),
            "StringLike" => Some((Self::StringLike, false)),
            "StringNotLike" => Some((Self::StringLike, true)),
            "NumericEquals" => number(Relation::Equal),
            "NumericNotEquals" => Some((Self::Number(Relation::Equal), true)),
            "NumericLessThan" => number(Relation::Less),
            "NumericLessThanEquals" => number(Relation::LessOrEqual),
            "NumericGreaterThan" => number(Relation::Greater),
            "NumericGreaterThanEquals" => number(Relation::GreaterOrEqual),
            "DateEquals" => date(Relation::Equal),
            "DateNotEquals" => Some((Self::Date(Relation::Equal), true)),
            "DateLessThan" => date(Relation::Less),
            "DateLessThanEquals" => date(Relation::LessOrEqual),
            "DateGreaterThan" => date(Relation::Greater),
            "DateGreaterThanEquals" => date(Relation::GreaterOrEqual),
            "Bool" => Some((Self::Bool, false)),
            "BinaryEquals" => Some((Self::Binary, false)),
            "IpAddress" => Some((Self::Address, false)),
            "NotIpAddress" => Some((Self::Address, true)),
            // The two names mean the same.
            "ArnEquals" | "ArnLike" => Some((Self::Arn, false)),
            "ArnNotEquals" | "ArnNotLike" => Some((Self::Arn, true)),
            "Null" => Some((Self::Null, false)),
            _ => None,
        }
    }
}

/// One value of a policy, compiled for its test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Text(Pattern, Case),
    Arn(Pattern),
    Number(Relation, i128),
    Date(Relation, i128),
    Bool(bool),
    Binary(Vec<u8>),
    Addresses(IpNet),
    /// Of `Null`: whether the key is to be absent.
    Absent(bool),
}

impl Operand {
    /// Compiles the value; the error says what it must be.
    pub(super) fn parse(test: Test, text: &str, variables: bool) -> Result<Self, String> {
        let pattern = |wildcards| Pattern::parse(text, Syntax { wildcards, variables });
        let parsed = match test {
            Test::StringEquals => return Ok(Self::Text(pattern(false)?, Case::Matters)),
            Test::StringEqualsIgnoreCase => return Ok(Self::Text(pattern(false)?, Case::Ignored)),
            Test::StringLike => return Ok(Self::Text(pattern(true)?, Case::Matters)),
            Test::Arn => return arn(text, pattern(true)?),
            Test::Number(relation) => scalar::number(text).map(|number| Self::Number(relation, number)),
            Test::Date(relation) => scalar::moment(text).map(|moment| Self::Date(relation, moment)),
            Test::Bool => scalar::boolean(text).map(Self::Bool),
            Test::Null => scalar::boolean(text).map(Self::Absent),
            Test::Binary => base64_simd::STANDARD.decode_to_vec(text).ok().map(Self::Binary),
            Test::Address => addresses(text).map(Self::Addresses),
        };
        parsed.ok_or_else(|| format!("{text:?} is not {}", test.wanted()))
    }

    /// Whether a value of the request passes; one that is nothing of the kind does not.
    pub(super) fn matches(&self, value: &str, facts: &Facts) -> bool {
        match self {
            Self::Text(pattern, case) => pattern.matches(value, *case, facts),
            Self::Arn(pattern) => pattern.matches_arn(value, facts),
            Self::Number(relation, wanted) => scalar::number(value).is_some_and(|found| relation.holds(found, *wanted)),
            Self::Date(relation, wanted) => scalar::moment(value).is_some_and(|found| relation.holds(found, *wanted)),
            Self::Bool(wanted) => scalar::boolean(value) == Some(*wanted),
            Self::Binary(wanted) => base64_simd::STANDARD.decode_to_vec(value).is_ok_and(|found| found == *wanted),
            Self::Addresses(network) => scalar::address(value).is_some_and(|address| network.contains(&address)),
            // Not asked of a value: see `Condition::holds`.
            Self::Absent(_) => false,
        }
    }
}

impl Relation {
    fn holds(self, found: i128, wanted: i128) -> bool {
        match self {
            Self::Equal => found == wanted,
            Self::Less => found < wanted,
            Self::LessOrEqual => found <= wanted,
            Self::Greater => found > wanted,
            Self::GreaterOrEqual => found >= wanted,
        }
    }
}

impl Test {
    /// What a value of it must be, for messages.
    fn wanted(self) -> &'static str {
        match self {
            Self::StringEquals | Self::StringEqualsIgnoreCase | Self::StringLike => "a string",
            Self::Arn => "an ARN",
            Self::Number(_) => "a decimal number",
            Self::Date(_) => "a date of ISO 8601 with its zone, or seconds since 1970",
            Self::Bool | Self::Null => "true or false",
            Self::Binary => "base64",
            Self::Address => "an address or a range such as 203.0.113.0/24 or 2001:db8::/32",
        }
    }
}

fn arn(text: &str, pattern: Pattern) -> Result<Operand, String> {
    let whole = text == "*" || text.splitn(6, ':').count() == 6 || text.contains("${");
    if whole { Ok(Operand::Arn(pattern)) } else { Err(format!("{text:?} is not {}", Test::Arn.wanted())) }
}

/// A range; one address is the range of itself.
fn addresses(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
