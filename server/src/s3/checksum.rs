//! The digests that come with a body: which are claimed, in headers or trailers, and whether they hold.

use http::{HeaderMap, HeaderName};
use s3s::dto::{ChecksumAlgorithm, ChecksumType};
use s3s::{S3Request, TrailingHeaders};

use crate::catalog::record::UploadChecksum;
use crate::error::OpError;
use crate::ops::digest::{Algorithm, Checksum, ChecksumKind, Digested};
use crate::ops::put::Accept;

const ALL: [(Algorithm, &str, &str); 5] = [
    (Algorithm::Crc32, "CRC32", "x-amz-checksum-crc32"),
    (Algorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c"),
    (Algorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme"),
    (Algorithm::Sha1, "SHA1", "x-amz-checksum-sha1"),
    (Algorithm::Sha256, "SHA256", "x-amz-checksum-sha256"),
];

/// Headers of the family that carry no value.
const NOT_VALUES: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"];

/// What the sender of a body says about it.
pub(super) struct Claims {
    md5: Option<[u8; 16]>,
    checksum: Option<(Algorithm, Claimed)>,
    plain_len: Option<u64>,
}

enum Claimed {
    Value(Vec<u8>),
    InTrailer(&'static str, TrailingHeaders),
}

impl Claims {
    /// Of an upload.
    ///
    /// # Errors
    /// More than one checksum, an unknown or malformed one, or one that is announced and absent.
    pub(super) fn of<T>(request: &S3Request<T>, plain_len: Option<i64>) -> Result<Self, OpError> {
        let md5 = request
            .headers
            .get("content-md5")
            .map(|text| text.to_str().ok().and_then(decode::<16>).ok_or(OpError::InvalidDigest));
        let md5 = md5.transpose()?;
        let checksum = match (in_headers(&request.headers)?, in_trailer(request)?) {
            (Some(_), Some(_)) => return Err(one_only()),
            (Some((algorithm, value)), None) => Some((algorithm, Claimed::Value(value))),
            (None, trailer) => trailer,
        };
        let announced = request.headers.get("x-amz-sdk-checksum-algorithm");
        if let Some(announced) = announced {
            let announced = by_name(announced.to_str().unwrap_or_default())?;
            if checksum.as_ref().is_none_or(|(algorithm, _)| *algorithm != announced) {
                return Err(OpError::InvalidRequest(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found."
                        .into(),
                ));
            }
        }
        Ok(Self { md5, checksum, plain_len: plain_len.and_then(|len| u64::try_from(len).ok()) })
    }

    /// The announced length of the plaintext in bytes.
    pub(super) fn plain_len(&self) -> Option<u64> {
        self.plain_len
    }

    /// Whether the body's MD5 is claimed.
    pub(super) fn claims_md5(&self) -> bool {
        self.md5.is_some()
    }

    /// The checksums to take: the claimed one, or S3's own default.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        vec![self.claimed().unwrap_or(Algorithm::Crc64Nvme)]
    }

    /// The algorithm of the claimed checksum.
    pub(super) fn claimed(&self) -> Option<Algorithm> {
        self.checksum.as_ref().map(|(algorithm, _)| *algorithm)
    }

    /// Holds a body that has passed against all that was said of it.
    pub(super) fn accept(self) -> Accept {
        Box::new(move |digested| self.check(digested))
    }

    fn check(self, digested: &Digested) -> Result<(), OpError> {
        if self.plain_len.is_some_and(|len| len != digested.len) {
            return Err(OpError::IncompleteBody);
        }
        if self.md5.is_some() && self.md5 != digested.md5 {
            return Err(OpError::BadDigest("Content-MD5"));
        }
        let Some((algorithm, claimed)) = self.checksum else { return Ok(()) };
        let value = match claimed {
            Claimed::Value(value) => value,
            Claimed::InTrailer(name, trailers) => {
                let text =
                    trailers.read(|headers| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned));
                let text = text.flatten().ok_or(OpError::MalformedTrailer)?;
                value(algorithm, name, &text)?
            }
        };
        let holds = digested.checksums.iter().any(|taken| taken.algorithm == algorithm && taken.value == value);
        if holds { Ok(()) } else { Err(OpError::BadDigest(name(algorithm))) }
    }
}

fn in_headers(headers: &HeaderMap) -> Result<Option<(Algorithm, Vec<u8>)>, OpError> {
    let mut found = None;
    for (header, text) in headers {
        if !is_checksum(header) {
            continue;
        }
        let (algorithm, _, name) = *ALL.iter().find(|(_, _, name)| *name == header.as_str()).ok_or_else(unknown)?;
        if found.is_some() {
            return Err(one_only());
        }
        found = Some((algorithm, value(algorithm, name, text.to_str().unwrap_or_default())?));
    }
    Ok(found)
}

fn is_checksum(header: &HeaderName) -> bool {
    header.as_str().starts_with("x-amz-checksum-") && !NOT_VALUES.contains(&header.as_str())
}

fn in_trailer<T>(request: &S3Request<T>) -> Result<Option<(Algorithm, Claimed)>, OpError> {
    let Some(trailers) = &request.trailing_headers else { return Ok(None) };
    let mut found = None;
    for announced in request.headers.get_all("x-amz-trailer") {
        for announced in announced.to_str().unwrap_or_default().split(',') {
            let announced = announced.trim().to_ascii_lowercase();
            if announced.is_empty() || announced == "x-amz-trailer-signature" {
                continue;
            }
            let (algorithm, _, name) = *ALL.iter().find(|(_, _, name)| *name == announced).ok_or_else(|| {
                OpError::InvalidRequest("The value specified in the x-amz-trailer header is not supported".into())
            })?;
            if found.is_some() {
                return Err(one_only());
            }
            found = Some((algorithm, Claimed::InTrailer(name, trailers.clone())));
        }
    }
    Ok(found)
}

fn one_only() -> OpError {
    OpError::InvalidRequest(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.".into(),
    )
}

fn unknown() -> OpError {
    OpError::InvalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.".into())
}

fn value(algorithm: Algorithm, header: &'static str, text: &str) -> Result<Vec<u8>, OpError> {
    let decoded = base64_simd::STANDARD.decode_to_vec(text.as_bytes()).ok();
    decoded
        .filter(|bytes| bytes.len() == algorithm.value_len())
        .ok_or_else(|| OpError::InvalidRequest(format!("Value for {header} header is invalid.")))
}

fn decode<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    base64_simd::STANDARD.decode_to_vec(text.as_bytes()).ok()?.try_into().ok()
}

