//! Every rule through the service itself, around an inner service that counts: what is refused never reaches it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;

use super::*;

/// 2013-05-24T00:00:00Z, the date that the requests below carry.
const NOW_MS: u64 = 1_369_353_600_000;
const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const SCOPE: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

struct Fixed(u64);
impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// Counts calls and keeps the headers of the last one.
#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    headers: Mutex<HeaderMap>,
}

#[derive(Clone)]
struct Counting(Arc<Seen>);
impl<B> Service<Request<B>> for Counting {
    type Response = Response<s3s::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        *self.0.headers.lock().unwrap() = request.headers().clone();
        let status = if request.uri().path().ends_with("absent") { StatusCode::NOT_FOUND } else { StatusCode::OK };
        let body = s3s::Body::from(Bytes::from_static(b"answer"));
        std::future::ready(Ok(Response::builder().status(status).body(body).unwrap()))
    }
}

/// What a request came to.
struct Outcome {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    calls: usize,
    passed_on: HeaderMap,
}

async fn send(request: Request<Full<Bytes>>) -> Outcome {
    let seen = Arc::new(Seen::default());
    let guard = Guard::new(Counting(Arc::clone(&seen)), Arc::new(Fixed(NOW_MS)));
    let (parts, body) = guard.call(request).await.unwrap().into_parts();
    let passed_on = seen.headers.lock().unwrap().clone();
    let calls = seen.calls.load(Ordering::Relaxed);
    Outcome { status: parts.status, headers: parts.headers, body: body.text().await, calls, passed_on }
}

/// A header-signed request; `more` are further headers, which count as signed unless their name starts with `!`.
/// A header named `-name` takes one of the usual ones away.
fn signed(method: &str, target: &str, more: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut headers = vec![("host", "h"), ("x-amz-content-sha256", DIGEST), ("x-amz-date", "20130524T000000Z")];
    if method == "PUT" {
        headers.push(("content-length", "0"));
    }
    let mut unsigned = Vec::new();
    for (name, value) in more {
        if let Some(name) = name.strip_prefix('-') {
            headers.retain(|(other, _)| *other != name);
        } else if let Some(name) = name.strip_prefix('!') {
            unsigned.push((name, *value));
        } else {
            headers.retain(|(other, _)| other != name);
            headers.push((name, value));
        }
    }
    let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let list = names.join(";");
    let signature = "0".repeat(64);
    let authorization = format!("AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={list}, Signature={signature}");
    let mut request = Request::builder().method(method).uri(target).header("authorization", authorization);
    for (name, value) in headers.into_iter().chain(unsigned) {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from_static(b"body"))).unwrap()
}

fn plain(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::new())).unwrap()
}

fn presigned(signed_headers: &str, expires: &str, more: &str) -> String {
    format!(
        "/bucket/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date=20130524T000000Z{expires}\
         &X-Amz-SignedHeaders={signed_headers}&X-Amz-Signature={}{more}",
        SCOPE.replace('/', "%2F"),
        "0".repeat(64)
    )
}

#[track_caller]
fn check_refused(outcome: &Outcome, status: u16, code: &str) {
    assert_eq!(outcome.calls, 0, "the inner service was called");
    assert!(outcome.body.contains(&format!("<Code>{code}</Code>")), "{code}: {}", outcome.body);
    assert_eq!(outcome.status.as_u16(), status);
    assert_eq!(outcome.headers.get(CONTENT_TYPE).unwrap(), "application/xml");
    let id = outcome.headers.get("x-amz-request-id").unwrap().to_str().unwrap();
    assert!(outcome.body.contains(&format!("<RequestId>{id}</RequestId>")));
}

async fn check_passes(request: Request<Full<Bytes>>) -> HeaderMap {
    let outcome = send(request).await;
    assert_eq!((outcome.calls, outcome.body.as_str()), (1, "answer"));
    assert_eq!(outcome.headers.get(SERVER).unwrap(), "Strongroom");
    outcome.passed_on
}

