//! One statement: its effect, and to whom, which actions, what and when it applies.

use super::condition::Condition;
use super::document::{Kind, Malformed, texts};
use super::json::Json;
use super::pattern::{Case, Pattern, Syntax};
use super::principal::Named;
use super::request::{Facts, Request};
use super::vocabulary::{self, Level, Prefixes};

/// What a statement does where it applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A statement, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    /// A policy of a user is about that user.
    pub(super) principals: Option<Scope<Named>>,
    actions: Scope<Pattern>,
    resources: Scope<Pattern>,
    pub(super) conditions: Vec<Condition>,
}

/// What is meant by a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope<T> {
    /// These.
    Only(Vec<T>),
    /// All but these: the elements that begin with `Not`.
    AllBut(Vec<T>),
}

const ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl Statement {
    /// Whether it applies to the request.
    pub(super) fn applies(&self, request: &Request<'_>) -> bool {
        let is_meant = match &self.principals {
            None => true,
            Some(Scope::Only(named)) => named.iter().any(|named| named.includes(request.principal, self.effect)),
            Some(Scope::AllBut(named)) => !named.iter().any(|named| named.is(request.principal)),
        };
        let action = |pattern: &Pattern| pattern.matches(request.action, Case::Ignored, &Facts::default());
        let does = match &self.actions {
            Scope::Only(patterns) => patterns.iter().any(action),
            Scope::AllBut(patterns) => !patterns.iter().any(action),
        };
        is_meant
            && does
            && self.concerns(request)
            && self.conditions.iter().all(|condition| condition.holds(request.facts))
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        let resource = |pattern: &Pattern| pattern.matches_arn(request.resource, request.facts);
        match &self.resources {
            Scope::Only(patterns) => patterns.iter().any(resource),
            // An exception that nobody can name must not widen what is allowed.
            Scope::AllBut(patterns) => {
                let named = patterns.iter().all(|pattern| pattern.resolves(request.facts));
                (named || self.effect == Effect::Deny) && !patterns.iter().any(resource)
            }
        }
    }

    /// Reads one statement of a policy of this kind.
    pub(super) fn parse(statement: &Json, kind: Kind<'_>, variables: bool) -> Result<Self, Malformed> {
        let Json::Object(members) = statement else {
            return Err(Malformed::new(format!("must be an object, not {}", statement.kind())));
        };
        if let Some((unknown, _)) = members.iter().find(|(name, _)| !ELEMENTS.contains(&name.as_str())) {
            return Err(Malformed::new("there is no such element").at(unknown));
        }
        let effect = effect(member(members, "Effect"))?;
        let actions = scope(members, "Action", "NotAction", |json| parse_actions(json, kind))?;
        let resources = scope(members, "Resource", "NotResource", |json| parse_resources(json, kind, variables))?;
        if let Kind::Bucket(bucket) = kind {
            check_levels(members, bucket)?;
        }
        let keys = match kind {
            Kind::Bucket(_) => Prefixes::S3,
            Kind::Identity => Prefixes::Any,
        };
        let conditions = match member(members, "Condition") {
            None => Vec::new(),
            Some(block) => Condition::parse_block(block, keys, variables).map_err(|error| error.at("Condition"))?,
        };
        let (sid, principals) = (sid(member(members, "Sid"), kind)?, principals(members, kind, effect)?);
        Ok(Self { sid, effect, principals, actions, resources, conditions })
    }
}

fn member<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
    members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
}

fn effect(element: Option<&Json>) -> Result<Effect, Malformed> {
    match element {
        Some(Json::Text(text)) if text == "Allow" => Ok(Effect::Allow),
        Some(Json::Text(text)) if text == "Deny" => Ok(Effect::Deny),
        _ => Err(Malformed::new("must be Allow or Deny").at("Effect")),
    }
}

fn sid(element: Option<&Json>, kind: Kind<'_>) -> Result<Option<String>, Malformed> {
    match (element, kind) {
        (None, _) => Ok(None),
        (Some(Json::Text(text)), Kind::Bucket(_)) => Ok(Some(text.clone())),
        (Some(Json::Text(text)), Kind::Identity) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Ok(Some(text.clone()))
        }
        _ => Err(Malformed::new("must be a string, in a user's policy of letters and digits").at("Sid")),
    }
}

/// Exactly one of an element and its opposite.
fn scope<T>(
    members: &[(String, Json)],
    name: &str,
    opposite: &str,
    parse: impl FnOnce(&Json) -> Result<Vec<T>, Malformed>,
) -> Result<Scope<T>, Malformed> {
    match (member(members, name), member(members, opposite)) {
        (Some(element), None) => parse(element).map(Scope::Only).map_err(|error| error.at(name)),
        (None, Some(element)) => parse(element).map(Scope::AllBut).map_err(|error| error.at(opposite)),
        (Some(_), Some(_)) => Err(Malformed::new(format!("{name} and {opposite} exclude each other"))),
        (None, None) => Err(Malformed::new(format!("{name} or {opposite} is missing"))),
    }
}

