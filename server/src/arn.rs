//! The names by which S3 clients call master keys: ARNs, key ids and aliases. Text only; what there is, the keyring knows.

use strongroom_hsm::{Alias, MasterKeyId};

/// The region that this server says it is.
pub const REGION: &str = "us-east-1";

/// The account that everything here belongs to.
pub const ACCOUNT: &str = "000000000000";

/// The ARN of an alias.
pub fn of_alias(alias: &Alias) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/{alias}")
}

/// The ARN of one version of a master key.
pub fn of_master_key(id: &MasterKeyId) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

/// The account that the ARN of a master key names; `None` if the text is no ARN of a key.
pub fn account_of_key(text: &str) -> Option<&str> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "kms", _, account, resource] = parts.as_slice() else { return None };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_key = resource.strip_prefix("key/").is_some_and(|id| !id.is_empty());
    (partition.starts_with("aws") && is_account && is_key).then_some(account)
}

/// What a key id may mean, the likelier first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyName {
    /// An alias.
    Alias(Alias),
    /// A version, by its id.
    Id(MasterKeyId),
    /// 32 hexadecimal digits are an id, and may be an alias.
    Either(MasterKeyId, Alias),
}

impl KeyName {
    /// Reads `NAME`, `alias/NAME`, an id, or the ARN of an alias or id; `None` for what can name no master key of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let alias = |name: &str| Alias::new(name).ok();
        if let Some(rest) = text.strip_prefix("arn:") {
            let own = rest.strip_prefix("aws:kms:")?.strip_prefix(REGION)?.strip_prefix(':')?.strip_prefix(ACCOUNT)?;
            return match own.strip_prefix(':')?.split_once('/')? {
                ("alias", name) => alias(name).map(Self::Alias),
                ("key", id) => id.parse().ok().map(Self::Id),
                _ => None,
            };
        }
        if let Some(name) = text.strip_prefix("alias/") {
            return alias(name).map(Self::Alias);
        }
        match (text.parse(), alias(text)) {
            (Ok(id), Some(alias)) => Some(Self::Either(id, alias)),
            (_, alias) => alias.map(Self::Alias),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_alias_id_or_the_arn_of_either() {
        let alias = || Alias::new("team/a").unwrap();
        let id = MasterKeyId::new([0xab; 16]);
        let digits = "ab".repeat(16);
        for text in ["team/a", "alias/team/a", "arn:aws:kms:us-east-1:000000000000:alias/team/a"] {
            assert_eq!(KeyName::parse(text), Some(KeyName::Alias(alias())), "{text}");
        }
        assert_eq!(KeyName::parse(&of_alias(&alias())), Some(KeyName::Alias(alias())));
        assert_eq!(KeyName::parse(&of_master_key(&id)), Some(KeyName::Id(id)));
        assert_eq!(KeyName::parse(&digits), Some(KeyName::Either(id, Alias::new(digits.as_str()).unwrap())));
    }

    #[test]
    fn other_regions_accounts_and_services_are_not_ours() {
        for text in [
            "",
            "alias/",
            "a b",
            "arn:",
            "arn:aws:kms:eu-west-1:000000000000:alias/a",
            "arn:aws:kms:us-east-1:111122223333:alias/a",
            "arn:aws:kms:us-east-1:000000000000:alias",
            "arn:aws:kms:us-east-1:000000000000:key/alias",
            "arn:aws:kms:us-east-10:00000000000:alias/a",
            "arn:aws:s3:us-east-1:000000000000:alias/a",
        ] {
            assert_eq!(KeyName::parse(text), None, "{text}");
        }
    }
}
