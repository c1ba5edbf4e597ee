//! One line in the log for each request, when its answer has gone out or broken off.
//!
//! It names method, path, parameters, status, bytes, duration, request id and the access key id as it was claimed. It
//! never holds a header value, nor the value of a parameter: signatures, tokens and customer keys travel there.

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use hyper::body::{Body, Frame, SizeHint};

/// Headers that nothing may show.
pub(super) const SENSITIVE: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-amz-security-token",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];

/// Marks the headers whose values are secret, so that no dump of the request shows them.
pub(super) fn mark_sensitive(headers: &mut HeaderMap) {
    for name in SENSITIVE {
        if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

/// What is known of a request before it is answered.
pub(super) struct Entry {
    method: Method,
    path: String,
    request_id: String,
    started: Instant,
    pub(super) access_key: Option<String>,
    pub(super) refused: Option<String>,
}

impl Entry {
    pub(super) fn new(method: &Method, uri: &Uri, request_id: &str) -> Self {
        Self {
            method: method.clone(),
            path: shown(uri),
            request_id: request_id.to_owned(),
            started: Instant::now(),
            access_key: None,
            refused: None,
        }
    }

    fn write(&self, status: StatusCode, sent_len: u64, whole: bool) {
        tracing::info!(
            target: "strongroom::request",
            method = %self.method,
            path = %self.path,
            status = status.as_u16(),
            sent = sent_len,
            us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            id = %self.request_id,
            access_key = self.access_key.as_deref().unwrap_or("-"),
            refused = self.refused.as_deref(),
            broken_off = (!whole).then_some(true),
        );
    }
}

/// The path as it came, still escaped, and the names of its parameters without their values.
fn shown(uri: &Uri) -> String {
    let mut text = String::new();
    escape_into(&mut text, uri.path());
    let names = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let mut separator = '?';
    for name in names.filter(|name| !name.is_empty() && !name.to_ascii_lowercase().starts_with("x-amz-")) {
        text.push(separator);
        escape_into(&mut text, name);
        separator = '&';
    }
    text
}

fn escape_into(text: &mut String, part: &str) {
    // A target may hold raw bytes beyond ASCII; a log line holds none that a terminal could obey.
    let _ = write!(text, "{}", part.escape_default());
}

/// A response body that counts what it gives out, and writes the log line when it is dropped.
pub struct Logged {
    body: s3s::Body,
    entry: Option<Entry>,
    status: StatusCode,
    sent_len: u64,
    ended: bool,
}

impl Logged {
    pub(super) fn new(body: s3s::Body, status: StatusCode, entry: Entry) -> Self {
        Self { body, entry: Some(entry), status, sent_len: 0, ended: false }
    }

    /// The same line, behind another body.
    pub(super) fn answering(mut self, body: s3s::Body) -> Self {
        Self { body, entry: self.entry.take(), status: self.status, sent_len: 0, ended: false }
    }

    /// A body that leaves no line behind.
    pub fn silent(body: s3s::Body) -> Self {
        Self { body, entry: None, status: StatusCode::OK, sent_len: 0, ended: false }
    }
}

impl Body for Logged {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.sent_len += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            // A client that got every byte may never be asked whether more follow.
            let whole = self.ended || self.body.is_end_stream() || entry.method == Method::HEAD;
            entry.write(self.status, self.sent_len, whole);
        }
    }
}

impl Logged {
    /// The bytes of a small body, for tests.
    #[cfg(test)]
    pub(crate) async fn text(self) -> String {
        use http_body_util::BodyExt as _;
        String::from_utf8(self.collect().await.unwrap().to_bytes().into()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_path_and_the_names_of_parameters_but_no_value() {
        let uri = "/b/a%20k?uploadId=secret&X-Amz-Signature=0f0f&acl".parse().unwrap();
        assert_eq!(shown(&uri), "/b/a%20k?uploadId&acl");
    }

    #[test]
    fn every_header_that_carries_a_secret_is_hidden_from_dumps() {
        let mut headers = HeaderMap::new();
        for name in SENSITIVE {
            headers.insert(name, "hunter2".parse().unwrap());
        }
        mark_sensitive(&mut headers);
        assert!(!format!("{headers:?}").contains("hunter2"));
    }
}
