//! Uploads by HTML form: each is held against its signed policy, and then goes on as the PUT that it stands for.
//!
//! The signature of a form is over its policy only, so every field must be covered by a condition of that policy, those of
//! encryption too. What holds is signed anew with the same access key, as a request whose headers are the form's fields:
//! from there on the guard, the protocol library and every permission see an upload like any other. The file is never
//! held in memory: it passes as it comes.

mod answer;
mod fields;
mod file;
mod policy;
mod sign;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{Body, S3ErrorCode};

use super::date::amz_date_s;
use super::entry::Logged;
use super::refusal::Refusal;
use super::target::{Level, Target};
use super::{is_form, length};
use crate::error::OpError;
use crate::store::Store;
use answer::Wanted;
use fields::Form;
use policy::PostPolicy;

pub use file::FileRefused;

/// In a path, everything but these is escaped (RFC 3986, as signatures have it).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The guard, and in front of it what turns forms into requests.
#[derive(Clone)]
pub struct Forms<S> {
    inner: S,
    store: Arc<Store>,
}

impl<S> Forms<S> {
    /// Takes forms for `inner`.
    pub fn new(inner: S, store: Arc<Store>) -> Self {
        Self { inner, store }
    }
}

impl<S> Service<Request<Incoming>> for Forms<S>
where
    S: Service<Request<Body>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let Some(bucket) = posted_to(&parts) else {
            return Box::pin(self.inner.call(Request::from_parts(parts, Body::from(body))));
        };
        let this = self.clone();
        Box::pin(async move {
            match upload(&this.store, &parts, bucket, body).await {
                Ok((request, wanted)) => Ok(wanted.answer(this.inner.call(request).await?)),
                Err(refusal) => {
                    // The guard answers, so that the answer has an id and leaves a line.
                    parts.extensions.insert(refusal);
                    this.inner.call(Request::from_parts(parts, Body::empty())).await
                }
            }
        })
    }
}

/// The bucket that a form is posted to; nothing if this is no such form.
fn posted_to(parts: &Parts) -> Option<String> {
    if parts.method != Method::POST || !is_form(parts) {
        return None;
    }
    let target = Target::parse(&parts.uri).ok()?;
    let is_upload = target.level == Level::Bucket && target.query.is_empty();
    is_upload.then(|| parts.uri.path().trim_matches('/').to_owned())
}

/// The PUT that a form stands for, and how its sender wants it answered.
async fn upload(
    store: &Store,
    parts: &Parts,
    bucket: String,
    body: Incoming,
) -> Result<(Request<Body>, Wanted), Refusal> {
    length::check(&parts.headers, length::Framing::Plain, true)?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::read(content_type, body).await?;
    let signed = sign::Signed::of(&form)?;
    let secret = store.users.secret(signed.access_key).await.map_err(unknown_signer)?;
    signed.check(&secret)?;
    let policy = PostPolicy::parse(signed.policy)?;
    let now_ms = store.clock.now_ms();
    let file_len = policy.check(&form, &bucket, now_ms)?;

    let key = form.value("key").ok_or_else(|| {
        Refusal::invalid_argument(
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
        )
    })?;
    let path = format!("/{bucket}/{}", utf8_percent_encode(key, PATH));
    let mut request = Request::new(());
    *request.method_mut() = Method::PUT;
    let mut headers = headers(&form)?;
    // Over HTTP/2 the host is in the target.
    let host = parts.headers.get(HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(parts.uri.authority()?.as_str()).ok());
    headers.insert(HOST, host.ok_or_else(|| Refusal::invalid_argument("The request names no host."))?);
    // What policies look at and no signature covers.
    for name in [REFERER, USER_AGENT] {
        for value in parts.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    let wanted = Wanted::of(&form, &bucket, key, &headers);
    let target = sign::presigned(&path, &headers, signed.access_key, &secret, now_ms)?;
    *request.uri_mut() = target.parse().map_err(|_| Refusal::invalid_uri())?;
    *request.headers_mut() = headers;
    *request.extensions_mut() = parts.extensions.clone();
    request.extensions_mut().insert(OfForm { signed_s: amz_date_s(signed.date) });
    Ok((request.map(|()| file::body(form.file, file_len)), wanted))
}

/// Marks a request that was made of a form: its length is known when its last byte has come.
#[derive(Clone, Copy)]
pub(super) struct OfForm {
    /// When the form was signed, in seconds since 1970.
    pub(super) signed_s: Option<i64>,
}

fn unknown_signer(error: OpError) -> Refusal {
    match error {
        OpError::NoSuchAccessKey => Refusal::new(
            S3ErrorCode::InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        error => {
            tracing::warn!(%error, "who signed a form cannot be looked up");
            Refusal::new(S3ErrorCode::ServiceUnavailable, "Please try again.")
        }
    }
}

/// The fields that are headers of an upload, as headers. A field that would make another request of it is refused.
fn headers(form: &Form) -> Result<HeaderMap, Refusal> {
    const CONTENT: [&str; 6] =
        ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];
    let mut headers = HeaderMap::new();
    for (name, value) in &form.fields {
        let header = match name.as_str() {
            "acl" => "x-amz-acl",
            "tagging" => "x-amz-tagging",
            name if CONTENT.contains(&name) => name,
            name if sign::FIELDS.contains(&name) => continue,
            name if is_of_an_upload(name) => name,
            name if name.starts_with("x-amz-") => {
                return Err(Refusal::invalid_argument("A form does not take this field.").with("ArgumentName", name));
            }
            _ => continue,
        };
        let invalid = || Refusal::invalid_argument("A field cannot be a header.").with("ArgumentName", name.as_str());
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| invalid())?;
        headers.insert(header, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?);
    }
    headers.remove(CONTENT_LENGTH);
    Ok(headers)
}

fn is_of_an_upload(name: &str) -> bool {
    const NAMES: [&str; 4] = ["x-amz-acl", "x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-tagging"];
    const FAMILIES: [&str; 5] =
        ["x-amz-meta-", "x-amz-server-side-encryption", "x-amz-checksum-", "x-amz-object-lock-", "x-amz-grant-"];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}
