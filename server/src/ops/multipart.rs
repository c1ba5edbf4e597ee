//! Multipart uploads: opened with one data key, filled part by part, and turned into one version.

use std::sync::Arc;

use crate::audit::Subject;
use crate::catalog::encryption::Encryption;
use crate::catalog::record::{
    Body, Description, ObjectRecord, PartRecord, Place, UploadChecksum, UploadRecord, part_table_digest,
};
use crate::catalog::{PartRow, UploadRow, VersionRow};
use crate::error::OpError;
use crate::id::WriteId;
use crate::key::{CustomerKey, ObjectPlace};
use crate::ops::condition::Conditions;
use crate::ops::digest::{Algorithm, Checksum, ChecksumKind, Digests, Etag};
use crate::ops::encryption::{Chosen, allow_decrypt, choose, naming_key};
use crate::ops::get::{GetRequest, Wanted, source};
use crate::ops::put::{Accept, CREATES_OBJECT, Change, Made, Written, erase_displaced, etag, lost, make_current};
use crate::ops::{OpenBucket, check_key};
use crate::pipeline::{self, Plaintext, Sealed};
use crate::policy::encryption::Asked;
use crate::policy::{Action, Authority};
use crate::store::Store;

/// Highest part number, and so the largest number of parts.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Least length of a part that is not the last: 5 MiB.
const PART_LEN_MIN: u64 = 5 << 20;

/// What to open an upload for.
pub struct CreateRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// What the client says about the object.
    pub description: Description,
    /// As asked for; without, the bucket's default.
    pub encryption: Asked,
    /// The checksum of its parts and of the whole.
    pub checksum: Option<UploadChecksum>,
}

/// Opens an upload: its data key is kept, then its row.
///
/// # Errors
/// [`OpError::NoSuchBucket`]; [`OpError::Unavailable`] while the HSM is away.
pub async fn create(store: &Store, who: &Authority, request: CreateRequest) -> Result<(WriteId, Encryption), OpError> {
    check_key(&request.key)?;
    let who = naming_key(store, who.knowing(CREATES_OBJECT, "false"), &request.encryption).await?;
    let bucket = OpenBucket::open_for_object(store, &who, &request.bucket, Action::PutObject, &request.key).await?;
    let Chosen { encryption, customer } = choose(store, &who, &bucket, request.encryption).await?;
    let created_ms = store.clock.now_ms();
    let write_id = WriteId::fresh(created_ms)?;
    let place = ObjectPlace { bucket: bucket.row.id, key: &request.key, write_id };
    let fresh = store.keys.fresh_data_keys(&bucket.row, place, &encryption, customer.as_ref()).await?;
    let made = Made { blobs: vec![], keys: fresh.ids() };
    let outcome = async {
        let (encryption, facts) = (encryption.clone(), who.facts_of_upload());
        let record = UploadRecord { description: request.description, encryption, checksum: request.checksum, facts };
        let record = bucket.records.seal(Place::Upload(&request.key, write_id), &record)?;
        let kept = store.keys.keep_fresh(&fresh, Subject::object(&bucket.row.name, &request.key)).await?;
        let (bucket, key) = (bucket.row.id, request.key.clone());
        let row = UploadRow { bucket, key, write_id, created_ms, data_keys: kept.ids(), record };
        Ok(store.catalog.create_upload(store.session, row).await?)
    };
    made.cleared_on_failure(store, outcome.await).await?;
    Ok((write_id, encryption))
}

/// Which part of which upload.
pub struct PartRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The upload.
    pub upload: WriteId,
    /// 1 to [`PART_NUMBER_MAX`].
    pub number: u16,
    /// Checksums to take and to store.
    pub algorithms: Vec<Algorithm>,
    /// Whether the body's MD5 is to be taken, whatever its ETag will be.
    pub takes_md5: bool,
    /// The key that the upload was opened with, where that is a customer's.
    pub customer_key: Option<CustomerKey>,
    /// Announced length in bytes, where it is known.
    pub plain_len: Option<u64>,
}

