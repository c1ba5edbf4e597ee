//! Listings: pages of objects, uploads and parts, as S3 shows them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3Request;
use s3s::dto::*;

use crate::catalog::{ListQuery, Listed, UploadMarker};
use crate::error::OpError;
use crate::ops::list::{self, ListedObject, PAGE_LEN_MAX, Page, PartQuery};
use crate::s3::caller::authority;
use crate::s3::checksum::{self, fill_checksums};
use crate::s3::headers;
use crate::s3::upload::upload_id;
use crate::store::Store;

/// What stands as it is in a URL-encoded key.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

pub(super) async fn objects_v1(
    store: &Store,
    request: S3Request<ListObjectsInput>,
) -> Result<ListObjectsOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit("max-keys", input.max_keys)?;
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.marker.clone().unwrap_or_default(),
        limit,
    };
    let rolled_up = !query.delimiter.is_empty();
    let page = list::objects(store, &who, &input.bucket, query).await?;
    let next = last_entry(&page).filter(|_| rolled_up).map(|last| encoding.apply(last));
    let truncated = page.truncated;
    let (contents, prefixes) = split(page, &encoding, true);
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
        marker: Some(encoding.apply(input.marker.unwrap_or_default())),
        next_marker: next,
        max_keys: Some(limit as i32),
        is_truncated: Some(truncated),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.filter(|text| !text.is_empty()).map(|text| encoding.apply(text)),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    })
}

pub(super) async fn objects_v2(
    store: &Store,
    request: S3Request<ListObjectsV2Input>,
) -> Result<ListObjectsV2Output, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit("max-keys", input.max_keys)?;
    let after = match &input.continuation_token {
        Some(token) => decode_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after,
        limit,
    };
    let page = list::objects(store, &who, &input.bucket, query).await?;
    let next = last_entry(&page).map(encode_token);
    let truncated = page.truncated;
    let (contents, prefixes) = split(page, &encoding, input.fetch_owner.unwrap_or(false));
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
        max_keys: Some(limit as i32),
        key_count: Some((contents.len() + prefixes.len()) as i32),
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: next,
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.filter(|text| !text.is_empty()).map(|text| encoding.apply(text)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|text| encoding.apply(text)),
        ..ListObjectsV2Output::default()
    })
}

pub(super) async fn uploads(
    store: &Store,
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let limit = limit("max-uploads", input.max_uploads)?;
    let query = ListQuery {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: String::new(),
        limit,
    };
    let key = input.key_marker.clone().unwrap_or_default();
    // S3 looks at the upload id only together with a key.
    let upload = input.upload_id_marker.as_deref().filter(|text| !key.is_empty() && !text.is_empty());
    let upload = upload
        .map(upload_id)
        .transpose()
        .map_err(|_| OpError::InvalidArgument { field: "upload-id-marker", why: "Invalid uploadId marker".into() })?;
    let page = list::uploads(store, &who, &input.bucket, query, UploadMarker { key, upload }).await?;
    let next = page.entries.last().filter(|_| page.truncated).map(|last| match last {
        Listed::Row((row, _)) => (row.key.clone(), Some(row.write_id.to_string())),
        Listed::Prefix(prefix) => (prefix.clone(), None),
    });
    let (mut rows, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Listed::Row((row, record)) => rows.push(MultipartUpload {
                key: Some(encoding.apply(row.key)),
                upload_id: Some(row.write_id.to_string()),
                initiated: Some(headers::timestamp(row.created_ms)),
                initiator: Some(Initiator { id: Some(headers::OWNER.into()), display_name: None }),
                owner: Some(owner()),
                storage_class: Some(StorageClass::from(record.description.storage_class.unwrap_or(STANDARD.into()))),
                checksum_algorithm: record
                    .checksum
                    .map(|checksum| ChecksumAlgorithm::from_static(checksum::name(checksum.algorithm))),
                checksum_type: record
                    .checksum
                    .map(|checksum| ChecksumType::from_static(checksum::kind_name(checksum.kind))),
            }),
            Listed::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoding.apply(prefix)) }),
        }
    }
    let (next_key, next_upload) = next.unzip();
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        key_marker: Some(encoding.apply(input.key_marker.unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: next_key.map(|key| encoding.apply(key)),
        next_upload_id_marker: next_upload.flatten(),
        prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
        delimiter: input.delimiter.filter(|text| !text.is_empty()).map(|text| encoding.apply(text)),
        max_uploads: Some(limit as i32),
        is_truncated: Some(page.truncated),
        uploads: Some(rows),
        common_prefixes: Some(prefixes),
        encoding_type: input.encoding_type,
        ..ListMultipartUploadsOutput::default()
    })
}

