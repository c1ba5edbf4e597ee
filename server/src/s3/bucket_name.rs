//! Which names a bucket may bear: S3's rules for general purpose buckets.

use s3s::validation::{AwsNameValidation, NameValidation};

/// Names that S3 keeps for access points, table buckets and the like.
const RESERVED_PREFIXES: [&str; 2] = ["sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// The protocol library's rules, and those that it leaves out.
pub(super) struct BucketNames;

impl NameValidation for BucketNames {
    fn validate_bucket_name(&self, name: &str) -> bool {
        AwsNameValidation::new().validate_bucket_name(name)
            && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
            // No label of a host name begins or ends with a hyphen.
            && !name.contains(".-")
            && !name.contains("-.")
    }
}
