//! A second look at requests whose signature was found right, before they are answered.
//!
//! Some things that the protocol library leaves out need a request that is authenticated and not yet read: headers that
//! S3 ignores where the library refuses (a nonsense Range, a list of entity tags), the digest of an XML document, the 206
//! of a HEAD of a range, and documents of which it knows only a part. Those of encryption are answered here; every other
//! such request goes on to a second service over the same store, which asks for no signature any more.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri, header};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::error::OpError;
use crate::ops::digest::Digests;
use crate::s3::api::Api;
use crate::s3::caller::{access_key, establish};
use crate::s3::checksum::Claims;
use crate::s3::code::s3_error;
use crate::s3::encryption_call;
use crate::s3::headers::{SentHeaders, parse_range};
use crate::store::Store;

/// Most bytes of a document: 1,000 keys of DeleteObjects, each escaped, fit.
const DOCUMENT_LEN_MAX: usize = 8 << 20;

pub(super) struct SecondLook {
    store: Arc<Store>,
    answering: S3Service,
}

impl SecondLook {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { answering: S3ServiceBuilder::new(Api::new(store.clone())).build(), store }
    }
}

#[async_trait::async_trait]
impl S3Route for SecondLook {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut http::Extensions) -> bool {
        let reads = method == Method::GET || method == Method::HEAD;
        (reads && lenient(headers).next().is_some())
            || is_document(method, uri)
            || heads_a_range(method, uri, headers)
            || encryption_call::is_match(method, uri)
    }

    /// Also who has not signed may be allowed something: the operation asks.
    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let access_key = access_key(request.credentials.as_ref());
        establish(&self.store, access_key, &mut request.extensions).await.map_err(s3_error)
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut request = request;
        if is_document(&request.method, &request.uri) {
            request = with_checked_document(request).await?;
        }
        if encryption_call::is_match(&request.method, &request.uri) {
            return encryption_call::answer(&self.store, request).await.map_err(s3_error);
        }
        let sent = SentHeaders(request.headers.clone());
        for name in lenient(&sent.0) {
            request.headers.remove(name);
        }
        request.headers.remove(header::AUTHORIZATION);
        let mut again = http::Request::new(request.input);
        *again.method_mut() = request.method;
        *again.uri_mut() = without_signature(&request.uri);
        *again.headers_mut() = request.headers;
        *again.extensions_mut() = request.extensions;
        again.extensions_mut().insert(sent);
        let response = self
            .answering
            .call(again)
            .await
            .map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))?;
        let (parts, body) = response.into_parts();
        let mut answer = S3Response::new(body);
        let partial = parts.status == StatusCode::OK && parts.headers.contains_key(header::CONTENT_RANGE);
        answer.status = Some(if partial { StatusCode::PARTIAL_CONTENT } else { parts.status });
        answer.headers = parts.headers;
        Ok(answer)
    }
}

/// Headers that S3 reads more leniently than the protocol library, where they matter for a read.
fn lenient(headers: &HeaderMap) -> impl Iterator<Item = header::HeaderName> + '_ {
    let dates = [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];
    let tags = [header::IF_MATCH, header::IF_NONE_MATCH];
    let text = |name: &header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let strict_range = |text: &str| s3s::dto::Range::parse(text).is_ok() && parse_range(text).is_some();
    let strict_tag = |text: &str| s3s::dto::ETagCondition::parse_http_header(text.as_bytes()).is_ok();
    let strict_date = |text: &str| s3s::dto::Timestamp::parse(s3s::dto::TimestampFormat::HttpDate, text).is_ok();
    let range = [header::RANGE].into_iter().filter(move |name| text(name).is_some_and(|text| !strict_range(text)));
    let tags = tags.into_iter().filter(move |name| text(name).is_some_and(|text| !strict_tag(text)));
    let dates = dates.into_iter().filter(move |name| text(name).is_some_and(|text| !strict_date(text)));
    range.chain(tags).chain(dates)
}

/// The library answers every HEAD with 200, also one of a range.
fn heads_a_range(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let part = || parameters(uri).any(|parameter| name(parameter) == "partNumber");
    method == Method::HEAD && (headers.contains_key(header::RANGE) || part())
}

/// Whether the request carries a document whose digest must be, or may be, sent along.
fn is_document(method: &Method, uri: &Uri) -> bool {
    let has = |wanted: &str| parameters(uri).any(|parameter| name(parameter) == wanted);
    (method == Method::POST && has("delete")) || (method == Method::PUT && (has("encryption") || has("policy")))
}

async fn with_checked_document(mut request: S3Request<Body>) -> S3Result<S3Request<Body>> {
    let claims = Claims::of(&request, None).map_err(s3_error)?;
    if request.method == Method::POST && !request.headers.contains_key("content-md5") && claims.claimed().is_none() {
        return Err(s3_error(OpError::MissingDigest));
    }
    let mut body = std::mem::take(&mut request.input);
    let document = body.store_all_limited(DOCUMENT_LEN_MAX).await;
    let document = document.map_err(|_| s3_error(OpError::MalformedXml("the document cannot be read")))?;
    let mut digests = Digests::new(&claims.algorithms(), claims.claims_md5());
    digests.update(&document);
    claims.accept()(&digests.finish()).map_err(s3_error)?;
    request.headers.insert(header::CONTENT_LENGTH, document.len().into());
    request.input = Body::from(document);
    Ok(request)
}

pub(super) fn parameters(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&')
}

pub(super) fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// The request's target without what a presigned URL added: it has served.
fn without_signature(uri: &Uri) -> Uri {
    let kept: Vec<&str> =
        parameters(uri).filter(|parameter| !parameter.is_empty() && !name(parameter).starts_with("X-Amz-")).collect();
    let target = if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) };
    // Parts of a valid target make a valid target.
    target.parse().unwrap_or_else(|_| uri.clone())
}
