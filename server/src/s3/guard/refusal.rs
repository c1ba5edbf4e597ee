//! A refusal: S3's error code, status and XML body, made before the protocol library sees the request.
//!
//! Messages are S3's own where S3 has one, since clients match on them. They never repeat a credential or a signature.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use s3s::{Body, S3ErrorCode};

/// Why a request is not let through.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: S3ErrorCode,
    message: &'static str,
    details: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(code: S3ErrorCode, message: &'static str) -> Self {
        Self { code, message, details: Vec::new() }
    }

    /// The answer to everything that S3 can do and this version cannot.
    pub(super) fn not_implemented(message: &'static str) -> Self {
        Self::new(S3ErrorCode::NotImplemented, message)
    }

    pub(super) fn invalid_argument(message: &'static str) -> Self {
        Self::new(S3ErrorCode::InvalidArgument, message)
    }

    pub(super) fn invalid_uri() -> Self {
        Self::new(S3ErrorCode::InvalidURI, "Couldn't parse the specified URI.")
    }

    /// Adds an element that S3 answers with this code.
    pub(super) fn with(mut self, element: &'static str, content: impl Into<String>) -> Self {
        self.details.push((element, content.into()));
        self
    }

    pub(super) fn code(&self) -> &str {
        self.code.as_str()
    }

    /// The response. `unread` says that a body may still come that nobody will read: the connection then ends here.
    pub(super) fn into_response(
        self,
        method: &Method,
        resource: &str,
        request_id: &str,
        unread: bool,
    ) -> Response<Body> {
        let body = if *method == Method::HEAD { Body::empty() } else { Body::from(self.xml(resource, request_id)) };
        let mut response = Response::new(body);
        *response.status_mut() = self.code.status_code().unwrap_or(StatusCode::BAD_REQUEST);
        if *method != Method::HEAD {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        if unread {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn xml(&self, resource: &str, request_id: &str) -> Bytes {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        element(&mut xml, "Code", self.code.as_str());
        element(&mut xml, "Message", self.message);
        for (name, content) in &self.details {
            element(&mut xml, name, content);
        }
        element(&mut xml, "Resource", resource);
        element(&mut xml, "RequestId", request_id);
        xml.push_str("</Error>");
        xml.into()
    }
}

fn element(xml: &mut String, name: &str, content: &str) {
    let _ = write!(xml, "<{name}>");
    for character in content.chars() {
        match character {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            // XML 1.0 cannot say these at all.
            control if control.is_control() => xml.push(char::REPLACEMENT_CHARACTER),
            other => xml.push(other),
        }
    }
    let _ = write!(xml, "</{name}>");
}
