//! What policies call the things that clients do.

/// An action of S3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// AbortMultipartUpload.
    AbortMultipartUpload,
    /// CreateBucket.
    CreateBucket,
    /// DeleteBucket.
    DeleteBucket,
    /// DeleteBucketPolicy.
    DeleteBucketPolicy,
    /// DeleteObject, and each key of DeleteObjects.
    DeleteObject,
    /// The same, of a version that is named.
    DeleteObjectVersion,
    /// GetBucketLocation.
    GetBucketLocation,
    /// GetBucketPolicy.
    GetBucketPolicy,
    /// GetBucketPolicyStatus.
    GetBucketPolicyStatus,
    /// GetBucketEncryption.
    GetEncryptionConfiguration,
    /// GetObject and HeadObject, and the source of a copy.
    GetObject,
    /// The same, of a version that is named.
    GetObjectVersion,
    /// ListBuckets.
    ListAllMyBuckets,
    /// ListObjects, ListObjectsV2 and HeadBucket.
    ListBucket,
    /// ListMultipartUploads.
    ListBucketMultipartUploads,
    /// ListParts.
    ListMultipartUploadParts,
    /// PutBucketPolicy.
    PutBucketPolicy,
    /// PutBucketEncryption and DeleteBucketEncryption.
    PutEncryptionConfiguration,
    /// PutObject, the target of a copy, and each step of a multipart upload.
    PutObject,
    /// UpdateObjectEncryption.
    UpdateObjectEncryption,
}

impl Action {
    /// As policies name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::CreateBucket => "s3:CreateBucket",
            Self::DeleteBucket => "s3:DeleteBucket",
            Self::DeleteBucketPolicy => "s3:DeleteBucketPolicy",
            Self::DeleteObject => "s3:DeleteObject",
            Self::DeleteObjectVersion => "s3:DeleteObjectVersion",
            Self::GetBucketLocation => "s3:GetBucketLocation",
            Self::GetBucketPolicy => "s3:GetBucketPolicy",
            Self::GetBucketPolicyStatus => "s3:GetBucketPolicyStatus",
            Self::GetEncryptionConfiguration => "s3:GetEncryptionConfiguration",
            Self::GetObject => "s3:GetObject",
            Self::GetObjectVersion => "s3:GetObjectVersion",
            Self::ListAllMyBuckets => "s3:ListAllMyBuckets",
            Self::ListBucket => "s3:ListBucket",
            Self::ListBucketMultipartUploads => "s3:ListBucketMultipartUploads",
            Self::ListMultipartUploadParts => "s3:ListMultipartUploadParts",
            Self::PutBucketPolicy => "s3:PutBucketPolicy",
            Self::PutEncryptionConfiguration => "s3:PutEncryptionConfiguration",
            Self::PutObject => "s3:PutObject",
            Self::UpdateObjectEncryption => "s3:UpdateObjectEncryption",
        }
    }
}

/// An action on a master key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAction {
    /// Unwrapping a data key, to read.
    Decrypt,
    /// Wrapping what is wrapped already anew.
    Encrypt,
    /// A new data key, to write.
    GenerateDataKey,
}

impl KeyAction {
    /// As policies name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decrypt => "kms:Decrypt",
            Self::Encrypt => "kms:Encrypt",
            Self::GenerateDataKey => "kms:GenerateDataKey",
        }
    }
}