/// Uploads one part, replacing the one of the same number.
///
/// # Errors
/// [`OpError::NoSuchUpload`], also when the upload ends meanwhile; the body's own. Nothing is stored then.
pub async fn put_part(
    store: &Store,
    who: &Authority,
    mut request: PartRequest,
    body: Plaintext,
    accept: Accept,
) -> Result<Written, OpError> {
    check_key(&request.key)?;
    let open = OpenUpload::open(store, &request.bucket, &request.key, request.upload).await;
    let open = allowed(store, who, &request.bucket, &request.key, open, "false").await?;
    open.add_algorithms(&mut request.algorithms)?;
    let (bucket, place) = (&open.bucket, open.place());
    let encryption = &open.record.encryption;
    open.check_customer_key(request.customer_key.as_ref())?;
    let customer = request.customer_key.as_ref();
    let keys = store.keys.data_keys(&open.row.data_keys, &bucket.row.name, place, encryption, customer).await?;
    let keys = keys.ok_or_else(|| OpError::damaged("the data key of an open upload is missing"))?;

    let blob = store.fresh_blob()?;
    let made = Made { blobs: vec![blob], keys: vec![] };
    let outcome = async {
        let layers = store.keys.layers(&keys, place, request.number);
        let digests = Digests::new(&request.algorithms, request.takes_md5 || encryption.has_md5_etag());
        let (stream, sealed) = pipeline::seal(body, &layers, request.plain_len, digests, accept)?;
        let durable = store.blobs.write(blob, stream).await?;
        let Sealed { stream, digested } = sealed.await.ok_or_else(lost)?;

        let etag = etag(encryption, &digested)?;
        let record = PartRecord { plain_len: digested.len, etag, checksums: digested.checksums, stream };
        let sealed = bucket.records.seal(Place::Part(&request.key, request.upload, request.number), &record)?;
        let created_ms = store.clock.now_ms();
        let row = PartRow { number: request.number, created_ms, blob: durable.name(), record: sealed };
        let condemned = store.catalog.put_part(store.session, request.upload, row).await?;
        erase_displaced(store, condemned).await?;
        Ok(Written { etag, checksums: record.checksums, encryption: encryption.clone(), created_ms })
    };
    made.cleared_on_failure(store, outcome.await).await
}

/// Uploads a part that is read from another object.
///
/// # Errors
/// Those of a GET of the source and of [`put_part`].
pub async fn copy_part(
    store: &Arc<Store>,
    who: &Authority,
    mut request: PartRequest,
    from: &GetRequest,
) -> Result<Written, OpError> {
    let (head, plaintext) = source(store, who, from).await?;
    let plain_len = head.record.plain_len;
    if matches!(from.wanted, Wanted::From(_, Some(last)) if last >= plain_len) {
        return Err(OpError::InvalidArgument {
            field: "x-amz-copy-source-range",
            why: format!("Range specified is not valid for source object of size: {plain_len}"),
        });
    }
    request.plain_len = Some(head.range.end - head.range.start);
    put_part(store, who, request, plaintext, Box::new(|_| Ok(()))).await
}

/// A part as the client names it when it completes.
pub struct NamedPart {
    /// Its number.
    pub number: u16,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// The checksums that the client says it has.
    pub checksums: Vec<(Algorithm, Vec<u8>)>,
}

/// What to complete, and out of what.
pub struct CompleteRequest {
    /// Name of the bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The upload.
    pub upload: WriteId,
    /// In ascending order.
    pub parts: Vec<NamedPart>,
    /// On the current version.
    pub conditions: Conditions,
    /// Length of the whole in bytes, where the client says it.
    pub plain_len: Option<u64>,
    /// Checksums of the whole that the client says it has.
    pub checksums: Vec<(Algorithm, Vec<u8>)>,
    /// The key that the upload was opened with, where the client sends it again; it is not needed.
    pub customer_key: Option<CustomerKey>,
}

/// Turns an upload into the current version. Asked again after it succeeded, it answers the same.
///
/// # Errors
/// [`OpError::InvalidPart`], [`OpError::InvalidPartOrder`], [`OpError::EntityTooSmall`], [`OpError::NoSuchUpload`], the
/// conditions'. The upload stays open then.
pub async fn complete(store: &Store, who: &Authority, request: CompleteRequest) -> Result<Written, OpError> {
    check_key(&request.key)?;
    let open = OpenUpload::open(store, &request.bucket, &request.key, request.upload).await;
    let open = match allowed(store, who, &request.bucket, &request.key, open, "true").await {
        Err(OpError::NoSuchUpload) => return completed_before(store, &request).await,
        open => open?,
    };
    open.bucket.allow_to_match(store, who, &request.conditions, &request.key)?;
    if request.customer_key.is_some() {
        open.check_customer_key(request.customer_key.as_ref())?;
    }
    let parts = open.chosen_parts(store, &request).await?;
    let record = open.object_record(&parts, &request)?;
    let row = VersionRow {
        bucket: open.bucket.row.id,
        key: request.key.clone(),
        write_id: request.upload,
        created_ms: store.clock.now_ms(),
        data_keys: open.row.data_keys.clone(),
        blob: None,
        record: open.bucket.records.seal(Place::Object(&request.key, request.upload), &record)?,
        generation: 0,
    };
    let created_ms = row.created_ms;
    let rows: Vec<PartRow> = parts.into_iter().map(|(row, _)| row).collect();
    let change = Change::Complete(row, rows);
    let condemned = make_current(store, &open.bucket, &request.conditions, &request.key, change).await?;
    erase_displaced(store, condemned).await?;
    Ok(Written { etag: record.etag, checksums: record.checksums, encryption: record.encryption, created_ms })
}

