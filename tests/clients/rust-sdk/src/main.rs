//! The official AWS SDK for Rust as a client of a running server: one step, with the SDK's own defaults for checksums.
//!
//! The access key and the region are in the SDK's environment variables, ENCRYPTION is a JSON object of S3's own names, and
//! each answer is printed as one line of JSON by those names, beside what the SDK sent. A refusal is an answer too; what is
//! none (a broken connection, a body that does not fit its checksum) ends the program with 1. What is right is not known here.

mod sent;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Config, Credentials, Region};
use aws_sdk_s3::error::{BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::sent::Sent;

const USAGE: &str = "strongroom-rust-sdk ENDPOINT BUCKET ENCRYPTION STEP, where STEP is one of
  put KEY FILE | get KEY [RANGE] | copy SOURCE-KEY KEY | multipart KEY FILE...";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("{}", DisplayErrorContext(&*broken));
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<(), BoxError> {
    let [endpoint, bucket, encryption, step @ ..] = words else { return Err(USAGE.into()) };
    let sent = Sent::default();
    let steps =
        Steps { s3: client(endpoint, sent.clone())?, sent, bucket, encryption: serde_json::from_str(encryption)? };
    let done = match step {
        ["put", key, file] => steps.put(key, file).await,
        ["get", key] => steps.get(key, None).await,
        ["get", key, range] => steps.get(key, Some(range)).await,
        ["copy", source_key, key] => steps.copy(source_key, key).await,
        ["multipart", key, files @ ..] => steps.multipart(key, files).await,
        _ => return Err(USAGE.into()),
    };
    match done {
        Ok(()) => Ok(()),
        Err(Failure::Broken(broken)) => Err(broken),
        Err(Failure::Refused { code, status }) => {
            steps.say("refused", [("Code", code.into()), ("Status", status.into())]);
            Ok(())
        }
    }
}

/// Tries once, so that every answer is the first one.
fn client(endpoint: &str, sent: Sent) -> Result<Client, BoxError> {
    let credentials = Credentials::builder()
        .access_key_id(env::var("AWS_ACCESS_KEY_ID")?)
        .secret_access_key(env::var("AWS_SECRET_ACCESS_KEY")?)
        .provider_name("environment")
        .build();
    let config = Config::builder()
        .endpoint_url(endpoint)
        .force_path_style(true)
        .region(Region::new(env::var("AWS_REGION")?))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .interceptor(sent);
    Ok(Client::from_conf(config.build()))
}

enum Failure {
    /// By the server, with S3's code.
    Refused { code: String, status: u16 },
    /// No answer, or one that the SDK did not take.
    Broken(BoxError),
}

impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match (error.code(), error.raw_response()) {
            (Some(code), Some(answer)) => Self::Refused { code: code.to_owned(), status: answer.status().as_u16() },
            _ => Self::Broken(error.into()),
        }
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Self::Broken(error)
    }
}

/// What the answers of most operations say, by S3's names. Their types have these methods, but no trait in common.
macro_rules! encryption_of {
    ($answer:expr) => {
        [
            ("ServerSideEncryption", $answer.server_side_encryption().map(ServerSideEncryption::as_str).into()),
            ("SSEKMSKeyId", $answer.ssekms_key_id().into()),
            ("BucketKeyEnabled", $answer.bucket_key_enabled().into()),
        ]
    };
}

macro_rules! customer_key_of {
    ($answer:expr) => {
        [
            ("SSECustomerAlgorithm", $answer.sse_customer_algorithm().into()),
            ("SSECustomerKeyMD5", $answer.sse_customer_key_md5().into()),
        ]
    };
}

macro_rules! content_of {
    ($answer:expr) => {
        [
            ("ETag", $answer.e_tag().into()),
            ("ChecksumCRC32", $answer.checksum_crc32().into()),
            ("ChecksumCRC64NVME", $answer.checksum_crc64_nvme().into()),
        ]
    };
}

/// What a request asks for. `write_under!` is for those that choose a mode, `read_under!` for those that only bring a key.
macro_rules! read_under {
    ($request:expr, $steps:expr) => {
        $request
            .set_sse_customer_algorithm($steps.asked("SSECustomerAlgorithm"))
            .set_sse_customer_key($steps.asked("SSECustomerKey"))
            .set_sse_customer_key_md5($steps.asked("SSECustomerKeyMD5"))
    };
}

macro_rules! write_under {
    ($request:expr, $steps:expr) => {
        read_under!($request, $steps)
            .set_server_side_encryption($steps.asked("ServerSideEncryption").map(|mode| mode.as_str().into()))
            .set_ssekms_key_id($steps.asked("SSEKMSKeyId"))
            .set_ssekms_encryption_context($steps.asked("SSEKMSEncryptionContext"))
            .set_bucket_key_enabled($steps.encryption.get("BucketKeyEnabled").and_then(Value::as_bool))
    };
}

struct Steps<'a> {
    s3: Client,
    sent: Sent,
    bucket: &'a str,
    encryption: Map<String, Value>,
}

