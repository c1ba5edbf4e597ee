//! The server's own pages: whether it lives, and whether it can work.
//!
//! They need no signature, so they name the part that is in trouble and what to do, and nothing of anyone's data.

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use s3s::Body;

use crate::s3::guard::Logged;

/// One part of the server that cannot work just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `catalog`, `keyring`, `blobs` or `hsm`.
    pub part: &'static str,
    /// What was seen, for an operator.
    pub reason: String,
}

/// Knows whether all that a request needs works.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// What does not; nothing if requests have a chance.
    async fn troubles(&self) -> Vec<Trouble>;
}

pub(super) async fn answer(readiness: &dyn Readiness, method: &Method, path: &str) -> Response<Logged> {
    if !matches!(path, "/-/health/live" | "/-/health/ready") {
        return json(StatusCode::NOT_FOUND, "{\"error\":\"no such page\"}".to_owned());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, "{\"error\":\"GET it\"}".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if path == "/-/health/live" {
        return json(StatusCode::OK, "{\"live\":true}".to_owned());
    }
    let troubles = readiness.troubles().await;
    if troubles.is_empty() {
        return json(StatusCode::OK, "{\"ready\":true}".to_owned());
    }
    let listed: Vec<String> = troubles
        .iter()
        .map(|trouble| format!("{{\"part\":{},\"reason\":{}}}", quoted(trouble.part), quoted(&trouble.reason)))
        .collect();
    json(StatusCode::SERVICE_UNAVAILABLE, format!("{{\"ready\":false,\"troubles\":[{}]}}", listed.join(",")))
}

fn json(status: StatusCode, mut text: String) -> Response<Logged> {
    text.push('\n');
    let mut response = Response::new(Logged::silent(Body::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
