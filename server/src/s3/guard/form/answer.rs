//! How the sender of a form wants success answered: 204, 200, a document with 201, or by going elsewhere.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::super::entry::Logged;
use super::fields::Form;

pub(super) struct Wanted {
    status: StatusCode,
    redirect: Option<String>,
    bucket: String,
    key: String,
    location: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PostResponse<'a> {
    location: &'a str,
    bucket: &'a str,
    key: &'a str,
    #[serde(rename = "ETag")]
    etag: &'a str,
}

impl Wanted {
    pub(super) fn of(form: &Form, bucket: &str, key: &str, headers: &HeaderMap) -> Self {
        let redirect = form.value("success_action_redirect").or(form.value("redirect"));
        let is_address = |text: &&str| text.starts_with("http://") || text.starts_with("https://");
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let status = match form.value("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        Self {
            status,
            redirect: redirect.filter(is_address).map(str::to_owned),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            location: format!("http://{host}/{bucket}/{key}"),
        }
    }

    /// The answer to the upload, as the form wants it; a refusal stays as it is.
    pub(super) fn answer(self, response: Response<Logged>) -> Response<Logged> {
        if response.status() != StatusCode::OK {
            return response;
        }
        let (mut parts, logged) = response.into_parts();
        let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
        parts.headers.remove(CONTENT_LENGTH);
        let mut document = String::new();
        if let Some(location) = self.redirected(&etag) {
            parts.status = StatusCode::SEE_OTHER;
            parts.headers.insert(LOCATION, location);
        } else {
            parts.status = self.status;
            if let Ok(location) = HeaderValue::from_str(&self.location) {
                parts.headers.insert(LOCATION, location);
            }
            if self.status == StatusCode::CREATED {
                let Self { bucket, key, location, .. } = &self;
                let told = PostResponse { location, bucket, key, etag: &etag };
                document = quick_xml::se::to_string(&told).unwrap_or_default();
                parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            }
        }
        Response::from_parts(parts, logged.answering(document.into()))
    }

    fn redirected(&self, etag: &str) -> Option<HeaderValue> {
        let address = self.redirect.as_ref()?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("bucket", &self.bucket).append_pair("key", &self.key).append_pair("etag", etag);
        let separator = if address.contains('?') { '&' } else { '?' };
        HeaderValue::from_str(&format!("{address}{separator}{}", query.finish())).ok()
    }
}
