//! The calls about encryption that the protocol library does not know, or not whole: PutBucketEncryption,
//! GetBucketEncryption, UpdateObjectEncryption.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use s3s::{Body, S3Request, S3Response};

use crate::audit;
use crate::error::OpError;
use crate::ops::bucket;
use crate::ops::update_encryption::{UpdateRequest, update};
use crate::policy::Action;
use crate::s3::authenticated::{name, parameters};
use crate::s3::caller::authority;
use crate::s3::{bucket_encryption, headers, object_encryption};
use crate::store::Store;

/// Whether a request is such a call.
pub(super) fn is_match(method: &Method, uri: &Uri) -> bool {
    let calls = *method == Method::GET || *method == Method::PUT;
    calls && parameters(uri).any(|parameter| name(parameter) == "encryption")
}

/// Answers it. Its document has been read, and held against its digest.
///
/// # Errors
/// As the operation has them.
pub(super) async fn answer(store: &Arc<Store>, request: S3Request<Body>) -> Result<S3Response<Body>, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let (bucket, key) = target(&request.uri)?;
    match (request.method.clone(), key) {
        (Method::GET, None) => {
            let config = bucket::config(store, &who, &bucket, Action::GetEncryptionConfiguration).await?;
            Ok(xml(bucket_encryption::document(&config)?))
        }
        (Method::PUT, None) => {
            let wanted = bucket_encryption::parse(&document(request)?)?;
            uninterrupted(store, async move |store| {
                bucket::configure(&store, &who, &bucket, Action::PutEncryptionConfiguration, |config| {
                    config.default_encryption = wanted.default_encryption;
                    config.blocks_sse_c = wanted.blocks_sse_c.unwrap_or(config.blocks_sse_c);
                })
                .await
            })
            .await
        }
        (Method::PUT, Some(key)) => {
            headers::refuse_version(version_id(&request.uri).as_deref())?;
            let object_encryption::Wanted { key_id, bucket_key } = object_encryption::parse(&document(request)?)?;
            let wanted = UpdateRequest { bucket, key, key_id, bucket_key };
            uninterrupted(store, async move |store| update(&store, &who, wanted).await).await
        }
        _ => Err(OpError::NotImplemented("this operation on the encryption of an object")),
    }
}

/// Runs to its end whatever becomes of the client, and answers with nothing but success.
async fn uninterrupted<F>(
    store: &Arc<Store>,
    operation: impl FnOnce(Arc<Store>) -> F,
) -> Result<S3Response<Body>, OpError>
where
    F: Future<Output = Result<(), OpError>> + Send + 'static,
{
    let outcome = audit::spawn(operation(store.clone())).await;
    outcome.unwrap_or_else(|_| Err(OpError::Internal("an operation panicked".into())))?;
    let mut answer = S3Response::new(Body::empty());
    answer.status = Some(StatusCode::OK);
    Ok(answer)
}

fn version_id(uri: &Uri) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "versionId").map(|(_, value)| value.into_owned())
}

/// The bucket and key that a path names. The guard has decoded it already.
fn target(uri: &Uri) -> Result<(String, Option<String>), OpError> {
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| OpError::InvalidRequest("the path is not UTF-8".into()))
    };
    let path = uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    Ok((decode(bucket)?, Some(decode(key)?).filter(|key| !key.is_empty())))
}

/// The document of a request whose body is in memory.
fn document(request: S3Request<Body>) -> Result<Vec<u8>, OpError> {
    let bytes = request.input.bytes().ok_or(OpError::MalformedXml("the document cannot be read"))?;
    Ok(bytes.to_vec())
}

fn xml(document: String) -> S3Response<Body> {
    let mut answer = S3Response::new(Body::from(document));
    answer.headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
    answer
}
