//! What `strongroom keys` prints for people, made from the report that scripts get.

use std::fmt::Write as _;

use serde_json::Value;

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Versions of master keys.
    List,
    /// What was moved.
    Rewrap,
    /// What can be unwrapped.
    Verify,
    /// What would be lost.
    Impact,
    /// One change.
    Plain,
}

/// The report as text, whole lines.
pub(super) fn text(kind: &Kind, report: &Value) -> String {
    match kind {
        Kind::List => list(report),
        Kind::Rewrap => rewrap(report),
        Kind::Verify => verify(report),
        Kind::Impact => impact(report),
        Kind::Plain => plain(report),
    }
}

/// What a restored keyring does not bring back, in sentences.
pub(super) fn losses(report: &Value) -> Vec<String> {
    let (mut losses, missing) = (Vec::new(), count(report, "missing"));
    if missing > 0 {
        losses.push(format!("{missing} keys that the catalog names are not in the copy: what they sealed is lost"));
    }
    for name in report["not_held"].as_array().into_iter().flatten() {
        let name = plain_word(name);
        losses.push(format!("the HSM does not hold {name}: what the copy has under it cannot be read until it does"));
    }
    losses
}

fn list(report: &Value) -> String {
    let mut text = format!("{:<24} {:>7}  {:<19} {:>12}  {}\n", "ALIAS", "VERSION", "STATE", "WRAPPED KEYS", "CKA_ID");
    for key in report.as_array().into_iter().flatten() {
        let state = match (word(key, "state"), key["current"].as_bool()) {
            (state, Some(true)) if state == "enabled" => "current".to_owned(),
            (state, Some(true)) => format!("current, {state}"),
            (state, _) => state,
        };
        let (alias, version, wrapped) = (word(key, "alias"), count(key, "version"), count(key, "wrapped"));
        let _ = writeln!(text, "{alias:<24} {version:>7}  {state:<19} {wrapped:>12}  {}", word(key, "id"));
    }
    text
}

fn rewrap(report: &Value) -> String {
    let (moved, skipped, failed) = (count(report, "moved"), count(report, "skipped"), count(report, "failed"));
    let mut text = format!("moved {moved}, skipped {skipped}, failed {failed}\n");
    lines(&mut text, &report["failures"]);
    text
}

fn verify(report: &Value) -> String {
    let unreadable = report["unreadable"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (readable, skipped, missing) = (count(report, "readable"), count(report, "skipped"), count(report, "missing"));
    let mut text =
        format!("readable {readable}, skipped {skipped}, unreadable {}, missing {missing}\n", unreadable.len());
    for key in unreadable {
        let _ = writeln!(text, "  {} key {}: {}", word(key, "kind"), word(key, "key_id"), word(key, "why"));
    }
    text
}

fn impact(report: &Value) -> String {
    let (objects, uploads, unnamed) =
        (count(report, "object_count"), count(report, "upload_count"), count(report, "unnamed_count"));
    let buckets = report["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    if report["store"].as_bool() == Some(true) {
        text.push_str("the store's own configuration: nobody could sign in\n");
    }
    for bucket in buckets {
        let _ = writeln!(text, "bucket {}: its settings and listings, and so all its objects", plain_word(bucket));
    }
    let _ =
        writeln!(text, "{objects} objects, {uploads} uploads in progress, {unnamed} wrapped keys that no row names");
    for object in report["objects"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {}/{}", word(object, "bucket"), word(object, "key").escape_debug());
    }
    text
}

fn plain(report: &Value) -> String {
    let mut text = String::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        let _ = writeln!(text, "{name}: {}", plain_word(value));
    }
    text
}

fn lines(text: &mut String, values: &Value) {
    for value in values.as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {}", plain_word(value));
    }
}

fn word(report: &Value, field: &str) -> String {
    plain_word(&report[field])
}

fn plain_word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_each_version_with_its_state_and_what_lies_under_it() {
        let report = serde_json::json!([
            { "alias": "default", "version": 1, "id": "aa", "current": false, "state": "disabled", "wrapped": 7 },
            { "alias": "default", "version": 2, "id": "bb", "current": true, "state": "enabled", "wrapped": 12_345 },
        ]);
        let text = text(&Kind::List, &report);
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [vec!["default", "1", "disabled", "7", "aa"], vec!["default", "2", "current", "12345", "bb"]]);
    }
}
