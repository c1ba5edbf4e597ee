//! What a request is aimed at: path, level, query, and the sub-resource that selects an operation.
//!
//! The protocol library picks an operation by the query names that it knows and takes any other request for a plain
//! read, write or delete of the object or bucket. So whatever S3 gives a meaning to and the library does not route for
//! this method and level is refused here; a name that S3 does not know is ignored, as S3 does.

use http::{Method, Uri};
use s3s::S3ErrorCode;

use super::refusal::Refusal;

/// What the path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// `/`
    Service,
    /// `/bucket`, with or without a slash behind it.
    Bucket,
    /// `/bucket/key`
    Object,
}

/// A request target that decodes.
pub(super) struct Target {
    pub(super) level: Level,
    /// Decoded names and values, in the order of the query.
    pub(super) query: Vec<(String, String)>,
}

/// Sub-resources of S3, in its API model of late 2026: name, then the methods that the protocol library routes for a
/// bucket, then for an object. G is GET, P is PUT, O is POST, D is DELETE. Where a routed operation is not implemented
/// here, its own answer is NotImplemented.
const SUB_RESOURCES: &[(&str, &str, &str)] = &[
    ("abac", "", ""),
    ("accelerate", "GP", ""),
    ("acl", "GP", "GP"),
    ("analytics", "GPD", ""),
    ("annotation", "", ""),
    ("attributes", "", "G"),
    ("cors", "GPD", ""),
    ("delete", "O", ""),
    ("encryption", "GPD", "P"),
    ("intelligent-tiering", "GPD", ""),
    ("inventory", "GPD", ""),
    ("legal-hold", "", "GP"),
    ("lifecycle", "GPD", ""),
    ("location", "G", ""),
    ("logging", "GP", ""),
    ("metadataAnnotationTable", "", ""),
    ("metadataConfiguration", "", ""),
    ("metadataInventoryTable", "", ""),
    ("metadataJournalTable", "", ""),
    ("metadataTable", "GOD", ""),
    ("metrics", "GPD", ""),
    ("notification", "GP", ""),
    ("object-lock", "GP", ""),
    ("ownershipControls", "GPD", ""),
    ("policy", "GPD", ""),
    ("policyStatus", "G", ""),
    ("publicAccessBlock", "GPD", ""),
    ("renameObject", "", ""),
    ("replication", "GPD", ""),
    ("requestPayment", "GP", ""),
    ("restore", "", "O"),
    ("retention", "", "GP"),
    ("select", "", "O"),
    ("session", "G", ""),
    ("tagging", "GPD", "GPD"),
    ("torrent", "", "G"),
    ("uploads", "G", "O"),
    ("versioning", "GP", ""),
    ("versions", "G", ""),
    ("website", "GPD", ""),
];

/// Parameters that decide what is done to what: given twice, two readers could pick different ones.
const SINGLE: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "start-after",
    "upload-id-marker",
    "uploadId",
    "versionId",
];

