//! Step 1, S3 on top: `s3s` speaks the protocol, this module translates.
//!
//! `api` has a few lines an operation: read the input, call `ops`, answer. What an operation means is in `ops`; which
//! code an error has is in `code`, and nowhere else.

mod api;
mod authenticated;
mod body;
mod bucket_encryption;
mod bucket_name;
mod caller;
mod checksum;
mod code;
mod encryption;
mod encryption_call;
pub mod guard;
mod headers;
mod last_chunk;
mod listing;
mod object;
mod object_encryption;
mod upload;

use std::sync::Arc;

use s3s::S3Result;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::S3ServiceBuilder;

use crate::store::Store;
pub use last_chunk::Complete;

pub use crate::arn::REGION;

/// S3 over `store`: requests are authenticated, then answered.
pub fn service(store: Arc<Store>) -> Complete {
    let mut builder = S3ServiceBuilder::new(api::Api::new(store.clone()));
    builder.set_auth(AccessKeys(store.clone()));
    builder.set_access(caller::Callers(store.clone()));
    builder.set_route(authenticated::SecondLook::new(store));
    builder.set_validation(bucket_name::BucketNames);
    Complete(builder.build())
}

/// Secrets of access keys, opened for each request: one that was removed or altered signs nothing any more.
struct AccessKeys(Arc<Store>);

#[async_trait::async_trait]
impl S3Auth for AccessKeys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.0.users.secret(access_key).await.map_err(code::s3_error)?;
        Ok(SecretKey::from(secret.as_str()))
    }
}
