//! Objects: what a request says as `ops` wants it, and what `ops` says as S3 answers it.

use std::sync::Arc;

use futures::TryStreamExt;
use s3s::dto::*;
use s3s::{S3Request, S3Response};

use crate::error::OpError;
use crate::ops::copy::CopyRequest;
use crate::ops::digest::{Checksum, ChecksumKind};
use crate::ops::get::{GetRequest, Head, Wanted};
use crate::ops::multipart::PART_NUMBER_MAX;
use crate::ops::put::PutRequest;
use crate::ops::{self};
use crate::pipeline::Plaintext;
use crate::s3::caller::authority;
use crate::s3::checksum::{self, Claims, fill_checksums};
use crate::s3::encryption::{self, Answered, Takes, fill_encryption_and_customer};
use crate::s3::{body, headers};
use crate::store::Store;

pub(super) async fn put(store: &Store, request: S3Request<PutObjectInput>) -> Result<PutObjectOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    encryption::check(&request, Takes::Encryption)?;
    let input = &request.input;
    let claims = Claims::of(&request, input.content_length)?;
    let write = PutRequest {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        description: headers::description(&request.headers, input.metadata.as_ref())?,
        encryption: encryption::asked(&request.headers)?,
        conditions: headers::write_conditions(headers::sent(&request))?,
        algorithms: claims.algorithms(),
        takes_md5: claims.claims_md5(),
        plain_len: claims.plain_len(),
    };
    let who = authority(&request)?;
    let written = ops::put::put(store, &who, write, body::plaintext(request.input.body), claims.accept()).await?;
    let mut answered = Answered::new(&written.encryption, &request.headers);
    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(written.etag.to_string())),
        ssekms_encryption_context: answered.context.take(),
        checksum_type: checksum_type(&written.checksums),
        ..PutObjectOutput::default()
    };
    fill_encryption_and_customer!(output, answered);
    fill_checksums!(output, &written.checksums);
    Ok(output)
}

pub(super) async fn get(
    store: &Arc<Store>,
    request: S3Request<GetObjectInput>,
) -> Result<S3Response<GetObjectOutput>, OpError> {
    let input = &request.input;
    headers::refuse_version(input.version_id.as_deref())?;
    let mut read = read(&request, &input.bucket, &input.key, input.part_number)?;
    read.names_version = input.version_id.is_some();
    let (head, plaintext) = ops::get::get(store, &*authority(&request)?, &read).await?;
    let described = Described::of(&head, input.checksum_mode.is_some());
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".into()),
        body: Some(streaming(plaintext)),
        cache_control: described.cache_control,
        content_disposition: described.content_disposition,
        content_encoding: described.content_encoding,
        content_language: described.content_language,
        content_length: Some(described.content_length),
        content_range: described.content_range,
        content_type: Some(described.content_type),
        e_tag: Some(described.e_tag),
        expires: described.expires,
        last_modified: Some(described.last_modified),
        metadata: described.metadata,
        parts_count: described.parts_count.filter(|_| matches!(read.wanted, Wanted::Part(_))),
        storage_class: described.storage_class,
        website_redirect_location: described.website_redirect,
        checksum_type: described.checksum_type,
        ..GetObjectOutput::default()
    };
    let answered = Answered::new(&head.record.encryption, headers::sent(&request));
    fill_encryption_and_customer!(output, answered);
    fill_checksums!(output, &described.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn head(
    store: &Store,
    request: S3Request<HeadObjectInput>,
) -> Result<S3Response<HeadObjectOutput>, OpError> {
    let input = &request.input;
    headers::refuse_version(input.version_id.as_deref())?;
    let mut read = read(&request, &input.bucket, &input.key, input.part_number)?;
    read.names_version = input.version_id.is_some();
    let head = ops::get::head(store, &*authority(&request)?, &read).await?;
    let described = Described::of(&head, input.checksum_mode.is_some());
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        cache_control: input.response_cache_control.clone().or(described.cache_control),
        content_disposition: input.response_content_disposition.clone().or(described.content_disposition),
        content_encoding: input.response_content_encoding.clone().or(described.content_encoding),
        content_language: input.response_content_language.clone().or(described.content_language),
        content_length: Some(described.content_length),
        content_range: described.content_range,
        content_type: Some(input.response_content_type.clone().unwrap_or(described.content_type)),
        e_tag: Some(described.e_tag),
        expires: input.response_expires.clone().or(described.expires),
        last_modified: Some(described.last_modified),
        metadata: described.metadata,
        parts_count: described.parts_count.filter(|_| matches!(read.wanted, Wanted::Part(_))),
        storage_class: described.storage_class,
        website_redirect_location: described.website_redirect,
        checksum_type: described.checksum_type,
        ..HeadObjectOutput::default()
    };
    let answered = Answered::new(&head.record.encryption, headers::sent(&request));
    fill_encryption_and_customer!(output, answered);
    fill_checksums!(output, &described.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn copy(store: &Arc<Store>, request: S3Request<CopyObjectInput>) -> Result<CopyObjectOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    encryption::check(&request, Takes::EncryptionAndSource)?;
    let input = &request.input;
    let (source_bucket, source_key) = copy_source(&input.copy_source)?;
    let replaces = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some("COPY") => false,
        Some("REPLACE") => true,
        Some(other) => {
            return Err(OpError::InvalidArgument {
                field: "x-amz-metadata-directive",
                why: format!("unknown value {other}"),
            });
        }
    };
    let said = headers::description(&request.headers, input.metadata.as_ref())?;
    let copy = CopyRequest {
        source_bucket,
        source_key,
        names_version: names_version(&input.copy_source),
        source_conditions: headers::source_conditions(headers::sent(&request)),
        source_customer_key: encryption::source_customer_key(&request.headers)?,
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        conditions: headers::write_conditions(headers::sent(&request))?,
        storage_class: said.storage_class.clone(),
        website_redirect: said.headers.website_redirect.clone(),
        description: replaces.then_some(said),
        encryption: encryption::asked(&request.headers)?,
        algorithm: input.checksum_algorithm.as_ref().map(|name| checksum::by_name(name.as_str())).transpose()?,
    };
    let written = ops::copy::copy(store, &*authority(&request)?, copy).await?;
    let mut result = CopyObjectResult {
        e_tag: Some(ETag::Strong(written.etag.to_string())),
        last_modified: Some(headers::timestamp(written.created_ms)),
        checksum_type: checksum_type(&written.checksums),
        ..CopyObjectResult::default()
    };
    fill_checksums!(result, &written.checksums);
    let mut answered = Answered::new(&written.encryption, &request.headers);
    let mut output = CopyObjectOutput {
        copy_object_result: Some(result),
        ssekms_encryption_context: answered.context.take(),
        ..CopyObjectOutput::default()
    };
    fill_encryption_and_customer!(output, answered);
    Ok(output)
}