impl Target {
    /// Reads path and query.
    ///
    /// Refused: broken percent escapes, bytes that are no UTF-8, and keys whose `..` climb above the bucket, read from
    /// left to right (S3's rule for relative path elements).
    pub(super) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let path = decode(uri.path())?;
        let path = path.strip_prefix('/').ok_or_else(Refusal::invalid_uri)?;
        let level = match path.split_once('/') {
            None if path.is_empty() => Level::Service,
            None | Some((_, "")) => Level::Bucket,
            Some((_, key)) if climbs_out(key) => return Err(Refusal::invalid_uri()),
            Some(_) => Level::Object,
        };
        let query = uri.query().unwrap_or_default();
        decode(query)?;
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { level, query })
    }

    /// The value of a parameter; the first, if there are more.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether this is an upload of an object or part, with the content as its body.
    pub(super) fn uploads_content(&self, method: &Method, copies: bool) -> bool {
        *method == Method::PUT && self.level == Level::Object && !copies && self.sub_resource().is_none()
    }

    /// Refuses what would fall through to another operation than S3's.
    pub(super) fn check(&self, method: &Method) -> Result<(), Refusal> {
        if !matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::POST | Method::DELETE) {
            return Err(Refusal::new(
                S3ErrorCode::MethodNotAllowed,
                "The specified method is not allowed against this resource.",
            ));
        }
        if let Some(twice) = SINGLE.iter().find(|name| self.query.iter().filter(|(key, _)| key == *name).count() > 1) {
            return Err(Refusal::invalid_argument("A query parameter was given twice.").with("ArgumentName", *twice));
        }
        self.check_sub_resource(method)?;
        self.check_list_type(method)?;
        self.check_object(method)
    }

    fn sub_resource(&self) -> Option<&'static (&'static str, &'static str, &'static str)> {
        SUB_RESOURCES.iter().find(|(name, ..)| self.query.iter().any(|(key, _)| key.eq_ignore_ascii_case(name)))
    }

    fn check_sub_resource(&self, method: &Method) -> Result<(), Refusal> {
        let Some((name, bucket, object)) = self.sub_resource() else { return Ok(()) };
        let others = |(other, ..): &&(&str, &str, &str)| other != name;
        if let Some((second, ..)) =
            SUB_RESOURCES.iter().filter(others).find(|(other, ..)| self.query.iter().any(|(key, _)| key == other))
        {
            return Err(Refusal::invalid_argument("Only one sub-resource can be named in a request.")
                .with("ArgumentName", *second));
        }
        let routed = match self.level {
            Level::Service => "",
            Level::Bucket => bucket,
            Level::Object => object,
        };
        let spelled_so = self.query.iter().any(|(key, _)| key == name);
        let letter = match *method {
            Method::GET => 'G',
            Method::PUT => 'P',
            Method::POST => 'O',
            Method::DELETE => 'D',
            _ => '-',
        };
        if spelled_so && routed.contains(letter) {
            return Ok(());
        }
        Err(Refusal::not_implemented("This server does not implement this operation.").with("ResourceType", *name))
    }

    fn check_list_type(&self, method: &Method) -> Result<(), Refusal> {
        let lists = self.level == Level::Bucket && *method == Method::GET;
        match self.value("list-type") {
            Some(other) if lists && other != "2" => {
                Err(Refusal::invalid_argument("Invalid List Type specified in Query").with("ArgumentName", "list-type"))
            }
            _ => Ok(()),
        }
    }

    /// What S3 does not accept beside an upload must not be dropped in silence.
    fn check_object(&self, method: &Method) -> Result<(), Refusal> {
        if self.level != Level::Object {
            return Ok(());
        }
        let (part, upload) = (self.value("partNumber").is_some(), self.value("uploadId").is_some());
        if upload && self.sub_resource().is_some() {
            return Err(Refusal::invalid_argument("This operation does not accept an upload id.")
                .with("ArgumentName", "uploadId"));
        }
        if *method == Method::PUT && part != upload {
            return Err(Refusal::invalid_argument("A part number and an upload id are needed together.")
                .with("ArgumentName", if part { "partNumber" } else { "uploadId" }));
        }
        let takes_version = matches!(self.sub_resource(), Some((name, ..)) if *name != "uploads");
        if matches!(*method, Method::PUT | Method::POST) && self.value("versionId").is_some() && !takes_version {
            return Err(Refusal::invalid_argument("This operation does not accept a version-id.")
                .with("ArgumentName", "versionId"));
        }
        Ok(())
    }
}

/// The decoded text, if every escape is two hexadecimal digits and the bytes are UTF-8.
fn decode(text: &str) -> Result<String, Refusal> {
    let bytes = text.as_bytes();
    let whole = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !whole(at)) {
        return Err(Refusal::invalid_uri());
    }
    percent_encoding::percent_decode(bytes).decode_utf8().map(Into::into).map_err(|_| Refusal::invalid_uri())
}

