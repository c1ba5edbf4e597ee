//! What conditions of policies may look at, gathered from a request that is about to be authenticated.
//!
//! A fact is used only once the signature was found right. `s3:` keys come from what is signed: the query, and the
//! `x-amz-*` headers, which the guard lets through only if they are signed. `aws:` keys come from the connection and
//! the clock, never from a header, but for the two that are documented to.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, REFERER, USER_AGENT};
use http::request::Parts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::date::amz_date_s;
use super::form::OfForm;
use super::signer::Signer;
use super::target::Target;
use crate::arn::ACCOUNT;
use crate::http::ConnectionFacts;
use crate::policy::language::Facts;
use crate::s3::REGION;

/// `x-amz-*` headers that have a condition key of their name.
const HEADERS: [&str; 14] = [
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// Parameters that have a condition key of their name.
const PARAMETERS: [&str; 4] = ["delimiter", "max-keys", "prefix", "versionId"];

/// The facts of a request. Who asks is not among them yet.
pub(super) fn of(parts: &Parts, target: &Target, signer: &Signer, now_ms: u64) -> Facts {
    let mut facts = Facts::default();
    for name in HEADERS {
        set(&mut facts, &format!("s3:{name}"), text(&parts.headers, name));
    }
    for name in PARAMETERS {
        set(&mut facts, &format!("s3:{name}"), target.value(name));
    }
    // Where an operation takes one of these for none, it is none here.
    let plain = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    set(&mut facts, "s3:if-match", plain(IF_MATCH));
    set(&mut facts, "s3:if-none-match", plain(IF_NONE_MATCH));
    set(&mut facts, "aws:Referer", text(&parts.headers, REFERER.as_str()));
    set(&mut facts, "aws:UserAgent", text(&parts.headers, USER_AGENT.as_str()));
    if let Some(source) = text(&parts.headers, "x-amz-copy-source") {
        facts.set_all("s3:x-amz-copy-source", copy_source(source));
    }
    of_signature(&mut facts, parts, target, signer, now_ms);
    of_connection(&mut facts, parts);
    of_moment(&mut facts, now_ms);
    for key in ["s3:ResourceAccount", "aws:ResourceAccount"] {
        facts.set(key, ACCOUNT);
    }
    facts.set("aws:RequestedRegion", REGION);
    facts.set("aws:ViaAWSService", "false");
    facts
}

fn set(facts: &mut Facts, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        facts.set(key, value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// A copy source has two spellings, and escapes: it is known by what it names.
fn copy_source(source: &str) -> Vec<String> {
    let path = source.split_once("?versionId=").map_or(source, |(path, _)| path);
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let path = path.strip_prefix('/').unwrap_or(&path);
    vec![path.to_owned(), format!("/{path}")]
}

fn of_signature(facts: &mut Facts, parts: &Parts, target: &Target, signer: &Signer, now_ms: u64) {
    let form = parts.extensions.get::<OfForm>();
    let (auth_type, signed_s) = match (signer, form) {
        (Signer::Anonymous, _) => return,
        (_, Some(form)) => ("POST", form.signed_s),
        (Signer::Header { .. }, None) => ("REST-HEADER", text(&parts.headers, "x-amz-date").and_then(amz_date_s)),
        (Signer::Query { .. }, None) => ("REST-QUERY-STRING", target.value("X-Amz-Date").and_then(amz_date_s)),
    };
    facts.set("s3:authType", auth_type);
    facts.set("s3:signatureversion", "AWS4-HMAC-SHA256");
    // Of a signature whose clock runs ahead, nothing has passed.
    if let Some(signed_s) = signed_s.and_then(|seconds| u64::try_from(seconds).ok()) {
        facts.set("s3:signatureAge", now_ms.saturating_sub(signed_s.saturating_mul(1_000)).to_string());
    }
}

fn of_connection(facts: &mut Facts, parts: &Parts) {
    let Some(connection) = parts.extensions.get::<ConnectionFacts>() else { return };
    facts.set("aws:SourceIp", connection.peer.to_string());
    facts.set("aws:SecureTransport", connection.tls.is_some().to_string());
    set(facts, "s3:TlsVersion", connection.tls.and_then(crate::http::TlsVersion::number));
}

fn of_moment(facts: &mut Facts, now_ms: u64) {
    let seconds = now_ms / 1_000;
    facts.set("aws:EpochTime", seconds.to_string());
    let moment = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    if let Some(moment) = moment.and_then(|moment| moment.format(&Rfc3339).ok()) {
        facts.set("aws:CurrentTime", moment);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn facts(request: http::request::Builder, signer: &Signer) -> Facts {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let target = Target::parse(&parts.uri).unwrap();
        of(&parts, &target, signer, 1_767_225_600_500)
    }

    #[test]
    fn no_header_feeds_a_fact_of_the_connection_or_of_who_asks() {
        let request = Request::get("/b/k?aws:SourceIp=9.9.9.9&SourceIp=9.9.9.9&aws:username=root");
        let claims = ["x-forwarded-for", "forwarded", "x-real-ip", "aws:sourceip", "x-forwarded-proto", "username"];
        let claims = claims.iter().filter(|name| !name.contains(':'));
        let request = claims.fold(request, |request, name| request.header(*name, "9.9.9.9"));
        let facts = facts(request, &Signer::Anonymous);
        for key in ["aws:SourceIp", "aws:SecureTransport", "aws:username", "aws:userid", "aws:PrincipalArn"] {
            assert!(facts.values(&key.to_lowercase()).is_empty(), "{key}");
        }
    }

    #[test]
    fn parameters_are_facts_as_they_decode() {
        let facts = facts(Request::get("/b?prefix=a%2Fb&max-keys=7&delimiter="), &Signer::Anonymous);
        assert_eq!(facts.values("s3:prefix"), ["a/b"]);
        assert_eq!(facts.values("s3:max-keys"), ["7"]);
        assert_eq!(facts.values("s3:delimiter"), [""]);
        assert!(facts.values("s3:versionid").is_empty());
    }

    #[test]
    fn a_copy_source_is_what_it_names_however_it_is_spelt() {
        for spelling in ["b/a k", "/b/a%20k", "b/a%20k?versionId=null", "b%2Fa k"] {
            assert_eq!(copy_source(spelling), ["b/a k", "/b/a k"], "{spelling}");
        }
    }

    #[test]
    fn a_signature_has_a_kind_and_an_age() {
        let signer = Signer::Query { access_key: "a".into() };
        let facts = facts(Request::get("/b/k?X-Amz-Date=20251231T235959Z"), &signer);
        assert_eq!(facts.values("s3:signatureage"), ["1500"]);
        assert_eq!(facts.values("s3:authtype"), ["REST-QUERY-STRING"]);
        assert_eq!(facts.values("aws:epochtime"), ["1767225600"]);
        assert_eq!(facts.values("aws:currenttime"), ["2026-01-01T00:00:00Z"]);
    }
}