/// Closes an upload; its key is erased before this returns.
///
/// # Errors
/// [`OpError::NoSuchUpload`].
pub async fn abort(store: &Store, who: &Authority, bucket: &str, key: &str, upload: WriteId) -> Result<(), OpError> {
    let bucket = OpenBucket::open_for_object(store, who, bucket, Action::AbortMultipartUpload, key).await?;
    let condemned = store.catalog.abort_upload(store.session, bucket.row.id, key, upload).await?;
    erase_displaced(store, condemned).await
}

/// The answer to a Complete whose first answer got lost: the object is there, made of this very upload.
async fn completed_before(store: &Store, request: &CompleteRequest) -> Result<Written, OpError> {
    let bucket = OpenBucket::open(store, &request.bucket).await?;
    let version = bucket.version(store, &request.key).await?;
    let version = version.filter(|version| version.row.write_id == request.upload).ok_or(OpError::NoSuchUpload)?;
    let record = version.record;
    let created_ms = version.row.created_ms;
    Ok(Written { etag: record.etag, checksums: record.checksums, encryption: record.encryption, created_ms })
}

/// The upload, if the caller may add to it: judged by what it was opened with, or, where it is not open, by the request.
async fn allowed(
    store: &Store,
    who: &Authority,
    bucket: &str,
    key: &str,
    upload: Result<OpenUpload, OpError>,
    creates_object: &str,
) -> Result<OpenUpload, OpError> {
    let who = who.knowing(CREATES_OBJECT, creates_object);
    match upload {
        Ok(upload) => {
            let who = who.within_upload(&upload.record.facts);
            upload.bucket.allow_object(store, &who, Action::PutObject, key)?;
            allow_decrypt(store, &who, &upload.record.encryption).await?;
            Ok(upload)
        }
        Err(OpError::NoSuchUpload) => {
            OpenBucket::open_for_object(store, &who, bucket, Action::PutObject, key).await?;
            Err(OpError::NoSuchUpload)
        }
        Err(error) => Err(error),
    }
}

/// An open upload, its record opened.
struct OpenUpload {
    bucket: OpenBucket,
    row: UploadRow,
    record: UploadRecord,
}

impl OpenUpload {
    async fn open(store: &Store, bucket: &str, key: &str, upload: WriteId) -> Result<Self, OpError> {
        let bucket = OpenBucket::open(store, bucket).await?;
        let row = store.catalog.upload(bucket.row.id, key, upload).await?.ok_or(OpError::NoSuchUpload)?;
        let record = bucket.records.open(Place::Upload(key, upload), &row.record)?;
        Ok(Self { bucket, row, record })
    }

