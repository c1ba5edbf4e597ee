//! What conditions of policies may look at, gathered from a request that is about to be authenticated.
//!
//! A fact is used only once the signature was found right. `s3:` keys come from what is signed: the query, and the
//! `x-amz-*` headers, which the guard lets through only if they are signed. `aws:` keys come from the connection and
//! the clock, never from a header, but for the two that are documented to, and for the address where a proxy is trusted.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, REFERER, USER_AGENT};
use http::request::Parts;
use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::date::amz_date_s;
use super::form::OfForm;
use super::signer::Signer;
use super::target::Target;
use crate::http::ConnectionFacts;
use crate::policy::language::{ACCOUNT, Facts};
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
pub(super) fn of(parts: &Parts, target: &Target, signer: &Signer, proxies: &[IpNet], now_ms: u64) -> Facts {
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
    of_connection(&mut facts, parts, proxies);
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

fn of_connection(facts: &mut Facts, parts: &Parts, proxies: &[IpNet]) {
    let Some(connection) = parts.extensions.get::<ConnectionFacts>() else { return };
    facts.set("aws:SourceIp", source(connection.peer, &parts.headers, proxies).to_string());
    facts.set("aws:SecureTransport", connection.tls.is_some().to_string());
    set(facts, "s3:TlsVersion", connection.tls.map(crate::http::TlsVersion::number));
}

/// Who asks: the other end, or, where that is a trusted proxy, whom it names last; and so on from there.
fn source(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let lists = headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default());
    let named: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let mut source = peer;
    for address in named.into_iter().rev() {
        let is_trusted = proxies.iter().any(|proxy| proxy.contains(&source));
        // What is no address names nobody, and what stands before it was said by who knows whom.
        let (true, Ok(address)) = (is_trusted, address.parse::<IpAddr>()) else { break };
        source = address.to_canonical();
    }
    source
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
        of(&parts, &target, signer, &[], 1_767_225_600_500)
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
    fn a_trusted_proxy_says_who_asks_and_nobody_else_does() {
        let proxies = ["10.0.0.0/24".parse().unwrap(), "fd00::5/128".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", vec!["192.0.2.1"], "203.0.113.9"),
            ("10.0.0.7", vec![], "10.0.0.7"),
            ("10.0.0.7", vec!["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.7", vec!["192.0.2.1, 198.51.100.2"], "198.51.100.2"),
            ("10.0.0.7", vec!["192.0.2.1", "198.51.100.2, fd00::5"], "198.51.100.2"),
            ("10.0.0.7", vec!["192.0.2.1,::ffff:10.0.0.8"], "192.0.2.1"),
            ("10.0.0.7", vec!["192.0.2.1, nonsense"], "10.0.0.7"),
            ("10.0.0.7", vec!["10.0.0.9"], "10.0.0.9"),
        ] {
            let mut headers = HeaderMap::new();
            for list in &forwarded {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            let found = source(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
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
