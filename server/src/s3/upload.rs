//! Multipart uploads: what a request says as `ops` wants it, and what `ops` says as S3 answers it.

use std::sync::Arc;

use s3s::S3Request;
use s3s::dto::*;

use crate::error::OpError;
use crate::id::WriteId;
use crate::ops::get::{GetRequest, Wanted};
use crate::ops::multipart::{self, CompleteRequest, CreateRequest, NamedPart, PartRequest};
use crate::s3::caller::authority;
use crate::s3::checksum::{self, Claims, checksum_fields, fill_checksums};
use crate::s3::encryption::{self, Answered, Takes, fill_encryption, fill_encryption_and_customer};
use crate::s3::object::{checksum_type, copy_source, names_version, part_number};
use crate::s3::{body, headers};
use crate::store::Store;

pub(super) async fn create(
    store: &Store,
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    encryption::check(&request, Takes::Encryption)?;
    let input = request.input;
    let checksum = checksum::of_upload(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    let create = CreateRequest {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        description: headers::description(&request.headers, input.metadata.as_ref())?,
        encryption: encryption::asked(&request.headers)?,
        checksum,
    };
    let (upload, encryption) = multipart::create(store, &who, create).await?;
    let mut answered = Answered::new(&encryption, &request.headers);
    let mut output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.to_string()),
        ssekms_encryption_context: answered.context.take(),
        checksum_algorithm: checksum.map(|of| ChecksumAlgorithm::from_static(checksum::name(of.algorithm))),
        checksum_type: checksum.map(|of| ChecksumType::from_static(checksum::kind_name(of.kind))),
        ..CreateMultipartUploadOutput::default()
    };
    fill_encryption_and_customer!(output, answered);
    Ok(output)
}

pub(super) async fn put_part(store: &Store, request: S3Request<UploadPartInput>) -> Result<UploadPartOutput, OpError> {
    encryption::check(&request, Takes::Key)?;
    headers::refuse_unsupported(&request.headers)?;
    let input = &request.input;
    let claims = Claims::of(&request, input.content_length)?;
    let claimed = claims.claimed();
    let part = PartRequest {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload: upload_id(&input.upload_id)?,
        number: part_number(input.part_number)?,
        algorithms: claimed.into_iter().collect(),
        takes_md5: claims.claims_md5(),
        customer_key: encryption::customer_key(&request.headers)?,
        plain_len: claims.plain_len(),
    };
    let who = authority(&request)?;
    let written = multipart::put_part(store, &who, part, body::plaintext(request.input.body), claims.accept()).await?;
    let mut output =
        UploadPartOutput { e_tag: Some(ETag::Strong(written.etag.to_string())), ..UploadPartOutput::default() };
    let answered = Answered::new(&written.encryption, &request.headers);
    fill_encryption_and_customer!(output, answered);
    fill_checksums!(output, &written.checksums);
    Ok(output)
}

pub(super) async fn copy_part(
    store: &Arc<Store>,
    request: S3Request<UploadPartCopyInput>,
) -> Result<UploadPartCopyOutput, OpError> {
    let sent = headers::sent(&request);
    encryption::check(&request, Takes::KeyAndSource)?;
    headers::refuse_unsupported(sent)?;
    let input = &request.input;
    let (bucket, key) = copy_source(&input.copy_source)?;
    let wanted = match input.copy_source_range.as_deref() {
        None => Wanted::Whole,
        Some(range) => match headers::parse_range(range) {
            Some(range @ Wanted::From(_, Some(_))) => range,
            _ => {
                return Err(OpError::InvalidArgument {
                    field: "x-amz-copy-source-range",
                    why: "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
                          are the zero-based offsets of the first and last bytes to copy"
                        .into(),
                });
            }
        },
    };
    let (names_version, conditions) = (names_version(&input.copy_source), headers::source_conditions(sent));
    let customer_key = encryption::source_customer_key(sent)?;
    let from = GetRequest { bucket, key, names_version, wanted, conditions, customer_key };
    let part = PartRequest {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload: upload_id(&input.upload_id)?,
        number: part_number(input.part_number)?,
        algorithms: vec![],
        takes_md5: false,
        customer_key: encryption::customer_key(sent)?,
        plain_len: None,
    };
    let written = multipart::copy_part(store, &*authority(&request)?, part, &from).await?;
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(written.etag.to_string())),
        last_modified: Some(headers::timestamp(written.created_ms)),
        ..CopyPartResult::default()
    };
    fill_checksums!(result, &written.checksums);
    let mut output = UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() };
    let answered = Answered::new(&written.encryption, headers::sent(&request));
    fill_encryption_and_customer!(output, answered);
    Ok(output)
}

pub(super) async fn complete(
    store: &Store,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    encryption::check(&request, Takes::Key)?;
    let customer_key = encryption::customer_key(&request.headers)?;
    let location = location(&request);
    let conditions = headers::write_conditions(headers::sent(&request))?;
    let who = authority(&request)?;
    let input = request.input;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    if named.is_empty() {
        return Err(OpError::MalformedXml("no part is named"));
    }
    let checksums = checksum::named(checksum_fields!(input))?;
    let complete = CompleteRequest {
        upload: upload_id(&input.upload_id)?,
        parts: named.into_iter().map(named_part).collect::<Result<_, _>>()?,
        conditions,
        plain_len: input.mpu_object_size.and_then(|len| u64::try_from(len).ok()),
        checksums,
        customer_key,
        bucket: input.bucket.clone(),
        key: input.key.clone(),
    };
    let written = multipart::complete(store, &who, complete).await?;
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        location,
        e_tag: Some(ETag::Strong(written.etag.to_string())),
        checksum_type: checksum_type(&written.checksums),
        ..CompleteMultipartUploadOutput::default()
    };
    let answered = Answered::new(&written.encryption, &request.headers);
    fill_encryption!(output, answered);
    fill_checksums!(output, &written.checksums);
    Ok(output)
}

/// An upload id that is none names no upload.
///
/// # Errors
/// [`OpError::NoSuchUpload`].
pub(super) fn upload_id(text: &str) -> Result<WriteId, OpError> {
    WriteId::from_hex(text).ok_or(OpError::NoSuchUpload)
}

fn named_part(part: CompletedPart) -> Result<NamedPart, OpError> {
    let checksums = checksum::named(checksum_fields!(part))?;
    let number = part.part_number.ok_or(OpError::MalformedXml("a part has no number"))?;
    let etag = part.e_tag.ok_or(OpError::MalformedXml("a part has no entity tag"))?;
    Ok(NamedPart { number: part_number(number)?, etag: headers::etag(etag.value()).to_owned(), checksums })
}

fn location(request: &S3Request<CompleteMultipartUploadInput>) -> Option<String> {
    let host = request.headers.get(http::header::HOST)?.to_str().ok()?;
    Some(format!("http://{host}/{}/{}", request.input.bucket, request.input.key))
}
