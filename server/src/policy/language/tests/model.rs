//! The language once more: small, slow, straight from its documentation, and sharing nothing with the engine.
//!
//! It reads the JSON anew for each request, matches by recursion, and knows only the values that the generator makes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

/// What is asked.
pub(super) struct Asked<'a> {
    /// `None` is anonymous.
    pub(super) arn: Option<&'a str>,
    pub(super) action: &'a str,
    pub(super) resource: &'a str,
    /// Keys in lower case.
    pub(super) facts: &'a BTreeMap<String, Vec<String>>,
}

/// A character of a pattern, and whether it is a wildcard.
type Mark = (char, bool);

/// "Deny", "Allow", or nothing.
pub(super) fn decide(asked: &Asked<'_>, documents: &[&Value]) -> Option<&'static str> {
    let root = asked.arn.is_some_and(|arn| arn.ends_with(":root"));
    let mut effects = if root { vec!["Allow"] } else { vec![] };
    for document in documents {
        let variables = document["Version"] == "2012-10-17";
        for statement in list(&document["Statement"]) {
            if applies(statement, asked, variables) {
                effects.push(if statement["Effect"] == "Deny" { "Deny" } else { "Allow" });
            }
        }
    }
    ["Deny", "Allow"].into_iter().find(|effect| effects.contains(effect))
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => vec![],
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn strings(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list(value).into_iter().map(text).collect()
}

fn applies(statement: &Value, asked: &Asked<'_>, variables: bool) -> bool {
    let has = |element: &str| !statement[element].is_null();
    let denies = statement["Effect"] == "Deny";
    let principal = if has("Principal") {
        names(&statement["Principal"], asked.arn, denies)
    } else if has("NotPrincipal") {
        !names(&statement["NotPrincipal"], asked.arn, false)
    } else {
        true
    };
    let action = |pattern: &String| like(&marks(&pattern.to_lowercase()), &asked.action.to_lowercase());
    let action_matches = if has("Action") {
        strings(&statement["Action"]).iter().any(action)
    } else {
        !strings(&statement["NotAction"]).iter().any(action)
    };
    let resource = |pattern: &String| {
        resolve(pattern, asked.facts, variables, true).is_some_and(|pattern| arn_like(&pattern, asked.resource))
    };
    let resource_matches = if has("Resource") {
        strings(&statement["Resource"]).iter().any(resource)
    } else {
        let excepted = strings(&statement["NotResource"]);
        let known = |pattern: &String| resolve(pattern, asked.facts, variables, true).is_some();
        !excepted.iter().any(resource) && (denies || excepted.iter().all(known))
    };
    let mut conditions_hold = true;
    for (operator, tests) in statement["Condition"].as_object().into_iter().flatten() {
        for (key, values) in tests.as_object().unwrap() {
            conditions_hold &= holds(operator, key, &strings(values), asked.facts, variables);
        }
    }
    principal && action_matches && resource_matches && conditions_hold
}

/// A Deny of the account is one of everybody in it; otherwise its number and root mean its root.
fn names(principal: &Value, arn: Option<&str>, whole_account: bool) -> bool {
    let listed = if principal.is_string() { strings(principal) } else { strings(&principal["AWS"]) };
    listed.iter().any(|name| {
        let is_account = name == "000000000000" || name == "arn:aws:iam::000000000000:root";
        match arn {
            _ if name == "*" => true,
            None => false,
            Some(arn) if is_account => whole_account || arn.ends_with(":root"),
            Some(arn) => arn == name,
        }
    })
}

fn marks(pattern: &str) -> Vec<Mark> {
    pattern.chars().map(|character| (character, character == '*' || character == '?')).collect()
}

fn like(pattern: &[Mark], text: &str) -> bool {
    let rest = text.chars().next().map(|first| &text[first.len_utf8()..]);
    match (pattern.first(), rest) {
        (None, None) => true,
        (Some(('*', true)), rest) => like(&pattern[1..], text) || rest.is_some_and(|rest| like(pattern, rest)),
        (Some(('?', true)), Some(rest)) => like(&pattern[1..], rest),
        (Some((wanted, false)), Some(rest)) => text.starts_with(*wanted) && like(&pattern[1..], rest),
        _ => false,
    }
}

fn arn_like(pattern: &[Mark], arn: &str) -> bool {
    if pattern == [('*', true)] {
        return true;
    }
    let segments: Vec<&[Mark]> = pattern.splitn(6, |mark| mark.0 == ':').collect();
    let of_arn: Vec<&str> = arn.splitn(6, ':').collect();
    segments.len() == 6 && of_arn.len() == 6 && (0..6).all(|at| like(segments[at], of_arn[at]))
}

/// Variables replaced; nothing if one of them has no value.
fn resolve(
    pattern: &str,
    facts: &BTreeMap<String, Vec<String>>,
    variables: bool,
    wildcards: bool,
) -> Option<Vec<Mark>> {
    let Some((before, rest)) = pattern.split_once("${").filter(|_| variables) else {
        return Some(marks(pattern).into_iter().map(|(character, wild)| (character, wild && wildcards)).collect());
    };
    let (inner, behind) = rest.split_once('}').unwrap();
    let value = match inner {
        "*" | "?" | "$" => inner.to_owned(),
        _ => {
            let (key, default) = match inner.split_once(", '") {
                Some((key, default)) => (key, Some(default.trim_end_matches('\'').to_owned())),
                None => (inner, None),
            };
            match facts.get(&key.to_lowercase()).map(Vec::as_slice) {
                Some([one]) => one.clone(),
                Some([_, ..]) => return None,
                _ => default?,
            }
        }
    };
    let mut resolved = resolve(before, facts, false, wildcards)?;
    resolved.extend(value.chars().map(|character| (character, false)));
    resolved.extend(resolve(behind, facts, variables, wildcards)?);
    Some(resolved)
}

fn holds(operator: &str, key: &str, wanted: &[String], facts: &BTreeMap<String, Vec<String>>, variables: bool) -> bool {
    let found = facts.get(&key.to_lowercase()).cloned().unwrap_or_default();
    if operator == "Null" {
        return wanted.contains(&found.is_empty().to_string());
    }
    let (set, name) = operator.split_once(':').unwrap_or(("", operator));
    let name = match name.strip_suffix("IfExists") {
        Some(_) if found.is_empty() => return true,
        Some(name) => name,
        None => name,
    };
    let negated = name.contains("Not");
    let positive = name.replace("Not", "");
    let matched = |value: &String| wanted.iter().any(|wanted| test(&positive, value, wanted, facts, variables));
    let filled: Vec<&String> = found.iter().filter(|value| !value.is_empty()).collect();
    match set {
        // Every value of the request; true if there is none.
        "ForAllValues" => filled.into_iter().filter(|value| matched(value) == negated).count() == 0,
        // At least one value of the request; false if there is none.
        "ForAnyValue" => filled.into_iter().filter(|value| matched(value) != negated).count() > 0,
        _ if negated => !found.iter().any(matched),
        _ => found.iter().any(matched),
    }
}

fn test(operator: &str, value: &str, wanted: &str, facts: &BTreeMap<String, Vec<String>>, variables: bool) -> bool {
    let order = |value: Option<f64>, wanted: Option<f64>, relation: &str| match (value, wanted, relation) {
        (Some(value), Some(wanted), "Equals") => value == wanted,
        (Some(value), Some(wanted), "LessThan") => value < wanted,
        (Some(value), Some(wanted), "LessThanEquals") => value <= wanted,
        (Some(value), Some(wanted), "GreaterThan") => value > wanted,
        (Some(value), Some(wanted), "GreaterThanEquals") => value >= wanted,
        _ => false,
    };
    match operator {
        "StringEquals" => resolve(wanted, facts, variables, false).is_some_and(|wanted| like(&wanted, value)),
        "StringEqualsIgnoreCase" => {
            let fold = |(character, wild): Mark| (character.to_ascii_lowercase(), wild);
            resolve(wanted, facts, variables, false)
                .is_some_and(|wanted| like(&wanted.into_iter().map(fold).collect::<Vec<_>>(), &value.to_lowercase()))
        }
        "StringLike" => resolve(wanted, facts, variables, true).is_some_and(|wanted| like(&wanted, value)),
        "ArnEquals" | "ArnLike" => {
            resolve(wanted, facts, variables, true).is_some_and(|wanted| arn_like(&wanted, value))
        }
        "Bool" => value.to_lowercase() == wanted.to_lowercase() && ["true", "false"].contains(&wanted),
        "BinaryEquals" => value == wanted,
        "IpAddress" => in_range(value, wanted),
        _ => match operator.strip_prefix("Numeric") {
            Some(relation) => order(value.parse().ok(), wanted.parse().ok(), relation),
            None => order(seconds(value), seconds(wanted), operator.strip_prefix("Date").unwrap()),
        },
    }
}

/// The moments that the generator knows.
fn seconds(text: &str) -> Option<f64> {
    match text {
        "2026" | "2026-01-01" | "2026-01-01T00:00:00Z" | "1767225600" => Some(1_767_225_600.0),
        "2026-06-01T14:00:00+02:00" | "2026-06-01T12:00:00Z" | "1780315200" => Some(1_780_315_200.0),
        "2027-01" => Some(1_798_761_600.0),
        _ => None,
    }
}

/// Compares the leading bits.
fn in_range(address: &str, range: &str) -> bool {
    let bits = |text: &str| match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => Some((32, u128::from(u32::from(address)) << 96)),
        IpAddr::V6(address) => match address.to_string().strip_prefix("::ffff:").map(str::parse::<Ipv4Addr>) {
            Some(Ok(address)) => Some((32, u128::from(u32::from(address)) << 96)),
            _ => Some((128, Ipv6Addr::to_bits(address))),
        },
    };
    let (network, len) = match range.split_once('/') {
        Some((network, len)) => (network, Some(len.parse::<u32>().unwrap())),
        None => (range, None),
    };
    match (bits(address), bits(network)) {
        (Some((family, address)), Some((other, network))) if family == other => {
            let len = len.unwrap_or(family);
            (0..len).all(|bit| (address >> (127 - bit)) & 1 == (network >> (127 - bit)) & 1)
        }
        _ => false,
    }
}
