//! The operations of S3 that this server does: each reads its input, calls `ops` and answers.
//!
//! Every operation that is absent here answers NotImplemented, but for those that `authenticated` answers itself. One that changes something runs as a task of its own,
//! so that a client that hangs up ends its body, not the clean-up.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::audit;
use crate::catalog::encryption::DefaultEncryption;
use crate::catalog::record::BucketConfig;
use crate::error::OpError;
use crate::ops::condition::Conditions;
use crate::ops::delete::DeleteRequest;
use crate::ops::{OpenBucket, bucket, bucket_policy, delete, multipart};
use crate::policy::{Action, Authority};
use crate::s3::caller::authority;
use crate::s3::code::{code_and_message, s3_error};
use crate::s3::upload::upload_id;
use crate::s3::{REGION, headers, listing, object, upload};
use crate::store::Store;

/// Keys of one DeleteObjects request at most.
const DELETED_AT_ONCE_MAX: usize = 1000;
/// Keys of one DeleteObjects request under way at once: enough to share the commits of a group.
const DELETED_SIDE_BY_SIDE: usize = 64;

pub(super) struct Api {
    store: Arc<Store>,
}

impl Api {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Runs to its end whatever becomes of the client.
    async fn uninterrupted<T, F>(&self, operation: impl FnOnce(Arc<Store>) -> F) -> S3Result<S3Response<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OpError>> + Send + 'static,
    {
        let outcome = audit::spawn(operation(self.store.clone())).await;
        let outcome = outcome.unwrap_or_else(|_| Err(OpError::Internal("an operation panicked".into())));
        answer(outcome)
    }
}

fn answer<T>(outcome: Result<T, OpError>) -> S3Result<S3Response<T>> {
    outcome.map(S3Response::new).map_err(s3_error)
}

#[async_trait::async_trait]
impl S3 for Api {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.uninterrupted(async move |store| object::put(&store, request).await).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        object::get(&self.store, request).await.map_err(s3_error)
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        object::head(&self.store, request).await.map_err(s3_error)
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.uninterrupted(async move |store| object::copy(&store, request).await).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            headers::refuse_version(request.input.version_id.as_deref())?;
            let (who, input) = (authority(&request)?, &request.input);
            let delete = DeleteRequest {
                bucket: &input.bucket,
                key: &input.key,
                names_version: input.version_id.is_some(),
                conditions: headers::write_conditions(headers::sent(&request))?,
            };
            delete::delete(&store, &who, &delete).await?;
            Ok(DeleteObjectOutput::default())
        })
        .await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.uninterrupted(async move |store| delete_objects(&store, request).await).await
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        answer(listing::objects_v1(&self.store, request).await)
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        answer(listing::objects_v2(&self.store, request).await)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.uninterrupted(async move |store| upload::create(&store, request).await).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.uninterrupted(async move |store| upload::put_part(&store, request).await).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.uninterrupted(async move |store| upload::copy_part(&store, request).await).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.uninterrupted(async move |store| upload::complete(&store, request).await).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            let who = authority(&request)?;
            let input = request.input;
            multipart::abort(&store, &who, &input.bucket, &input.key, upload_id(&input.upload_id)?).await?;
            Ok(AbortMultipartUploadOutput::default())
        })
        .await
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        answer(listing::parts(&self.store, request).await)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        answer(listing::uploads(&self.store, request).await)
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            let who = authority(&request)?;
            let input = request.input;
            let constraint = location_constraint(input.create_bucket_configuration.as_ref())?;
            let who = who.knowing("s3:locationconstraint", constraint);
            match bucket::create(&store, &who, &input.bucket).await {
                // As S3 answers in us-east-1: the bucket is there and yours.
                Ok(()) | Err(OpError::BucketExists) => {}
                Err(error) => return Err(error),
            }
            Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
        })
        .await
    }

    async fn list_buckets(&self, request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let listed = async { list_buckets(&self.store, &*authority(&request)?, request.input).await };
        answer(listed.await)
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let found = async {
            headers::refuse_unsupported(&request.headers)?;
            OpenBucket::open_for(&self.store, &*authority(&request)?, &request.input.bucket, Action::ListBucket)
                .await?;
            Ok(HeadBucketOutput { bucket_region: Some(REGION.into()), ..HeadBucketOutput::default() })
        };
        answer(found.await)
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            bucket::delete(&store, &*authority(&request)?, &request.input.bucket).await?;
            Ok(DeleteBucketOutput::default())
        })
        .await
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let found = async {
            headers::refuse_unsupported(&request.headers)?;
            let action = Action::GetBucketLocation;
            OpenBucket::open_for(&self.store, &*authority(&request)?, &request.input.bucket, action).await?;
            // S3 names us-east-1 by an empty constraint.
            Ok(GetBucketLocationOutput::default())
        };
        answer(found.await)
    }

    async fn delete_bucket_encryption(
        &self,
        request: S3Request<DeleteBucketEncryptionInput>,
    ) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            let (who, action) = (authority(&request)?, Action::PutEncryptionConfiguration);
            let change = |config: &mut BucketConfig| config.default_encryption = DefaultEncryption::default();
            bucket::configure(&store, &who, &request.input.bucket, action, change).await?;
            Ok(DeleteBucketEncryptionOutput::default())
        })
        .await
    }

    async fn put_bucket_policy(
        &self,
        request: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            let (who, input) = (authority(&request)?, request.input);
            bucket_policy::put(&store, &who, &input.bucket, input.policy).await?;
            Ok(PutBucketPolicyOutput::default())
        })
        .await
    }

    async fn get_bucket_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let found = async {
            headers::refuse_unsupported(&request.headers)?;
            let text = bucket_policy::get(&self.store, &*authority(&request)?, &request.input.bucket).await?;
            Ok(GetBucketPolicyOutput { policy: Some(text) })
        };
        let json = (http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        answer(found.await).map(|response| S3Response { headers: HeaderMap::from_iter([json]), ..response })
    }

    async fn delete_bucket_policy(
        &self,
        request: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.uninterrupted(async move |store| {
            headers::refuse_unsupported(&request.headers)?;
            bucket_policy::delete(&store, &*authority(&request)?, &request.input.bucket).await?;
            Ok(DeleteBucketPolicyOutput::default())
        })
        .await
    }

    async fn get_bucket_policy_status(
        &self,
        request: S3Request<GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
        let found = async {
            headers::refuse_unsupported(&request.headers)?;
            let public = bucket_policy::is_public(&self.store, &*authority(&request)?, &request.input.bucket).await?;
            Ok(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public: Some(public) }) })
        };
        answer(found.await)
    }
}

