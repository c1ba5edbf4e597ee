//! What `strongroom keys` prints for people, made from the report that scripts get.

use std::fmt::Write as _;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Versions of master keys.
    List,
    /// All that is known of some versions.
    Describe,
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
pub(super) fn text(kind: Kind, report: &Value) -> String {
    match kind {
        Kind::List => list(report),
        Kind::Describe => describe(report),
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
    let mut text = format!(
        "{:<24} {:>7}  {:<19} {:>12} {:>10}  {}\n",
        "ALIAS", "VERSION", "STATE", "WRAPPED KEYS", "WRAPS", "CKA_ID"
    );
    for key in report.as_array().into_iter().flatten() {
        let state = match (word(key, "state"), key["current"].as_bool()) {
            (state, Some(true)) if state == "enabled" => "current".to_owned(),
            (state, Some(true)) => format!("current, {state}"),
            (state, _) => state,
        };
        let (alias, version, id) = (word(key, "alias"), count(key, "version"), word(key, "id"));
        let (wrapped, wraps) = (count(key, "wrapped"), count(key, "wraps"));
        let _ = writeln!(text, "{alias:<24} {version:>7}  {state:<19} {wrapped:>12} {wraps:>10}  {id}");
    }
    text
}

fn describe(report: &Value) -> String {
    let mut text = String::new();
    for key in report.as_array().into_iter().flatten() {
        let state = match key["destroy_after_ms"].as_u64() {
            Some(after) => format!("{}, may be destroyed after {}", word(key, "state"), moment(after)),
            None => word(key, "state"),
        };
        let current = if key["current"].as_bool() == Some(true) { "yes: it wraps" } else { "no" };
        let created = key["created_ms"].as_u64().filter(|created| *created > 0).map_or("not known".to_owned(), moment);
        let rotation = key["rotation_days"].as_u64().map(|days| format!("{days} days after a version was made"));
        let lines = [
            ("CKA_ID", word(key, "id")),
            ("current", current.to_owned()),
            ("state", state),
            ("provider", key["provider"].as_str().unwrap_or("not known").to_owned()),
            ("created", created),
            ("wrapped keys", count(key, "wrapped").to_string()),
            ("wraps set aside", count(key, "wraps").to_string()),
            ("rotation", rotation.unwrap_or("when told, or when wraps run out".to_owned())),
        ];
        let _ = writeln!(text, "{}/{}", word(key, "alias"), count(key, "version"));
        for (what, value) in lines {
            let _ = writeln!(text, "  {what:<16} {value}");
        }
    }
    text
}

/// A time of the keyring, as RFC 3339.
fn moment(since_1970_ms: u64) -> String {
    let nanos = i128::from(since_1970_ms) * 1_000_000;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|time| time.format(&Rfc3339).ok());
    moment.unwrap_or_else(|| format!("{since_1970_ms} ms since 1970"))
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
            { "alias": "default", "version": 1, "id": "aa", "current": false, "state": "disabled", "wrapped": 7, "wraps": 9 },
            { "alias": "default", "version": 2, "id": "bb", "current": true, "state": "enabled", "wrapped": 12_345, "wraps": 1_048_576 },
        ]);
        let text = text(Kind::List, &report);
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let second = vec!["default", "2", "current", "12345", "1048576", "bb"];
        assert_eq!(rows, [vec!["default", "1", "disabled", "7", "9", "aa"], second]);
    }

    #[test]
    fn a_description_says_when_a_version_may_be_destroyed() {
        let report = serde_json::json!([
            { "alias": "team/a", "version": 1, "id": "aa", "current": false, "state": "pending-destruction",
              "destroy_after_ms": 1_800_000_000_000_u64, "created_ms": 0, "wrapped": 0, "wraps": 5 },
        ]);
        let text = text(Kind::Describe, &report);
        assert!(text.starts_with("team/a/1\n"), "{text}");
        assert!(text.contains("pending-destruction, may be destroyed after 2027-01-15T08:00:00Z\n"), "{text}");
        assert!(text.contains("not known\n"), "never made as far as the keyring knows: {text}");
    }
}
