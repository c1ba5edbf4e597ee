//! What the catalog seals of users and access keys: CBOR with numbered fields, under the store key, each for its own name.

use minicbor::{Decode, Decoder, Encode, Encoder};
use strongroom_engine::{Context, DataKey, Kind, open_small, seal_small};
use zeroize::Zeroizing;

use crate::error::OpError;
use crate::id::StoreId;

/// A user.
#[derive(Clone, Encode, Decode)]
pub(super) struct UserRecord {
    /// A user made again under the same name is another.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) id: [u8; 16],
    /// Milliseconds since 1970.
    #[n(1)]
    pub(super) created_ms: u64,
    /// By name.
    #[n(2)]
    pub(super) policies: Vec<IdentityPolicy>,
}

/// A policy of a user.
#[derive(Clone, Encode, Decode)]
pub(super) struct IdentityPolicy {
    /// Its name.
    #[n(0)]
    pub(super) name: String,
    /// JSON, as it was put.
    #[n(1)]
    pub(super) document: String,
}

/// An access key.
#[derive(Encode, Decode)]
pub(super) struct AccessKeyRecord {
    /// Whose it is.
    #[n(0)]
    pub(super) user: String,
    /// And of which of those who bore the name.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) user_id: [u8; 16],
    /// What its holder signs with.
    #[n(2)]
    pub(super) secret: Secret,
    /// Whether it signs anything.
    #[n(3)]
    pub(super) is_enabled: bool,
    /// Milliseconds since 1970.
    #[n(4)]
    pub(super) created_ms: u64,
}

/// The secret of an access key. No Debug, Clone or Serialize: it cannot be shown by accident.
pub(super) struct Secret(pub(super) Zeroizing<String>);

impl<C> Encode<C> for Secret {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Secret {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Zeroizing::new(decoder.str()?.to_owned())))
    }
}

/// Where a record belongs; what is sealed for one place opens in no other.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    User(&'a str),
    AccessKey(&'a str),
}

impl Place<'_> {
    /// Separates the two kinds from each other, and from any other use of the store key.
    fn label(self) -> &'static str {
        match self {
            Self::User(_) => "strongroom/user/1",
            Self::AccessKey(_) => "strongroom/access-key/2",
        }
    }

    fn context(self, store: StoreId) -> strongroom_engine::ContextDigest {
        let mut context = Context::new(Kind::Configuration);
        context.store_id = store.as_bytes();
        match self {
            Self::User(name) | Self::AccessKey(name) => context.object_key = name.as_bytes(),
        }
        context.digest()
    }
}

/// Longer than every access-key record: a buffer that grew would leave copies of the secret behind.
const RECORD_LEN: usize = 512;

pub(super) fn seal<R: Encode<()>>(
    key: &DataKey,
    store: StoreId,
    place: Place<'_>,
    record: &R,
) -> Result<Vec<u8>, OpError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(RECORD_LEN));
    match minicbor::encode(record, &mut *plain) {
        Ok(()) => Ok(seal_small(key, place.label(), &place.context(store), &plain)?),
        // A Vec takes every byte, and no record has a field that CBOR cannot hold.
        Err(never) => unreachable!("{never}"),
    }
}

/// Opens what was sealed for this place; anything else is damage.
pub(super) fn open<R: for<'b> Decode<'b, ()>>(
    key: &DataKey,
    store: StoreId,
    place: Place<'_>,
    sealed: &[u8],
) -> Result<R, OpError> {
    let what = match place {
        Place::User(name) => format!("the row of user {name}"),
        Place::AccessKey(id) => format!("the row of access key {id}"),
    };
    let plain = open_small(key, place.label(), &place.context(store), sealed)
        .map_err(|_| OpError::Damaged(format!("{what} was altered, or belongs elsewhere")))?;
    minicbor::decode(&plain).map_err(|_| OpError::Damaged(format!("{what} has a form that this version does not know")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_in_its_own_place_only() {
        let (key, store) = (DataKey::generate().unwrap(), StoreId::from_bytes([1; 16]));
        let record = UserRecord { id: [2; 16], created_ms: 3, policies: vec![] };
        let sealed = seal(&key, store, Place::User("alice"), &record).unwrap();
        let opens = |store, place| open::<UserRecord>(&key, store, place, &sealed).is_ok();
        assert!(opens(store, Place::User("alice")));
        assert!(!opens(store, Place::User("bob")));
        assert!(!opens(store, Place::AccessKey("alice")));
        assert!(!opens(StoreId::from_bytes([9; 16]), Place::User("alice")));
        assert!(open::<UserRecord>(&DataKey::generate().unwrap(), store, Place::User("alice"), &sealed).is_err());
    }
}