#[tokio::test]
async fn a_well_signed_request_passes() {
    check_passes(signed("GET", "/bucket/k", &[])).await;
    check_passes(signed("PUT", "/bucket/k", &[("x-amz-meta-a", "1"), ("!content-type", "a/b")])).await;
    check_passes(plain("GET", &presigned("host", "&X-Amz-Expires=604800", ""), &[("host", "h")])).await;
    check_passes(plain("GET", "/bucket/k", &[("host", "h")])).await;
}

#[tokio::test]
async fn an_unsigned_amz_header_is_refused_and_named() {
    let copy =
        send(signed("PUT", "/bucket/k", &[("!x-amz-copy-source", "/other/secret"), ("!x-amz-acl", "private")])).await;
    check_refused(&copy, 403, "AccessDenied");
    assert!(copy.body.contains("<HeadersNotSigned>x-amz-copy-source, x-amz-acl</HeadersNotSigned>"), "{}", copy.body);

    let target = presigned("host", "&X-Amz-Expires=60", "");
    let copy = send(plain("PUT", &target, &[("host", "h"), ("x-amz-copy-source", "/other/secret")])).await;
    check_refused(&copy, 403, "AccessDenied");
    assert!(copy.body.contains("<HeadersNotSigned>x-amz-copy-source</HeadersNotSigned>"));
}

#[tokio::test]
async fn the_digest_of_the_body_may_go_unsigned_as_on_s3() {
    check_passes(signed("GET", "/bucket/k", &[("-x-amz-content-sha256", ""), ("!x-amz-content-sha256", DIGEST)])).await;
}