pub(super) async fn parts(store: &Store, request: S3Request<ListPartsInput>) -> Result<ListPartsOutput, OpError> {
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let input = request.input;
    let limit = limit("max-parts", input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let after = u16::try_from(marker).map_err(|_| OpError::InvalidArgument {
        field: "part-number-marker",
        why: "must be an integer between 0 and 10000".into(),
    })?;
    let upload = upload_id(&input.upload_id)?;
    let query = PartQuery { bucket: &input.bucket, key: &input.key, upload, after, limit };
    let page = list::parts(store, &who, query).await?;
    let next = page.parts.last().filter(|_| page.truncated).map(|(row, _)| i32::from(row.number));
    let shown = page.parts.into_iter().map(|(row, record)| {
        let mut part = Part {
            part_number: Some(i32::from(row.number)),
            last_modified: Some(headers::timestamp(row.created_ms)),
            e_tag: Some(ETag::Strong(record.etag.to_string())),
            size: i64::try_from(record.plain_len).ok(),
            ..Part::default()
        };
        fill_checksums!(part, &record.checksums);
        part
    });
    Ok(ListPartsOutput {
        parts: Some(shown.collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(marker),
        next_part_number_marker: next,
        max_parts: Some(limit as i32),
        is_truncated: Some(page.truncated),
        owner: Some(owner()),
        initiator: Some(Initiator { id: Some(headers::OWNER.into()), display_name: None }),
        storage_class: Some(StorageClass::from(page.upload.description.storage_class.unwrap_or(STANDARD.into()))),
        checksum_algorithm: page.upload.checksum.map(|of| ChecksumAlgorithm::from_static(checksum::name(of.algorithm))),
        checksum_type: page.upload.checksum.map(|of| ChecksumType::from_static(checksum::kind_name(of.kind))),
        ..ListPartsOutput::default()
    })
}

const STANDARD: &str = "STANDARD";

/// The owner of everything.
pub(super) fn owner() -> Owner {
    Owner { id: Some(headers::OWNER.into()), display_name: None }
}

fn limit(field: &'static str, asked: Option<i32>) -> Result<usize, OpError> {
    let asked = asked.unwrap_or(PAGE_LEN_MAX as i32);
    let asked = usize::try_from(asked)
        .map_err(|_| OpError::InvalidArgument { field, why: "must be an integer between 0 and 2147483647".into() })?;
    Ok(asked.min(PAGE_LEN_MAX))
}

fn last_entry(page: &Page<ListedObject>) -> Option<String> {
    page.entries.last().filter(|_| page.truncated).map(|last| match last {
        Listed::Row(object) => object.key.clone(),
        Listed::Prefix(prefix) => prefix.clone(),
    })
}

fn split(page: Page<ListedObject>, encoding: &Encoding, with_owner: bool) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Listed::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoding.apply(prefix)) }),
            Listed::Row(ListedObject { key, created_ms, record }) => objects.push(Object {
                key: Some(encoding.apply(key)),
                last_modified: Some(headers::timestamp(created_ms)),
                e_tag: Some(ETag::Strong(record.etag.to_string())),
                size: i64::try_from(record.plain_len).ok(),
                owner: with_owner.then(owner),
                storage_class: Some(ObjectStorageClass::from(
                    record.description.storage_class.unwrap_or(STANDARD.into()),
                )),
                checksum_type: crate::s3::object::checksum_type(&record.checksums),
                checksum_algorithm: Some(
                    record
                        .checksums
                        .iter()
                        .map(|checksum| ChecksumAlgorithm::from_static(checksum::name(checksum.algorithm)))
                        .collect(),
                ),
                ..Object::default()
            }),
        }
    }
    (objects, prefixes)
}

/// A continuation token is the last entry, in a form that nobody takes for a key.
fn encode_token(last: String) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(last)
}

fn decode_token(token: &str) -> Result<String, OpError> {
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok();
    bytes.filter(|bytes| !bytes.is_empty()).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        OpError::InvalidArgument {
            field: "continuation-token",
            why: "The continuation token provided is incorrect".into(),
        }
    })
}

/// How names are written into the XML of a listing.
enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    fn of(asked: Option<&EncodingType>) -> Result<Self, OpError> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => {
                let why = "Invalid Encoding Method specified in Request".into();
                Err(OpError::InvalidArgument { field: "encoding-type", why })
            }
        }
    }

    fn apply(&self, name: String) -> String {
        match self {
            Self::Plain => name,
            Self::Url => utf8_percent_encode(&name, ENCODED).to_string(),
        }
    }
}
