//! What `strongroom users` prints for people, made from the report that scripts get.

use std::fmt::Write as _;

use serde_json::Value;

use crate::admin::UserCommand;

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Users.
    List,
    /// One user.
    User,
    /// Access keys.
    Keys,
    /// A policy.
    Document,
    /// Names.
    Names,
    /// One change.
    Change,
}

impl Kind {
    /// Of the report that answers a command.
    pub(super) fn of(command: &UserCommand) -> Self {
        match command {
            UserCommand::List => Self::List,
            UserCommand::Create { .. } | UserCommand::Show { .. } => Self::User,
            UserCommand::ListKeys { .. } => Self::Keys,
            UserCommand::GetPolicy { .. } => Self::Document,
            UserCommand::ListPolicies { .. } => Self::Names,
            UserCommand::Delete { .. }
            | UserCommand::CreateKey { .. }
            | UserCommand::DeleteKey { .. }
            | UserCommand::EnableKey { .. }
            | UserCommand::PutPolicy { .. }
            | UserCommand::DeletePolicy { .. } => Self::Change,
        }
    }
}

/// The report as text, whole lines.
pub(super) fn text(kind: Kind, report: &Value) -> String {
    let mut text = String::new();
    match kind {
        Kind::List => {
            let _ = writeln!(text, "{:<32} {:>11} {:>8}", "USER", "ACCESS KEYS", "POLICIES");
            for user in list(report) {
                let (keys, policies) = (list(&user["access_keys"]).len(), list(&user["policies"]).len());
                let _ = writeln!(text, "{:<32} {keys:>11} {policies:>8}", word(&user["user"]));
            }
        }
        Kind::User => {
            let _ = writeln!(text, "user: {}\narn: {}", word(&report["user"]), word(&report["arn"]));
            for key in list(&report["access_keys"]) {
                let _ = writeln!(text, "access key: {}", access_key(key));
            }
            for policy in list(&report["policies"]) {
                let _ = writeln!(text, "policy: {}", word(policy));
            }
        }
        Kind::Keys => text.extend(list(report).iter().map(|key| access_key(key) + "\n")),
        Kind::Names => text.extend(list(report).iter().map(|name| word(name) + "\n")),
        // As it was put: its last line may have no end.
        Kind::Document => {
            let document = word(&report["document"]);
            text.push_str(document.strip_suffix('\n').unwrap_or(&document));
            text.push('\n');
        }
        Kind::Change => {
            for (name, value) in report.as_object().into_iter().flatten() {
                let _ = writeln!(text, "{}: {}", name.replace('_', " "), word(value));
            }
        }
    }
    text
}

fn access_key(key: &Value) -> String {
    let disabled = if key["enabled"].as_bool() == Some(false) { " (disabled)" } else { "" };
    format!("{}{disabled}", word(&key["access_key"]))
}

fn list(report: &Value) -> &[Value] {
    report.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_with_what_is_disabled() {
        let report = serde_json::json!({
            "user": "alice", "arn": "arn:aws:iam::000000000000:user/alice", "policies": ["read"],
            "access_keys": [{ "access_key": "AK1", "enabled": true }, { "access_key": "AK2", "enabled": false }],
        });
        let shown = text(Kind::User, &report);
        assert_eq!(
            shown,
            "user: alice\narn: arn:aws:iam::000000000000:user/alice\naccess key: AK1\naccess key: AK2 (disabled)\n\
             policy: read\n"
        );
    }
}