async fn delete_objects(store: &Store, request: S3Request<DeleteObjectsInput>) -> Result<DeleteObjectsOutput, OpError> {
    use futures::StreamExt;
    headers::refuse_unsupported(&request.headers)?;
    let who = authority(&request)?;
    let DeleteObjectsInput { bucket, delete: Delete { objects, quiet }, .. } = request.input;
    if objects.is_empty() || objects.len() > DELETED_AT_ONCE_MAX {
        return Err(OpError::MalformedXml("between 1 and 1,000 objects must be named"));
    }
    OpenBucket::open(store, &bucket).await?;
    let delete_one = async |named: ObjectIdentifier| {
        let outcome = async {
            headers::refuse_version(named.version_id.as_deref())?;
            if named.e_tag.is_some() || named.last_modified_time.is_some() || named.size.is_some() {
                return Err(OpError::NotImplemented("conditions in DeleteObjects"));
            }
            let names_version = named.version_id.is_some();
            let conditions = Conditions::default();
            let delete = DeleteRequest { bucket: &bucket, key: &named.key, names_version, conditions };
            delete::delete(store, &who, &delete).await
        };
        (outcome.await, named.key, named.version_id)
    };
    let outcomes: Vec<_> =
        futures::stream::iter(objects).map(delete_one).buffered(DELETED_SIDE_BY_SIDE).collect().await;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (outcome, key, version_id) in outcomes {
        match outcome {
            Ok(()) if quiet.unwrap_or(false) => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(key), version_id, ..DeletedObject::default() }),
            Err(error) => {
                let (code, message) = code_and_message(error);
                errors.push(Error { key: Some(key), version_id, code: Some(code), message: Some(message) });
            }
        }
    }
    Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() })
}

async fn list_buckets(store: &Store, who: &Authority, input: ListBucketsInput) -> Result<ListBucketsOutput, OpError> {
    const PAGE_LEN_MAX: usize = 10_000;
    let limit = match input.max_buckets {
        None => PAGE_LEN_MAX,
        Some(limit) => {
            usize::try_from(limit).ok().filter(|limit| (1..=PAGE_LEN_MAX).contains(limit)).ok_or_else(|| {
                OpError::InvalidArgument { field: "max-buckets", why: "must be an integer between 1 and 10000".into() }
            })?
        }
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let other_region = input.bucket_region.is_some_and(|region| region != REGION);
    let rows = bucket::all(store, who).await?.into_iter();
    let mut rows = rows.filter(|row| !other_region && row.name.starts_with(&prefix) && row.name > after);
    let buckets: Vec<Bucket> = rows
        .by_ref()
        .take(limit)
        .map(|row| Bucket {
            name: Some(row.name),
            creation_date: Some(headers::timestamp(row.created_ms)),
            bucket_region: Some(REGION.into()),
        })
        .collect();
    let more = rows.next().is_some();
    let token = buckets.last().and_then(|last| last.name.clone()).filter(|_| more);
    let owner = Some(listing::owner());
    Ok(ListBucketsOutput { buckets: Some(buckets), continuation_token: token, owner, prefix: input.prefix })
}

/// The region that a bucket is asked for in: this one, or none is made.
fn location_constraint(configuration: Option<&CreateBucketConfiguration>) -> Result<&'static str, OpError> {
    let Some(configuration) = configuration else { return Ok(REGION) };
    if configuration.bucket.is_some() || configuration.location.is_some() {
        return Err(OpError::NotImplemented("directory buckets"));
    }
    match configuration.location_constraint.as_ref().map(BucketLocationConstraint::as_str) {
        None | Some("" | REGION) => Ok(REGION),
        Some(_) => Err(OpError::InvalidLocation),
    }
}
