//! Which S3 code, status and message an error has: here, and nowhere else.

use http::{HeaderMap, HeaderValue, header};
use s3s::{S3Error, S3ErrorCode};
use tracing::{error, warn};

use crate::error::OpError;
use crate::s3::headers;

/// The error as S3 says it. One match with no `_` arm: a new error does not compile until it has a code.
pub(super) fn s3_error(error: OpError) -> S3Error {
    use S3ErrorCode as Code;
    let message = error.to_string();
    let code = match &error {
        OpError::NoSuchBucket => Code::NoSuchBucket,
        OpError::NoSuchKey => Code::NoSuchKey,
        OpError::NoSuchUpload => Code::NoSuchUpload,
        OpError::BucketExists => Code::BucketAlreadyOwnedByYou,
        OpError::BucketNotEmpty => Code::BucketNotEmpty,
        OpError::PreconditionFailed(_) => Code::PreconditionFailed,
        OpError::NotModified(head) => return not_modified(head),
        OpError::ConcurrentChange => Code::ConditionalRequestConflict,
        OpError::InvalidRange { plain_len } => return invalid_range(*plain_len, message),
        OpError::InvalidPartNumber => return custom("InvalidPartNumber", 416, message),
        OpError::InvalidPart(_) => Code::InvalidPart,
        OpError::InvalidPartOrder => Code::InvalidPartOrder,
        OpError::EntityTooSmall(_) => Code::EntityTooSmall,
        OpError::TooLong { .. } => Code::EntityTooLarge,
        OpError::TooShort { .. } => Code::EntityTooSmall,
        OpError::KeyTooLong => Code::KeyTooLongError,
        OpError::MetadataTooLarge => Code::MetadataTooLarge,
        OpError::InvalidRequest(_) => Code::InvalidRequest,
        OpError::InvalidArgument { .. } => Code::InvalidArgument,
        OpError::InvalidDigest => Code::InvalidDigest,
        OpError::InvalidEncryptionAlgorithm => Code::InvalidEncryptionAlgorithmError,
        OpError::InvalidStorageClass => Code::InvalidStorageClass,
        OpError::InvalidLocation => Code::InvalidLocationConstraint,
        OpError::AclNotSupported => Code::AccessControlListNotSupported,
        OpError::MissingDigest => Code::InvalidRequest,
        OpError::IncompleteBody => Code::IncompleteBody,
        OpError::BadDigest(_) => Code::BadDigest,
        OpError::ContentSha256Mismatch => return custom("XAmzContentSHA256Mismatch", 400, message),
        OpError::ChunkSignature => Code::SignatureDoesNotMatch,
        OpError::BadBody(_) => Code::InvalidRequest,
        OpError::MalformedTrailer => return custom("MalformedTrailerError", 400, message),
        OpError::MalformedXml(_) => Code::MalformedXML,
        OpError::MalformedPolicy(_) => Code::MalformedPolicy,
        OpError::NoSuchBucketPolicy => Code::NoSuchBucketPolicy,
        OpError::NoDefaultEncryption => {
            return custom("ServerSideEncryptionConfigurationNotFoundError", 404, message);
        }
        OpError::NotImplemented(_) => Code::NotImplemented,
        OpError::NoSuchVersion => Code::NoSuchVersion,
        OpError::NoSuchAccessKey => Code::InvalidAccessKeyId,
        OpError::AccessDenied(_) => Code::AccessDenied,
        OpError::KeyDisabled(_) => return custom("KMS.DisabledException", 400, message),
        OpError::NoSuchMasterKey(_) => return custom("KMS.NotFoundException", 400, message),
        OpError::KeyPendingDestruction(_) => return custom("KMS.KMSInvalidStateException", 400, message),
        OpError::CustomerKeyMissing | OpError::CustomerKeyUnwanted | OpError::CustomerKeyOfUpload => {
            Code::InvalidRequest
        }
        OpError::WrongCustomerKey => Code::AccessDenied,
        OpError::KeyDestroyed => return custom("InvalidObjectState", 403, message),
        OpError::Unavailable(_) | OpError::OutcomeUnknown(_) => {
            warn!(%error, "answered 503");
            return unavailable();
        }
        OpError::Damaged(_) => {
            error!(%error, "damage found: nothing of it was sent");
            return S3Error::with_message(Code::InternalError, "The stored data is damaged; see the server's log.");
        }
        OpError::Internal(_) => {
            error!(%error, "internal fault");
            return S3Error::with_message(Code::InternalError, "We encountered an internal error. Please try again.");
        }
    };
    S3Error::with_message(code, message)
}

/// What is seen of an error code in the result of a multi-object operation.
pub(super) fn code_and_message(error: OpError) -> (String, String) {
    let error = s3_error(error);
    (error.code().as_str().to_owned(), error.message().unwrap_or_default().to_owned())
}

fn custom(code: &'static str, status: u16, message: String) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    // Each caller's status is a valid one.
    error.set_status_code(http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST));
    error
}

fn invalid_range(plain_len: u64, message: String) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::InvalidRange, message);
    error.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{plain_len}")) {
        error.set_headers(HeaderMap::from_iter([(header::CONTENT_RANGE, value), (header::CONTENT_TYPE, XML)]));
    }
    error
}

fn not_modified(head: &crate::ops::get::Head) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(http::StatusCode::NOT_MODIFIED);
    error.set_headers(headers::validators(head));
    error
}

fn unavailable() -> S3Error {
    let message = "The service cannot do this at the moment: a part of it is away. Please try again.";
    let mut error = S3Error::with_message(S3ErrorCode::ServiceUnavailable, message);
    error.set_status_code(http::StatusCode::SERVICE_UNAVAILABLE);
    let headers = [(header::RETRY_AFTER, HeaderValue::from_static("5")), (header::CONTENT_TYPE, XML)];
    error.set_headers(HeaderMap::from_iter(headers));
    error
}

const XML: HeaderValue = HeaderValue::from_static("application/xml");
