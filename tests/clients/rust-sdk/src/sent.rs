//! The headers of the last request that say how its body travels and is checked: seen as they go out, chosen by the SDK.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use serde_json::{Map, Value};

const NAMES: [&str; 5] =
    ["content-encoding", "x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-content-sha256", "x-amz-trailer"];

#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Mutex<Map<String, Value>>>);

impl Sent {
    pub(crate) fn take(&self) -> Map<String, Value> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Sent {
    fn name(&self) -> &'static str {
        "Sent"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request().headers();
        let told = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.into())));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told.collect();
        Ok(())
    }
}
