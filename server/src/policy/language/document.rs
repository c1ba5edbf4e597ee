//! A whole policy document: read, checked, compiled; and what it says to a request.

use std::fmt;

use super::Decision;
use super::json::Json;
use super::request::Request;
use super::statement::{Effect, Statement};

/// A document at most, in bytes, as S3 takes them.
pub const DOCUMENT_LEN_MAX: usize = 20 << 10;

/// A policy of a bucket or of a user, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

/// Whose policy it is: the rules differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    /// Of the bucket of this name: it says who may, and speaks of this bucket only.
    Bucket(&'a str),
    /// Of a user.
    Identity,
}

/// Why a document is no policy: where in it, and what is wrong there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Malformed {
    place: Vec<String>,
    what: String,
}

impl Malformed {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { place: Vec::new(), what: what.into() }
    }

    /// The same, one step further out.
    pub(super) fn at(mut self, element: impl Into<String>) -> Self {
        self.place.push(element.into());
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place: Vec<&str> = self.place.iter().rev().map(String::as_str).collect();
        match place.is_empty() {
            true => formatter.write_str(&self.what),
            false => write!(formatter, "{}: {}", place.join("."), self.what),
        }
    }
}

impl Policy {
    /// The policy of `bucket`.
    ///
    /// # Errors
    /// What is wrong with the document, and where.
    pub fn of_bucket(bucket: &str, text: &str) -> Result<Self, Malformed> {
        Self::parse(text, Kind::Bucket(bucket))
    }

    /// A policy of a user.
    ///
    /// # Errors
    /// What is wrong with the document, and where.
    pub fn of_user(text: &str) -> Result<Self, Malformed> {
        Self::parse(text, Kind::Identity)
    }

    /// What it says by itself.
    pub(super) fn decide(&self, request: &Request<'_>) -> Decision {
        let applying = self.statements.iter().filter(|statement| statement.applies(request));
        let said = applying.map(|statement| match statement.effect {
            Effect::Allow => Decision::Allowed,
            Effect::Deny => Decision::Denied,
        });
        said.fold(Decision::NotAllowed, Decision::and)
    }

    fn parse(text: &str, kind: Kind<'_>) -> Result<Self, Malformed> {
        if text.len() > DOCUMENT_LEN_MAX {
            return Err(Malformed::new(format!("the policy is longer than {DOCUMENT_LEN_MAX} bytes")));
        }
        let json =
            Json::parse(text).map_err(|error| Malformed::new(format!("the policy is no valid JSON: {error}")))?;
        let Json::Object(members) = json else {
            return Err(Malformed::new(format!("a policy is an object, not {}", json.kind())));
        };
        let (mut variables, mut statements) = (false, None);
        for (name, value) in &members {
            match (name.as_str(), value) {
                ("Version", Json::Text(version)) if version == "2012-10-17" => variables = true,
                ("Version", Json::Text(version)) if version == "2008-10-17" => {}
                ("Version", _) => return Err(Malformed::new("must be 2012-10-17 or 2008-10-17").at("Version")),
                ("Id", Json::Text(_)) => {}
                ("Id", _) => return Err(Malformed::new("must be a string").at("Id")),
                ("Statement", value) => statements = Some(value),
                (unknown, _) => return Err(Malformed::new("there is no such element").at(unknown)),
            }
        }
        let statements = match statements {
            Some(Json::List(list)) if !list.is_empty() => list.as_slice(),
            Some(one @ Json::Object(_)) => std::slice::from_ref(one),
            _ => return Err(Malformed::new("must be a statement or a list of at least one").at("Statement")),
        };
        let statements: Vec<Statement> = statements
            .iter()
            .enumerate()
            .map(|(index, statement)| {
                let statement = Statement::parse(statement, kind, variables);
                statement.map_err(|error| error.at(format!("Statement[{index}]")))
            })
            .collect::<Result<_, _>>()?;
        check_sids(&statements)?;
        Ok(Self { statements })
    }
}

fn check_sids(statements: &[Statement]) -> Result<(), Malformed> {
    let mut sids: Vec<&str> = statements.iter().filter_map(|statement| statement.sid.as_deref()).collect();
    sids.sort_unstable();
    match sids.windows(2).find(|two| two[0] == two[1] && !two[0].is_empty()) {
        Some(two) => Err(Malformed::new(format!("two statements have the Sid {:?}", two[0]))),
        None => Ok(()),
    }
}

/// A value or a list of at least one, as text: numbers and booleans may stand for themselves.
pub(super) fn texts(value: &Json) -> Result<Vec<&str>, Malformed> {
    match value {
        Json::List(list) if list.is_empty() => Err(Malformed::new("the list is empty")),
        Json::List(list) => list.iter().map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}

fn text(value: &Json) -> Result<&str, Malformed> {
    match value {
        Json::Text(text) | Json::Scalar(text) => Ok(text),
        other => Err(Malformed::new(format!("must be a string, not {}", other.kind()))),
    }
}
