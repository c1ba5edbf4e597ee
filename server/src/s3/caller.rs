//! Who asks, established once a signature was found right, and carried with the request from then on.

use std::sync::Arc;

use http::Extensions;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::Credentials;
use s3s::{S3Request, S3Result};

use crate::error::OpError;
use crate::policy::Authority;
use crate::policy::language::Facts;
use crate::s3::code::s3_error;
use crate::store::Store;

/// Lets every request pass that is signed right, or not at all: what it may do, its operation asks.
pub(super) struct Callers(pub(super) Arc<Store>);

#[async_trait::async_trait]
impl S3Access for Callers {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let access_key = access_key(context.credentials());
        establish(&self.0, access_key, context.extensions_mut()).await.map_err(s3_error)
    }
}

/// Establishes who asks. Nobody but who holds the access key has signed with it.
///
/// # Errors
/// [`OpError::Internal`] if the request did not come through the guard.
pub(super) async fn establish(
    store: &Store,
    access_key: Option<String>,
    extensions: &mut Extensions,
) -> Result<(), OpError> {
    let facts = extensions.remove::<Facts>();
    let facts = facts.ok_or_else(|| OpError::Internal("a request came round the guard".into()))?;
    let caller = match access_key {
        Some(access_key) => Some(store.caller(&access_key).await?),
        None => None,
    };
    extensions.insert(Arc::new(Authority::new(caller, facts)));
    Ok(())
}

/// The access key that a request was signed with.
pub(super) fn access_key(credentials: Option<&Credentials>) -> Option<String> {
    credentials.map(|credentials| credentials.access_key.clone())
}

/// On whose authority a request acts.
///
/// # Errors
/// [`OpError::Internal`] if nobody established it: then on nobody's.
pub(super) fn authority<T>(request: &S3Request<T>) -> Result<Arc<Authority>, OpError> {
    let found = request.extensions.get::<Arc<Authority>>().cloned();
    found.ok_or_else(|| OpError::Internal("nobody established who asks".into()))
}