#[tokio::test]
async fn host_must_be_signed_and_signed_names_must_be_there() {
    let outcome = send(signed("GET", "/bucket/k", &[("-host", ""), ("!host", "h")])).await;
    check_refused(&outcome, 403, "AccessDenied");
    assert!(outcome.body.contains("<HeadersNotSigned>host</HeadersNotSigned>"));
    let mut request = signed("GET", "/bucket/k", &[("x-amz-meta-a", "1")]);
    request.headers_mut().remove("x-amz-meta-a");
    check_refused(&send(request).await, 403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn any_other_mechanism_is_refused() {
    for authorization in
        ["AWS AKID:c2ln", "Basic dTpw", "Bearer t", "AWS4-ECDSA-P256-SHA256 Credential=a", "nonsense", ""]
    {
        let request = plain("GET", "/bucket/k", &[("host", "h"), ("authorization", authorization)]);
        check_refused(&send(request).await, 400, "InvalidRequest");
    }
    for query in ["AWSAccessKeyId=AKID&Expires=9&Signature=c2ln", "Signature=c2ln", "AWSAccessKeyId=AKID"] {
        check_refused(
            &send(plain("GET", &format!("/bucket/k?{query}"), &[("host", "h")])).await,
            400,
            "InvalidRequest",
        );
    }
}

#[tokio::test]
async fn two_mechanisms_or_two_headers_of_one_name_are_refused() {
    let both = send(signed("GET", &presigned("host", "&X-Amz-Expires=60", ""), &[])).await;
    check_refused(&both, 400, "InvalidArgument");
    check_refused(&send(signed("GET", "/bucket/k?Signature=a", &[])).await, 400, "InvalidArgument");
    for name in ["authorization", "host", "x-amz-date", "x-amz-content-sha256"] {
        let mut request = signed("GET", "/bucket/k", &[]);
        let value = request.headers().get(name).unwrap().clone();
        request.headers_mut().append(http::HeaderName::from_static(name), value);
        check_refused(&send(request).await, 400, "InvalidArgument");
    }
}

#[tokio::test]
async fn an_authorization_header_that_two_readers_could_read_differently_is_refused() {
    let signature = "0".repeat(64);
    for fields in [
        format!("SignedHeaders=host, Credential={SCOPE}, Signature={signature}"),
        format!("Credential={SCOPE}, SignedHeaders=Host, Signature={signature}"),
        format!("Credential={SCOPE}, SignedHeaders=host, SignedHeaders=x, Signature={signature}"),
        format!("Credential={SCOPE}, SignedHeaders=host, Signature=0"),
        format!("Credential={}, SignedHeaders=host, Signature={signature}", SCOPE.replace("/s3/", "/sts/")),
    ] {
        let authorization = format!("AWS4-HMAC-SHA256 {fields}");
        let request = plain("GET", "/bucket/k", &[("host", "h"), ("authorization", &authorization)]);
        check_refused(&send(request).await, 400, "AuthorizationHeaderMalformed");
    }
}

#[tokio::test]
async fn a_signature_for_another_region_is_told_the_right_one() {
    let mut request = signed("GET", "/bucket/k", &[]);
    let authorization = request.headers()["authorization"].to_str().unwrap().replace("us-east-1", "eu-west-1");
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    let outcome = send(request).await;
    check_refused(&outcome, 400, "AuthorizationHeaderMalformed");
    assert!(outcome.body.contains("<Region>us-east-1</Region>"));
    let target = presigned("host", "&X-Amz-Expires=60", "").replace("us-east-1", "eu-west-1");
    check_refused(&send(plain("GET", &target, &[("host", "h")])).await, 400, "AuthorizationQueryParametersError");
}

#[tokio::test]
async fn a_header_signature_is_good_for_fifteen_minutes_either_way() {
    check_passes(signed("GET", "/bucket/k", &[("x-amz-date", "20130523T234500Z")])).await;
    for date in ["20130523T234459Z", "20130524T001501Z"] {
        let outcome = send(signed("GET", "/bucket/k", &[("x-amz-date", date)])).await;
        check_refused(&outcome, 403, "RequestTimeTooSkewed");
    }
    for headers in [&[("-x-amz-date", "")][..], &[("x-amz-date", "yesterday")]] {
        check_refused(&send(signed("GET", "/bucket/k", headers)).await, 403, "AccessDenied");
    }
}

#[tokio::test]
async fn a_date_header_serves_where_x_amz_date_is_absent() {
    let date = ("date", "Fri, 24 May 2013 00:00:10 GMT");
    let passed_on = check_passes(signed("GET", "/bucket/k", &[("-x-amz-date", ""), date])).await;
    assert_eq!(passed_on.get("x-amz-date").unwrap(), "20130524T000010Z");
    let late = [("-x-amz-date", ""), ("date", "Fri, 24 May 2013 01:00:00 GMT")];
    check_refused(&send(signed("GET", "/bucket/k", &late)).await, 403, "RequestTimeTooSkewed");
}

#[tokio::test]
async fn a_presigned_request_lives_for_a_week_at_most() {
    for expires in [
        "",
        "&X-Amz-Expires=604801",
        "&X-Amz-Expires=-1",
        "&X-Amz-Expires=x",
        "&X-Amz-Expires=%2B5",
        "&X-Amz-Expires=99999999999999999999",
        "&X-Amz-Expires=5&X-Amz-Expires=6",
        "&x-amz-expires=5",
    ] {
        let request = plain("GET", &presigned("host", expires, ""), &[("host", "h")]);
        check_refused(&send(request).await, 400, "AuthorizationQueryParametersError");
    }
}

#[tokio::test]
async fn what_sdks_move_into_a_presigned_query_counts_as_a_header() {
    let more = "&x-amz-server-side-encryption=AES256&X-Amz-Meta-Colour=blue%20green";
    let request = plain("GET", &presigned("host", "&X-Amz-Expires=60", more), &[("host", "h")]);
    let passed_on = check_passes(request).await;
    assert_eq!(passed_on.get("x-amz-server-side-encryption").unwrap(), "AES256");
    assert_eq!(passed_on.get("x-amz-meta-colour").unwrap(), "blue green");

    let target = presigned("host;x-amz-acl", "&X-Amz-Expires=60", "&x-amz-acl=private");
    let request = plain("GET", &target, &[("host", "h"), ("x-amz-acl", "public-read")]);
    check_refused(&send(request).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn session_tokens_are_not_known() {
    check_refused(&send(signed("GET", "/bucket/k", &[("x-amz-security-token", "t")])).await, 400, "InvalidToken");
    let target = presigned("host", "&X-Amz-Expires=60", "&X-Amz-Security-Token=t");
    check_refused(&send(plain("GET", &target, &[("host", "h")])).await, 400, "InvalidToken");
}

#[tokio::test]
async fn the_digest_header_is_needed_and_must_be_one() {
    let absent = send(signed("GET", "/bucket/k", &[("-x-amz-content-sha256", "")])).await;
    check_refused(&absent, 400, "InvalidRequest");
    for value in ["unsigned-payload", "0f", "STREAMING-NEW"] {
        let outcome = send(signed("GET", "/bucket/k", &[("x-amz-content-sha256", value)])).await;
        check_refused(&outcome, 400, "InvalidArgument");
    }
}

#[tokio::test]
async fn a_trailer_that_is_not_announced_is_announced_empty() {
    let headers =
        [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("x-amz-decoded-content-length", "4")];
    let passed_on = check_passes(signed("PUT", "/bucket/k", &headers)).await;
    assert_eq!(passed_on.get("x-amz-trailer").unwrap(), "");
    let announced = [headers[0], headers[1], ("x-amz-trailer", "x-amz-checksum-crc32")];
    let passed_on = check_passes(signed("PUT", "/bucket/k", &announced)).await;
    assert_eq!(passed_on.get("x-amz-trailer").unwrap(), "x-amz-checksum-crc32");
}

#[tokio::test]
async fn a_form_that_was_made_no_upload_is_refused() {
    let form = [("host", "h"), ("content-type", "Multipart/Form-Data; boundary=x"), ("content-length", "4")];
    check_refused(&send(plain("POST", "/bucket", &form)).await, 501, "NotImplemented");
}

#[tokio::test]
async fn an_upload_says_its_length_and_keeps_to_the_limit() {
    const LIMIT: &str = "5368709120";
    let streaming = ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let put = |headers: &[(&str, &str)]| send(signed("PUT", "/bucket/k", headers));

    check_refused(&put(&[("-content-length", "")]).await, 411, "MissingContentLength");
    check_refused(&put(&[streaming]).await, 411, "MissingContentLength");
    check_refused(&put(&[("-content-length", ""), ("transfer-encoding", "chunked")]).await, 501, "NotImplemented");
    check_refused(&put(&[("content-length", "5368709121")]).await, 400, "EntityTooLarge");
    check_refused(&put(&[streaming, ("x-amz-decoded-content-length", "5368709121")]).await, 400, "EntityTooLarge");
    check_refused(&put(&[streaming, ("x-amz-decoded-content-length", "12x")]).await, 400, "InvalidArgument");
    let document = [("content-length", "8388609")];
    check_refused(&send(signed("PUT", "/bucket?encryption", &document)).await, 400, "MaxMessageLengthExceeded");

    check_passes(signed("PUT", "/bucket/k", &[("content-length", LIMIT)])).await;
    check_passes(signed("PUT", "/bucket/k", &[streaming, ("x-amz-decoded-content-length", LIMIT)])).await;
    check_passes(signed("PUT", "/bucket/k", &[("-content-length", ""), ("x-amz-copy-source", "/bucket/k")])).await;
    check_passes(signed("PUT", "/bucket", &[("-content-length", "")])).await;
}

#[tokio::test]
async fn targets_and_sub_resources_are_checked() {
    check_refused(&send(signed("GET", "/bucket/%zz", &[])).await, 400, "InvalidURI");
    check_refused(&send(signed("PUT", "/bucket/k?renameObject", &[])).await, 501, "NotImplemented");
    check_refused(&send(signed("PATCH", "/bucket/k", &[])).await, 405, "MethodNotAllowed");
    let long = format!("/bucket/k?a={}", "b".repeat(HEAD_LEN_MAX));
    check_refused(&send(signed("GET", &long, &[])).await, 400, "RequestHeaderSectionTooLarge");
}

#[tokio::test]
async fn a_refusal_ends_the_connection_only_if_a_body_is_still_to_come() {
    let with_body = send(signed("PUT", "/bucket/k?annotation", &[])).await;
    assert_eq!(with_body.headers.get("connection").unwrap(), "close");
    let without = send(plain("GET", "/bucket/k?annotation", &[("host", "h")])).await;
    assert!(without.headers.get("connection").is_none());
}

#[tokio::test]
async fn an_error_that_answers_a_head_has_no_body() {
    for target in ["/bucket/k?acl", "/bucket/absent"] {
        let outcome = send(signed("HEAD", target, &[])).await;
        assert!(outcome.status.is_client_error() || outcome.status.is_server_error());
        assert_eq!(outcome.body, "", "{target}");
        assert!(outcome.headers.contains_key("x-amz-request-id"));
    }
}

#[tokio::test]
async fn a_refusal_repeats_no_credential() {
    let outcome = send(plain("GET", "/bucket/a&k", &[("host", "h"), ("authorization", "Basic c2VjcmV0")])).await;
    assert!(!outcome.body.contains("c2VjcmV0"));
    assert!(outcome.body.contains("<Resource>/bucket/a&amp;k</Resource>"));
}

/// A body that tells whether it was asked for anything.
struct Watched(Arc<AtomicUsize>);
impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::Ready(None)
    }
}

struct NoOperations;
impl s3s::S3 for NoOperations {}

/// The library, as it stands behind the guard.
#[derive(Clone)]
struct Library(s3s::service::S3Service);
impl Service<Request<Watched>> for Library {
    type Response = Response<s3s::Body>;
    type Error = s3s::HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;
    fn call(&self, request: Request<Watched>) -> Self::Future {
        let library = self.0.clone();
        Box::pin(async move { library.call(request.map(s3s::Body::http_body)).await })
    }
}

#[tokio::test]
async fn the_body_of_a_request_that_is_not_authorized_is_never_asked_for() {
    let mut builder = s3s::service::S3ServiceBuilder::new(NoOperations);
    builder.set_auth(s3s::auth::SimpleAuth::from_single("AKIAIOSFODNN7EXAMPLE", "wrong"));
    let guard = Guard::new(Library(builder.build()), Arc::new(Fixed(NOW_MS)));
    let key_of_1025 = format!("/bucket/{}", "k".repeat(1_025));
    for (request, code) in [
        (plain("PUT", "/bucket/k", &[("host", "h"), ("content-length", "4")]), "AccessDenied"),
        (plain("PUT", "/bucket?encryption", &[("host", "h"), ("content-length", "4")]), "AccessDenied"),
        (plain("PUT", &key_of_1025, &[("host", "h"), ("content-length", "4")]), "KeyTooLongError"),
        // Signed long ago: the guard's clock is set back, the library's own is not.
        (signed("PUT", "/bucket/k", &[("content-length", "4")]), "RequestTimeTooSkewed"),
    ] {
        let polls = Arc::new(AtomicUsize::new(0));
        let response = guard.call(request.map(|_| Watched(Arc::clone(&polls)))).await.unwrap();
        let body = response.into_body().text().await;
        assert!(body.contains(&format!("<Code>{code}</Code>")), "{code}: {body}");
        assert_eq!(polls.load(Ordering::Relaxed), 0, "{code}");
    }
}