    fn place(&self) -> ObjectPlace<'_> {
        ObjectPlace { bucket: self.row.bucket, key: &self.row.key, write_id: self.row.write_id }
    }

    /// A part brings the customer's key of its upload, and no other.
    fn check_customer_key(&self, key: Option<&CustomerKey>) -> Result<(), OpError> {
        CustomerKey::check(key, &self.record.encryption).map_err(|error| match error {
            OpError::CustomerKeyMissing | OpError::CustomerKeyUnwanted | OpError::WrongCustomerKey => {
                OpError::CustomerKeyOfUpload
            }
            error => error,
        })
    }

    /// Every part carries the upload's checksum, whatever its own request says, and CRC-64/NVME where it says none.
    fn add_algorithms(&self, algorithms: &mut Vec<Algorithm>) -> Result<(), OpError> {
        let wanted = self.record.checksum.map(|checksum| checksum.algorithm);
        match (wanted, algorithms.first()) {
            (Some(wanted), Some(claimed)) if *claimed != wanted => Err(OpError::InvalidRequest(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {wanted:?}, actual checksum Type: {claimed:?}"
            ))),
            (wanted, _) => {
                let wanted = wanted.unwrap_or(Algorithm::Crc64Nvme);
                if !algorithms.contains(&wanted) {
                    algorithms.push(wanted);
                }
                Ok(())
            }
        }
    }

    /// The parts that the client names, each found as it was named.
    async fn chosen_parts(
        &self,
        store: &Store,
        request: &CompleteRequest,
    ) -> Result<Vec<(PartRow, PartRecord)>, OpError> {
        if !request.parts.is_sorted_by(|one, next| one.number < next.number) {
            return Err(OpError::InvalidPartOrder);
        }
        let rows = store.catalog.parts(request.upload, 0, usize::from(PART_NUMBER_MAX)).await?;
        let mut rows: std::collections::HashMap<u16, PartRow> = rows.into_iter().map(|row| (row.number, row)).collect();
        let composite = self.record.checksum.is_some_and(|checksum| checksum.kind == ChecksumKind::Composite);
        let mut chosen = Vec::with_capacity(request.parts.len());
        for named in &request.parts {
            if composite && named.checksums.is_empty() {
                return Err(OpError::InvalidRequest(format!(
                    "The upload was created with a checksum over its parts: name that of part {}, too",
                    named.number
                )));
            }
            let row = rows.remove(&named.number).ok_or(OpError::InvalidPart(named.number))?;
            let place = Place::Part(&self.row.key, self.row.write_id, row.number);
            let part: PartRecord = self.bucket.records.open(place, &row.record)?;
            if part.etag.to_string() != named.etag || !named.checksums.iter().all(|claim| has(&part.checksums, claim)) {
                return Err(OpError::InvalidPart(named.number));
            }
            chosen.push((row, part));
        }
        let (_, all_but_last) = chosen.split_last().ok_or(OpError::InvalidRequest("no part is named".into()))?;
        match all_but_last.iter().find(|(_, part)| part.plain_len < PART_LEN_MIN) {
            Some((row, _)) => Err(OpError::EntityTooSmall(row.number)),
            None => Ok(chosen),
        }
    }

    fn object_record(
        &self,
        parts: &[(PartRow, PartRecord)],
        request: &CompleteRequest,
    ) -> Result<ObjectRecord, OpError> {
        let plain_len = parts.iter().map(|(_, part)| part.plain_len).sum();
        if request.plain_len.is_some_and(|claimed| claimed != plain_len) {
            return Err(OpError::InvalidRequest(format!(
                "the parts make up {plain_len} bytes, not x-amz-mp-object-size"
            )));
        }
        let checksums = self.object_checksum(parts)?;
        if !request.checksums.iter().all(|claim| has(&checksums, claim)) {
            return Err(OpError::BadDigest("checksum"));
        }
        Ok(ObjectRecord {
            plain_len,
            etag: Etag::of_parts(parts.iter().map(|(_, part)| part.etag)),
            checksums,
            description: self.record.description.clone(),
            encryption: self.record.encryption.clone(),
            body: Body::Parts {
                count: parts.len() as u32,
                table: part_table_digest(parts.iter().map(|(row, part)| (row.number, part))),
            },
        })
    }

    /// Of the algorithm and kind that the upload was opened with; CRC-64/NVME over the whole where it names none.
    fn object_checksum(&self, parts: &[(PartRow, PartRecord)]) -> Result<Vec<Checksum>, OpError> {
        let default = UploadChecksum { algorithm: Algorithm::Crc64Nvme, kind: ChecksumKind::FullObject };
        let UploadChecksum { algorithm, kind } = self.record.checksum.unwrap_or(default);
        let mut values = Vec::with_capacity(parts.len());
        for (row, part) in parts {
            let own = part.checksums.iter().find(|checksum| checksum.algorithm == algorithm);
            values.push((own.ok_or(OpError::InvalidPart(row.number))?.value.as_slice(), part.plain_len));
        }
        Ok(match kind {
            ChecksumKind::Composite => vec![Checksum::composite(algorithm, values.iter().map(|(value, _)| *value))],
            ChecksumKind::FullObject => Checksum::combined(algorithm, values).into_iter().collect(),
        })
    }
}

fn has(checksums: &[Checksum], (algorithm, value): &(Algorithm, Vec<u8>)) -> bool {
    checksums.iter().any(|checksum| checksum.algorithm == *algorithm && checksum.value == *value)
}