fn climbs_out(key: &str) -> bool {
    let mut depth = 0_usize;
    for segment in key.split('/') {
        match segment {
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            "" | "." => {}
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, target: &str) -> Result<(), String> {
        let uri = target.parse::<Uri>().unwrap();
        Target::parse(&uri).and_then(|target| target.check(&method)).map_err(|refusal| refusal.code().to_owned())
    }

    #[test]
    fn a_sub_resource_that_the_library_does_not_route_never_falls_through_to_the_object_or_bucket() {
        for (method, target) in [
            (Method::GET, "/bucket/k?encryption"),
            (Method::DELETE, "/bucket/k?encryption"),
            (Method::PUT, "/bucket/k?annotation=a"),
            (Method::DELETE, "/bucket/k?annotation=a"),
            (Method::PUT, "/bucket/k?renameObject"),
            (Method::DELETE, "/bucket/k?acl"),
            (Method::PUT, "/bucket/k?Acl"),
            (Method::PUT, "/bucket/k?%61nnotation"),
            (Method::DELETE, "/bucket?uploads"),
            (Method::DELETE, "/bucket?versioning"),
            (Method::PUT, "/bucket?abac"),
            (Method::PUT, "/bucket?metadataInventoryTable"),
            (Method::GET, "/bucket?delete"),
            (Method::HEAD, "/bucket?policy"),
            (Method::GET, "/?location"),
        ] {
            assert_eq!(check(method.clone(), target), Err("NotImplemented".into()), "{method} {target}");
        }
    }

    #[test]
    fn what_s3_does_not_accept_beside_an_upload_is_not_dropped() {
        for (method, target) in [
            (Method::PUT, "/bucket/k?partNumber=1"),
            (Method::PUT, "/bucket/k?uploadId=u"),
            (Method::PUT, "/bucket/k?partNumber=1&partNumber=2&uploadId=u"),
            (Method::PUT, "/bucket/k?versionId=v"),
            (Method::POST, "/bucket/k?uploads&uploadId=u"),
            (Method::PUT, "/bucket?encryption&policy"),
            (Method::GET, "/bucket?list-type=3"),
        ] {
            assert_eq!(check(method.clone(), target), Err("InvalidArgument".into()), "{method} {target}");
        }
        assert_eq!(check(Method::PATCH, "/bucket/k"), Err("MethodNotAllowed".into()));
    }

    #[test]
    fn what_the_library_routes_and_what_s3_ignores_passes() {
        for (method, target) in [
            (Method::GET, "/?x-id=ListBuckets"),
            (Method::GET, "/bucket?list-type=2&prefix=&delimiter=%2F"),
            (Method::PUT, "/bucket?encryption="),
            (Method::PUT, "/bucket/k?encryption&versionId=null"),
            (Method::POST, "/bucket?delete"),
            (Method::GET, "/bucket?analytics&id=1"),
            (Method::POST, "/bucket/k?uploads"),
            (Method::PUT, "/bucket/k?x-id=UploadPart&partNumber=1&uploadId=u"),
            (Method::DELETE, "/bucket/k?versionId=v&colour=blue"),
            (Method::PUT, "/bucket/a/../k%00?unknown"),
        ] {
            assert_eq!(check(method.clone(), target), Ok(()), "{method} {target}");
        }
    }

    #[test]
    fn a_target_that_does_not_decode_is_an_invalid_uri() {
        for target in [
            "/bucket/%",
            "/bucket/%4",
            "/bucket/%zz",
            "/bucket/%ff",
            "/bucket/k?prefix=%fe",
            "/bucket/k?prefix=%2",
            "/bucket/../k",
            "/bucket/a/../../k",
            "/bucket/%2e%2e/k",
            "/bucket/./../k",
            "*",
        ] {
            assert_eq!(check(Method::GET, target), Err("InvalidURI".into()), "{target}");
        }
    }
}