fn principals(members: &[(String, Json)], kind: Kind<'_>, effect: Effect) -> Result<Option<Scope<Named>>, Malformed> {
    let (principal, opposite) = (member(members, "Principal"), member(members, "NotPrincipal"));
    match kind {
        Kind::Identity if principal.is_none() && opposite.is_none() => Ok(None),
        Kind::Identity => Err(Malformed::new("a user's policy is about that user: it names no principal")),
        Kind::Bucket(_) if opposite.is_some() && effect == Effect::Allow => {
            Err(Malformed::new("goes only with the effect Deny").at("NotPrincipal"))
        }
        Kind::Bucket(_) => scope(members, "Principal", "NotPrincipal", Named::parse).map(Some),
    }
}

fn parse_actions(element: &Json, kind: Kind<'_>) -> Result<Vec<Pattern>, Malformed> {
    let parse = |text: &str| {
        let pattern = Pattern::parse(text, Syntax { wildcards: true, variables: false }).map_err(Malformed::new)?;
        let known = || vocabulary::S3_ACTIONS.iter().any(|(name, _)| matches_action(&pattern, name));
        match (text.split_once(':'), kind) {
            _ if text == "*" => Ok(pattern),
            (Some((service, _)), Kind::Bucket(_)) if service.eq_ignore_ascii_case("s3") && known() => Ok(pattern),
            (Some((service, name)), Kind::Identity) if is_service(service) && !name.is_empty() => Ok(pattern),
            (_, Kind::Bucket(_)) => Err(Malformed::new(format!("{text:?} is no action of S3"))),
            (_, Kind::Identity) => Err(Malformed::new(format!("{text:?} is no action, such as s3:GetObject"))),
        }
    };
    texts(element)?.into_iter().map(parse).collect()
}

fn is_service(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn matches_action(pattern: &Pattern, name: &str) -> bool {
    pattern.matches(name, Case::Ignored, &Facts::default())
}

fn parse_resources(element: &Json, kind: Kind<'_>, variables: bool) -> Result<Vec<Pattern>, Malformed> {
    let parse = |text: &str| {
        let pattern = Pattern::parse(text, Syntax { wildcards: true, variables }).map_err(Malformed::new)?;
        let whole = text == "*" || (text.starts_with("arn:") && text.splitn(6, ':').count() == 6);
        match kind {
            _ if !whole || pattern.has_variable_before_resource() => {
                Err(Malformed::new(format!("{text:?} is no ARN of six parts, with variables in the last one only")))
            }
            Kind::Bucket(bucket) if levels(text, bucket).is_empty() => {
                Err(Malformed::new(format!("{text:?} is not of this bucket: it begins with arn:aws:s3:::{bucket}")))
            }
            _ => Ok(pattern),
        }
    };
    texts(element)?.into_iter().map(parse).collect()
}

/// What a resource of a bucket's policy can name: the bucket, its objects, or both; nothing if it is of elsewhere.
fn levels(resource: &str, bucket: &str) -> &'static [Level] {
    let rest = resource.strip_prefix("arn:aws:s3:::").and_then(|name| name.strip_prefix(bucket));
    match rest.map(|rest| rest.chars().next()) {
        Some(None) => &[Level::Bucket],
        Some(Some('/')) => &[Level::Object],
        Some(Some('*')) => &[Level::Bucket, Level::Object],
        _ => &[],
    }
}

/// An action that is done to none of the resources beside it would never apply: a slip, as a rule.
fn check_levels(members: &[(String, Json)], bucket: &str) -> Result<(), Malformed> {
    let (Some(actions), Some(resources)) = (member(members, "Action"), member(members, "Resource")) else {
        return Ok(());
    };
    let covered: Vec<Level> = texts(resources)?.into_iter().flat_map(|text| levels(text, bucket)).copied().collect();
    for text in texts(actions)? {
        let pattern = Pattern::parse(text, Syntax { wildcards: true, variables: false }).map_err(Malformed::new)?;
        let applies = |(name, level): &(&str, Level)| covered.contains(level) && matches_action(&pattern, name);
        if !vocabulary::S3_ACTIONS.iter().any(applies) {
            let why = format!("the action {text:?} applies to none of the resources of the statement");
            return Err(Malformed::new(why).at("Action"));
        }
    }
    Ok(())
}