/// The bucket and key that a copy reads.
///
/// # Errors
/// Access points and versions, of which there are none.
pub(super) fn copy_source(source: &CopySource) -> Result<(String, String), OpError> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            headers::refuse_version(version_id.as_deref())?;
            Ok((bucket.to_string(), key.to_string()))
        }
        _ => Err(OpError::NotImplemented("access points")),
    }
}

/// Whether the request names a version of what it copies.
pub(super) fn names_version(source: &CopySource) -> bool {
    matches!(source, CopySource::Bucket { version_id: Some(_), .. })
}

fn read<T>(request: &S3Request<T>, bucket: &str, key: &str, part: Option<i32>) -> Result<GetRequest, OpError> {
    let sent = headers::sent(request);
    encryption::check(request, Takes::Key)?;
    headers::refuse_unsupported(sent)?;
    let range = headers::range(sent);
    let wanted = match (part.map(part_number).transpose()?, range) {
        (None, range) => range,
        (Some(part), Wanted::Whole) => Wanted::Part(part),
        (Some(_), _) => {
            return Err(OpError::InvalidRequest(
                "Cannot specify both Range header and partNumber query parameter".into(),
            ));
        }
    };
    Ok(GetRequest {
        bucket: bucket.into(),
        key: key.into(),
        names_version: false,
        wanted,
        conditions: headers::conditions(sent),
        customer_key: encryption::customer_key(sent)?,
    })
}

/// A part number between 1 and 10,000.
///
/// # Errors
/// [`OpError::InvalidArgument`].
pub(super) fn part_number(number: i32) -> Result<u16, OpError> {
    let number = u16::try_from(number).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| OpError::InvalidArgument {
        field: "partNumber",
        why: "Part number must be an integer between 1 and 10000, inclusive".into(),
    })
}

/// The kind of the checksums, which is one for all of them.
pub(super) fn checksum_type(checksums: &[Checksum]) -> Option<ChecksumType> {
    checksums.first().map(|checksum| ChecksumType::from_static(checksum::kind_name(checksum.kind)))
}

fn streaming(plaintext: Plaintext) -> StreamingBlob {
    // The HTTP library drops what it has not flushed when a body fails, the status line too: let it flush first.
    let flushed = plaintext.or_else(|error| async {
        tokio::task::yield_now().await;
        Err(error)
    });
    StreamingBlob::wrap(sync_wrapper::SyncStream::new(Box::pin(flushed)))
}

/// What GET and HEAD both answer about an object.
struct Described {
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_length: i64,
    content_range: Option<String>,
    content_type: String,
    e_tag: ETag,
    expires: Option<Timestamp>,
    last_modified: Timestamp,
    metadata: Option<Metadata>,
    parts_count: Option<i32>,
    storage_class: Option<StorageClass>,
    website_redirect: Option<String>,
    checksum_type: Option<ChecksumType>,
    checksums: Vec<Checksum>,
}

impl Described {
    fn of(head: &Head, with_checksums: bool) -> Self {
        let record = &head.record;
        let description = record.description.clone();
        let said = description.headers;
        let checksums = match (&head.part_checksums, head.partial) {
            _ if !with_checksums => vec![],
            (Some(part), _) if record.checksums.iter().any(|whole| whole.kind == ChecksumKind::Composite) => {
                part.clone()
            }
            (_, true) => vec![],
            (_, false) => record.checksums.clone(),
        };
        let len = head.range.end - head.range.start;
        let last = head.range.end.saturating_sub(1);
        let content_range = format!("bytes {}-{last}/{}", head.range.start, record.plain_len);
        let parse_date = |text: String| Timestamp::parse(TimestampFormat::HttpDate, &text).ok();
        Self {
            cache_control: said.cache_control,
            content_disposition: said.content_disposition,
            content_encoding: said.content_encoding,
            content_language: said.content_language,
            content_length: i64::try_from(len).unwrap_or(i64::MAX),
            // An empty part or object has no byte to name.
            content_range: (head.partial && len > 0).then_some(content_range),
            content_type: said.content_type.unwrap_or_else(|| "binary/octet-stream".into()),
            e_tag: ETag::Strong(record.etag.to_string()),
            expires: said.expires.and_then(parse_date),
            last_modified: headers::timestamp(head.created_ms),
            metadata: (!description.metadata.is_empty()).then(|| description.metadata.into_iter().collect()),
            parts_count: record.part_count().and_then(|count| i32::try_from(count).ok()),
            storage_class: description.storage_class.map(StorageClass::from),
            website_redirect: said.website_redirect,
            checksum_type: checksum_type(&checksums),
            checksums,
        }
    }
}
