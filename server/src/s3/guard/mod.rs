//! Step 1, before the protocol library: what it lets through, or answers otherwise than S3, is refused here.
//!
//! A guard wraps the S3 service. It reads the head of a request only, never its body, so that `100-continue` is answered
//! only once a request is authorized. It checks no signature: it makes sure that the signature, which the library
//! checks, covers all that matters. Every answer leaves with a request id, and every request leaves one line in the log.

mod date;
mod entry;
mod facts;
mod form;
mod length;
mod presigned;
mod refusal;
mod signer;
mod target;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, SERVER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Body;
use hyper::service::Service;
use s3s::S3ErrorCode;

use crate::audit::{Who, on_behalf_of};
use crate::clock::Clock;
use entry::Entry;
use form::OfForm;
use length::Framing;
use refusal::Refusal;
use signer::Signer;
use target::Target;

pub use entry::Logged;
pub use form::{FileRefused, Forms};
pub use length::DOCUMENT_LEN_MAX;

/// Request line and headers together; S3 allows 8 KiB, and presigned requests with a token come near it.
const HEAD_LEN_MAX: usize = 16 << 10;

/// The S3 service behind the checks of this module.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    clock: Arc<dyn Clock>,
}

impl<S> Guard<S> {
    /// Guards `inner`; `clock` tells how old a signature is.
    pub fn new(inner: S, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock }
    }

    /// Checks the head of a request and completes it for the library.
    fn admit(&self, parts: &mut Parts) -> Result<Signer, Refusal> {
        if let Some(refusal) = parts.extensions.remove::<Refusal>() {
            return Err(refusal);
        }
        check_head_len(parts)?;
        let target = Target::parse(&parts.uri)?;
        let signer = signer::check(parts, &target, self.clock.now_ms())?;
        target.check(&parts.method)?;
        if parts.method == Method::POST && is_form(parts) {
            return Err(Refusal::not_implemented("A form is posted to a bucket, and signed by its policy only."));
        }
        match signer {
            Signer::Query { .. } => presigned::parameters_to_headers(&target, &mut parts.headers)?,
            Signer::Header { .. } => date::complete(&mut parts.headers),
            Signer::Anonymous => {}
        }
        let framing = signer::framing(&parts.headers);
        if matches!(parts.method, Method::PUT | Method::POST) || framing == Framing::Chunked {
            let copies = parts.headers.contains_key("x-amz-copy-source");
            let is_counted =
                target.uploads_content(&parts.method, copies) && parts.extensions.get::<OfForm>().is_none();
            length::check(&parts.headers, framing, is_counted)?;
        }
        if signer::has_trailer(&parts.headers) && !parts.headers.contains_key("x-amz-trailer") {
            // Legal, as a body may end without trailing headers; the library insists on the announcement.
            parts.headers.insert("x-amz-trailer", HeaderValue::from_static(""));
        }
        entry::mark_sensitive(&mut parts.headers);
        let facts = facts::of(parts, &target, &signer, self.clock.now_ms());
        parts.extensions.insert(facts);
        Ok(signer)
    }
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<s3s::Body>, Error: Debug + 'static, Future: Send + 'static>,
    B: Body,
{
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let request_id = format!("{:016X}", RandomState::new().hash_one(0));
        let (mut parts, body) = request.into_parts();
        let (method, resource) = (parts.method.clone(), parts.uri.path().to_owned());
        let mut entry = Entry::new(&method, &parts.uri, &request_id);
        match self.admit(&mut parts) {
            Err(refusal) => {
                entry.refused = Some(refusal.code().to_owned());
                let unread = !body.is_end_stream() && parts.version < http::Version::HTTP_2;
                let response = refusal.into_response(&method, &resource, &request_id, unread);
                Box::pin(std::future::ready(Ok(finish(response, entry, &request_id))))
            }
            Ok(signer) => {
                entry.access_key = signer.access_key().map(str::to_owned);
                let who = entry.access_key.as_deref().map_or_else(Who::anonymous, Who::access_key);
                let answer = on_behalf_of(who, self.inner.call(Request::from_parts(parts, body)));
                Box::pin(async move {
                    let response = answer.await.unwrap_or_else(|error| {
                        tracing::error!(id = %request_id, ?error, "a response could not be made");
                        let refusal = Refusal::new(
                            S3ErrorCode::InternalError,
                            "We encountered an internal error. Please try again.",
                        );
                        refusal.into_response(&method, &resource, &request_id, true)
                    });
                    Ok(finish(bodyless_if_head(response, &method), entry, &request_id))
                })
            }
        }
    }
}

/// An error that answers a HEAD has no body, whatever the library made.
fn bodyless_if_head(response: Response<s3s::Body>, method: &Method) -> Response<s3s::Body> {
    let status = response.status();
    if *method != Method::HEAD || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_TYPE);
    Response::from_parts(parts, s3s::Body::empty())
}

fn finish(response: Response<s3s::Body>, entry: Entry, request_id: &str) -> Response<Logged> {
    let status: StatusCode = response.status();
    let mut response = response.map(|body| Logged::new(body, status, entry));
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("Strongroom"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-amz-request-id", value);
    }
    response
}

fn check_head_len(parts: &Parts) -> Result<(), Refusal> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target + headers <= HEAD_LEN_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        S3ErrorCode::RequestHeaderSectionTooLarge,
        "Your request header and query parameters exceed the maximum allowed size.",
    )
    .with("MaxSizeAllowed", HEAD_LEN_MAX.to_string()))
}

fn is_form(parts: &Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    content_type.trim_ascii().get(..19).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/form-data"))
}