impl Steps<'_> {
    async fn put(&self, key: &str, file: &str) -> Result<(), Failure> {
        let request = self.s3.put_object().bucket(self.bucket).key(key).body(streamed(file).await?);
        let answer = write_under!(request, self).send().await?;
        let context = ("SSEKMSEncryptionContext", answer.ssekms_encryption_context().into());
        let kind = ("ChecksumType", answer.checksum_type().map(ChecksumType::as_str).into());
        let fields = encryption_of!(answer).into_iter().chain(customer_key_of!(answer)).chain(content_of!(answer));
        self.say("put", fields.chain([context, kind]));
        Ok(())
    }

    /// The SDK compares the body with the checksum that came along, where it is one of all these bytes.
    async fn get(&self, key: &str, range: Option<&str>) -> Result<(), Failure> {
        let request = self.s3.get_object().bucket(self.bucket).key(key).set_range(range.map(str::to_owned));
        let mut answer = read_under!(request, self).send().await?;
        let (mut digest, mut body_len) = (Sha256::new(), 0);
        while let Some(piece) = answer.body.try_next().await.map_err(BoxError::from)? {
            digest.update(&piece);
            body_len += piece.len();
        }
        let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let body = [("body_sha256", hex.into()), ("body_len", body_len.into())];
        let range = ("ContentRange", answer.content_range().into());
        let kind = ("ChecksumType", answer.checksum_type().map(ChecksumType::as_str).into());
        let fields = encryption_of!(answer).into_iter().chain(customer_key_of!(answer)).chain(content_of!(answer));
        self.say("get", fields.chain(body).chain([range, kind]));
        Ok(())
    }

    /// From the mode into the mode.
    async fn copy(&self, source_key: &str, key: &str) -> Result<(), Failure> {
        let request = self.s3.copy_object().bucket(self.bucket).key(key);
        let request = request
            .copy_source(format!("{}/{source_key}", self.bucket))
            .set_copy_source_sse_customer_algorithm(self.asked("SSECustomerAlgorithm"))
            .set_copy_source_sse_customer_key(self.asked("SSECustomerKey"))
            .set_copy_source_sse_customer_key_md5(self.asked("SSECustomerKeyMD5"));
        let answer = write_under!(request, self).send().await?;
        let context = ("SSEKMSEncryptionContext", answer.ssekms_encryption_context().into());
        let result = answer.copy_object_result().ok_or_else(|| BoxError::from("a copy's answer has no result"))?;
        let fields = encryption_of!(answer).into_iter().chain(customer_key_of!(answer)).chain(content_of!(result));
        self.say("copy", fields.chain([context]));
        Ok(())
    }

    /// A part for each file.
    async fn multipart(&self, key: &str, files: &[&str]) -> Result<(), Failure> {
        let request = self.s3.create_multipart_upload().bucket(self.bucket).key(key);
        let started = write_under!(request, self).send().await?;
        let context = ("SSEKMSEncryptionContext", started.ssekms_encryption_context().into());
        self.say("create", encryption_of!(started).into_iter().chain(customer_key_of!(started)).chain([context]));

        let upload_id = started.upload_id().ok_or_else(|| BoxError::from("a new upload's answer has no id"))?;
        let mut parts = Vec::new();
        for (number, file) in (1..).zip(files) {
            parts.push(self.part(key, upload_id, number, file).await?);
        }

        let request = self.s3.complete_multipart_upload().bucket(self.bucket).key(key).upload_id(upload_id);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let answer = request.multipart_upload(parts).send().await?;
        let kind = ("ChecksumType", answer.checksum_type().map(ChecksumType::as_str).into());
        self.say("complete", encryption_of!(answer).into_iter().chain(content_of!(answer)).chain([kind]));
        Ok(())
    }

    async fn part(&self, key: &str, upload_id: &str, number: i32, file: &str) -> Result<CompletedPart, Failure> {
        let request = self.s3.upload_part().bucket(self.bucket).key(key).upload_id(upload_id).part_number(number);
        let answer = read_under!(request.body(streamed(file).await?), self).send().await?;
        let fields = encryption_of!(answer).into_iter().chain(customer_key_of!(answer)).chain(content_of!(answer));
        self.say("part", fields);
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        Ok(part.set_checksum_crc32(answer.checksum_crc32).build())
    }

    /// A field of ENCRYPTION.
    fn asked(&self, name: &str) -> Option<String> {
        self.encryption.get(name)?.as_str().map(str::to_owned)
    }

    /// Prints an answer: what it does not say is left out.
    fn say(&self, answer: &str, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        let said = fields.into_iter().filter(|(_, value)| !value.is_null());
        let mut line: Map<String, Value> = said.map(|(name, value)| (name.to_owned(), value)).collect();
        line.insert("answer".to_owned(), answer.into());
        line.insert("sent".to_owned(), self.sent.take().into());
        println!("{}", Value::Object(line));
    }
}

/// Read while it is sent: that is when the SDK writes the checksum behind the body.
async fn streamed(file: &str) -> Result<ByteStream, BoxError> {
    Ok(ByteStream::from_path(file).await?)
}
