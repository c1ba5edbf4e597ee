//! The fields of a form, up to its file. What comes after the file is not looked at, as S3 documents it.

use bytes::Bytes;
use hyper::body::Incoming;
use multer::{Field, Multipart};
use s3s::{Body, S3ErrorCode};

use super::super::refusal::Refusal;

/// All fields before the file, in bytes of names and values: S3's limit.
const FIELDS_LEN_MAX: usize = 20 << 10;

/// A form whose file is still to come.
pub(super) struct Form {
    /// Names in lower case; none twice.
    pub(super) fields: Vec<(String, String)>,
    pub(super) file: Field<'static>,
}

impl Form {
    /// Reads the fields before the file.
    pub(super) async fn read(content_type: &str, body: Incoming) -> Result<Self, Refusal> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| malformed())?;
        let stream = http_body_util::BodyDataStream::new(Body::from(body));
        let mut parts = Multipart::new(stream, boundary);
        let (mut fields, mut room): (Vec<(String, String)>, _) = (Vec::new(), FIELDS_LEN_MAX);
        loop {
            let part = parts.next_field().await.map_err(|_| malformed())?;
            let part = part.ok_or_else(|| {
                Refusal::invalid_argument("POST requires exactly one file upload per request.")
                    .with("ArgumentName", "file")
            })?;
            let name = part.name().ok_or_else(malformed)?.to_ascii_lowercase();
            if name == "file" {
                let file_name = part.file_name().unwrap_or_default().to_owned();
                insert_file_name(&mut fields, &file_name);
                return Ok(Self { fields, file: part });
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::invalid_argument("A field was given twice.").with("ArgumentName", name));
            }
            room = room.checked_sub(name.len()).ok_or_else(too_large)?;
            let value = text(part, &mut room).await?;
            fields.push((name, value));
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

async fn text(mut part: Field<'static>, room: &mut usize) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(|_| malformed())? {
        let chunk: Bytes = chunk;
        *room = room.checked_sub(chunk.len()).ok_or_else(too_large)?;
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// A key may take up the name of the file, which is its last part whatever folders a browser adds.
fn insert_file_name(fields: &mut [(String, String)], file_name: &str) {
    let last = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    if let Some((_, key)) = fields.iter_mut().find(|(name, _)| name == "key") {
        *key = key.replace("${filename}", last);
    }
}

fn malformed() -> Refusal {
    Refusal::new(
        S3ErrorCode::MalformedPOSTRequest,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

fn too_large() -> Refusal {
    Refusal::new(
        S3ErrorCode::MaxPostPreDataLengthExceededError,
        "Your POST request fields preceding the upload file were too large.",
    )
    .with("MaxPostPreDataLengthBytes", FIELDS_LEN_MAX.to_string())
}