/// As S3 names the algorithm.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "CRC32",
        Algorithm::Crc32c => "CRC32C",
        Algorithm::Crc64Nvme => "CRC64NVME",
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
    }
}

/// The algorithm of this name, in any case.
///
/// # Errors
/// [`OpError::InvalidRequest`].
pub(super) fn by_name(text: &str) -> Result<Algorithm, OpError> {
    let found = ALL.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(algorithm, ..)| *algorithm).ok_or_else(|| {
        OpError::InvalidRequest(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid \
             types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
                .into(),
        )
    })
}

/// What an upload is opened with.
///
/// # Errors
/// A kind without an algorithm, or that the algorithm does not have.
pub(super) fn of_upload(
    algorithm: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> Result<Option<UploadChecksum>, OpError> {
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(OpError::InvalidRequest(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.".into(),
            )),
        };
    };
    let algorithm = by_name(algorithm.as_str())?;
    let kind = match kind.map(ChecksumType::as_str) {
        None if algorithm == Algorithm::Crc64Nvme => ChecksumKind::FullObject,
        None => ChecksumKind::Composite,
        Some("FULL_OBJECT") if algorithm.combines() => ChecksumKind::FullObject,
        Some("COMPOSITE") if algorithm != Algorithm::Crc64Nvme => ChecksumKind::Composite,
        Some("FULL_OBJECT" | "COMPOSITE") => {
            return Err(OpError::InvalidRequest(format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                kind.map_or("", ChecksumType::as_str),
                name(algorithm).to_ascii_lowercase()
            )));
        }
        Some(_) => return Err(OpError::InvalidRequest("Value for x-amz-checksum-type header is invalid.".into())),
    };
    Ok(Some(UploadChecksum { algorithm, kind }))
}

/// As S3 names the kind.
pub(super) fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// As S3 shows a value: base64, and for one over parts their number.
pub(super) fn shown(checksum: &Checksum) -> String {
    let value = base64_simd::STANDARD.encode_to_string(&checksum.value);
    match checksum.part_count {
        Some(count) => format!("{value}-{count}"),
        None => value,
    }
}

/// The values that a client names, of which S3 has one field each: malformed ones are refused.
///
/// # Errors
/// [`OpError::InvalidRequest`].
pub(super) fn named(fields: [(Algorithm, Option<&String>); 5]) -> Result<Vec<(Algorithm, Vec<u8>)>, OpError> {
    let mut named = Vec::new();
    for (algorithm, text) in fields {
        let Some(text) = text else { continue };
        // A checksum over parts may carry their number.
        let text = text.split_once('-').map_or(text.as_str(), |(value, _)| value);
        named.push((algorithm, value(algorithm, name(algorithm), text)?));
    }
    Ok(named)
}

/// The five checksum fields of an output, by name, from whatever has them.
macro_rules! fill_checksums {
    ($output:expr, $checksums:expr) => {
        for checksum in $checksums {
            let value = Some($crate::s3::checksum::shown(checksum));
            match checksum.algorithm {
                $crate::ops::digest::Algorithm::Crc32 => $output.checksum_crc32 = value,
                $crate::ops::digest::Algorithm::Crc32c => $output.checksum_crc32c = value,
                $crate::ops::digest::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = value,
                $crate::ops::digest::Algorithm::Sha1 => $output.checksum_sha1 = value,
                $crate::ops::digest::Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

/// The five checksum fields of an input, by algorithm.
macro_rules! checksum_fields {
    ($input:expr) => {
        [
            ($crate::ops::digest::Algorithm::Crc32, $input.checksum_crc32.as_ref()),
            ($crate::ops::digest::Algorithm::Crc32c, $input.checksum_crc32c.as_ref()),
            ($crate::ops::digest::Algorithm::Crc64Nvme, $input.checksum_crc64nvme.as_ref()),
            ($crate::ops::digest::Algorithm::Sha1, $input.checksum_sha1.as_ref()),
            ($crate::ops::digest::Algorithm::Sha256, $input.checksum_sha256.as_ref()),
        ]
    };
}

pub(super) use {checksum_fields, fill_checksums};
