//! What administrators do to master keys on a token: make, list, adopt, retire, destroy.
//!
//! Nothing is made, changed or destroyed because a key was not found, and nothing is destroyed but by the id and the label
//! that Strongroom gave it.

use super::failure::{Failure, lost, patiently};
use super::mechanism::{self, Master, Pattern};
use super::object::{self, Found, label, read_label, signer_id, told};
use super::{TokenKeys, generate};
use crate::canary;
use crate::error::KeyError;
use crate::provider::{Alias, CreatedKey, KeyKind, MasterKeyId, TokenKey, Version};
use crate::rung::Rung;
use crate::wrapped::WrappedKey;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

impl TokenKeys {
    /// Makes a key and its canary, for the first rung in order that the token does. It does not wrap before the keyring
    /// knows it.
    pub(crate) fn create(&mut self, alias: Alias, version: Version) -> Result<CreatedKey, Failure> {
        let session = self.writable()?;
        let pattern = self.pattern_for_new()?;
        let begins = self.is_young();
        self.young = None;
        let (id, made) = patiently(|| {
            let id = MasterKeyId::fresh(self.known.as_slice().first().map(|key| &key.id)).map_err(Failure::Call)?;
            Ok((id, generate::make(&self.door, &session, pattern.rung(), &alias, version, &id)?))
        })
        .map_err(|failure| match failure {
            // A module that has run out of room for loaded keys has it in a process that begins.
            Failure::Lost(why) if !begins => Failure::Stale(why),
            other => other,
        })?;
        let canary = self.make_canary(&session, pattern, &made.master, &id).map_err(|why| {
            let left = made.destroy(&session);
            let what = format!(
                "token {} made master key {id} but does not wrap under it by {}: {why}; {left}",
                self.token,
                pattern.rung()
            );
            if begins { Failure::misconfigured(what) } else { Failure::Stale(what) }
        })?;
        let created = CreatedKey { id, version, alias, canary };
        // Found by its id, judged, canary opened: the way that every later use takes.
        let known = created.clone().into_known(false);
        self.twice(&known, |generation| generation.canary_opens(&known)).inspect_err(|_| {
            made.destroy(&session);
        })?;
        self.generation = None;
        Ok(created)
    }

    /// Makes a canary under a key that the token holds already, so that the keyring can take it up.
    pub(crate) fn adopt(&mut self, id: &MasterKeyId) -> Result<CreatedKey, Failure> {
        let absent = Failure::Call(KeyError::UnknownMasterKey { id: *id });
        let key = self.list()?.into_iter().find(|key| key.id == *id).ok_or(absent.clone())?;
        let session = self.session()?;
        let rungs = match key.kind {
            KeyKind::Aes => Rung::AesGcm,
            KeyKind::Rsa => Rung::RsaOaep,
        };
        let found = object::find(&session, id, rungs, self.habits.may_be_extractable).map_err(|error| lost(&error))?;
        let master = match found {
            Found::Key(master) => master,
            Found::Absent => return Err(absent),
            Found::Refused(why) => return Err(Failure::misconfigured(why)),
        };
        let pattern = self.habits.pattern(&master).ok_or_else(|| self.no_rung())?;
        let canary = self.make_canary(&session, pattern, &master, id).map_err(Failure::misconfigured)?;
        Ok(CreatedKey { id: *id, version: key.version, alias: key.alias, canary })
    }

    /// Every master key on the token whose label is Strongroom's.
    pub(crate) fn list(&self) -> Result<Vec<TokenKey>, Failure> {
        let session = self.session()?;
        let listed = || -> Result<Vec<TokenKey>, Error> {
            let mut keys = Vec::new();
            for (class, kind) in [(ObjectClass::SECRET_KEY, KeyKind::Aes), (ObjectClass::PRIVATE_KEY, KeyKind::Rsa)] {
                for handle in session.find_objects(&[Attribute::Class(class)])? {
                    match describe_key(&session, handle, kind) {
                        // Another node has destroyed it since it was found.
                        Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => {}
                        described => keys.extend(described?),
                    }
                }
            }
            Ok(keys)
        };
        let mut keys = listed().map_err(|error| lost(&error))?;
        keys.sort_by(|a, b| (&a.alias, a.version, a.id).cmp(&(&b.alias, b.version, b.id)));
        Ok(keys)
    }

    /// Takes CKA_ENCRYPT from a key, or gives it back: the token itself then refuses to wrap under it.
    pub(crate) fn set_wraps(&mut self, id: &MasterKeyId, wraps: bool) -> Result<(), Failure> {
        let session = self.writable()?;
        let class = match self.listed(id)?.kind {
            KeyKind::Aes => ObjectClass::SECRET_KEY,
            KeyKind::Rsa => ObjectClass::PUBLIC_KEY,
        };
        for handle in objects(&session, class, id).map_err(|error| lost(&error))? {
            let change = || session.update_attributes(handle, &[Attribute::Encrypt(wraps)]);
            patiently(|| change().map_err(|error| lost(&error))).map_err(|failure| {
                let Failure::Lost(reason) = failure else { return failure };
                Failure::misconfigured(format!(
                    "the token does not change CKA_ENCRYPT of master key {id} ({reason}): the keyring alone keeps it \
                     from wrapping"
                ))
            })?;
        }
        self.generation = None;
        Ok(())
    }

    /// Destroys a key for good: every object of it. What is not there counts as destroyed only if a process that has just
    /// begun does not see it either: others may not have noticed what another process made.
    pub(crate) fn destroy(&mut self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), Failure> {
        let session = self.writable()?;
        self.generation = None;
        let wanted = label(alias, version, id);
        let destroy = || -> Result<bool, Error> {
            let mut any = false;
            for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                for (id, wanted) in [(*id, wanted.clone()), (signer_id(id), format!("{wanted}/sign"))] {
                    for handle in objects(&session, class, &id)? {
                        if text(&session, handle, AttributeType::Label)? == Some(wanted.clone().into_bytes()) {
                            any = true;
                            match session.destroy_object(handle) {
                                // Another node was quicker.
                                Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) | Ok(()) => {}
                                Err(error) => return Err(error),
                            }
                        }
                    }
                }
            }
            Ok(any)
        };
        let any = patiently(|| destroy().map_err(|error| lost(&error)))?;
        if !any && !self.is_young() {
            return Err(Failure::Stale(format!("master key {id} is not seen, so a new worker looks for it")));
        }
        Ok(())
    }

    /// Aliases of which the token holds a later version than was begun by who shares the keyring: their versions here may be
    /// about to be destroyed, so nothing is wrapped under them. A version that was begun and never finished harms nobody,
    /// nor does another store's of the same alias.
    pub(super) fn look_for_later_versions(&self, notes: &mut Vec<String>) -> HashSet<Alias> {
        let mut newest: HashMap<Alias, Version> = HashMap::new();
        for key in self.known.as_slice() {
            let version = newest.entry(key.alias.clone()).or_insert(key.version);
            *version = key.version.max(key.begun).max(*version);
        }
        if newest.is_empty() {
            return HashSet::new();
        }
        let listed = match self.list() {
            Ok(listed) => listed,
            Err(failure) => {
                notes.push(format!("the token's keys cannot be listed: {}", failure.into_error()));
                return self.outgrown.clone();
            }
        };
        let is_ours = |key: &TokenKey| self.known.as_slice().iter().any(|known| known.id.is_of_same_store(&key.id));
        let is_later = |key: &TokenKey| newest.get(&key.alias).is_some_and(|version| key.version > *version);
        let later = |key: &&TokenKey| is_later(key) && is_ours(key);
        let mut outgrown = HashSet::new();
        for key in listed.iter().filter(later) {
            notes.push(format!(
                "token {} holds {}/{} ({}), a later version than the keyring: nothing is wrapped under {} before it is \
                 adopted, or a later one is made",
                self.token, key.alias, key.version, key.id, key.alias
            ));
            outgrown.insert(key.alias.clone());
        }
        outgrown
    }

    fn pattern_for_new(&self) -> Result<Pattern, Failure> {
        let first = self.rungs.iter().find_map(|rung| match rung {
            Rung::RsaOaep => Some(Pattern::Oaep),
            Rung::AesGcm | Rung::AesKeyWrap => self.habits.aes.filter(|pattern| pattern.rung() == *rung),
        });
        first.ok_or_else(|| self.no_rung())
    }

    fn no_rung(&self) -> Failure {
        Failure::misconfigured(format!(
            "token {} does none of the rungs that are configured: run strongroom hsm doctor to see what it does",
            self.token
        ))
    }

    fn make_canary(
        &self,
        session: &Session,
        pattern: Pattern,
        master: &Master,
        id: &MasterKeyId,
    ) -> Result<WrappedKey, String> {
        let context = canary::context(id);
        let sealed = mechanism::encrypt(session, pattern, master, canary::VALUE, &context);
        let ciphertext = sealed.map_err(|error| error.describe())?;
        Ok(WrappedKey { master: *id, rung: pattern.rung(), ciphertext })
    }

    /// Whether CKA_ENCRYPT was taken from this key.
    pub(super) fn is_retired(&self, id: &MasterKeyId) -> bool {
        self.listed(id).is_ok_and(|key| key.may_wrap == Some(false))
    }

    fn listed(&self, id: &MasterKeyId) -> Result<TokenKey, Failure> {
        let found = self.list()?.into_iter().find(|key| key.id == *id);
        found.ok_or(Failure::Call(KeyError::UnknownMasterKey { id: *id }))
    }

    fn session(&self) -> Result<Rc<Session>, Failure> {
        self.door.session().map_err(|error| lost(&error))
    }

    fn writable(&self) -> Result<Rc<Session>, Failure> {
        self.door.writable().map_err(|error| lost(&error))
    }
}

fn objects(session: &Session, class: ObjectClass, id: &MasterKeyId) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&[Attribute::Class(class), Attribute::Id(id.as_bytes().to_vec())])
}

fn text(session: &Session, handle: ObjectHandle, wanted: AttributeType) -> Result<Option<Vec<u8>>, Error> {
    Ok(session.get_attributes(handle, &[wanted])?.into_iter().find_map(|attribute| match attribute {
        Attribute::Label(bytes) | Attribute::Id(bytes) => Some(bytes),
        _ => None,
    }))
}

/// Nothing if the key is not Strongroom's.
fn describe_key(session: &Session, handle: ObjectHandle, kind: KeyKind) -> Result<Option<TokenKey>, Error> {
    let id = text(session, handle, AttributeType::Id)?.and_then(|id| id.try_into().ok()).map(MasterKeyId::new);
    let (Some(id), Some(label)) = (id, text(session, handle, AttributeType::Label)?) else { return Ok(None) };
    let Some((alias, version)) = read_label(&label, &id) else { return Ok(None) };
    let wrapping = match kind {
        KeyKind::Aes => Some(handle),
        KeyKind::Rsa => objects(session, ObjectClass::PUBLIC_KEY, &id)?.first().copied(),
    };
    let one = |handle: ObjectHandle, wanted: AttributeType| -> Result<Option<bool>, Error> {
        Ok(told(session, handle, &[wanted])?.first().and_then(|(_, value)| *value))
    };
    Ok(Some(TokenKey {
        id,
        alias,
        version,
        kind,
        may_wrap: wrapping.map_or(Ok(None), |handle| one(handle, AttributeType::Encrypt))?,
        may_unwrap: one(handle, AttributeType::Decrypt)?,
        sensitive: one(handle, AttributeType::Sensitive)?,
        extractable: one(handle, AttributeType::Extractable)?,
        always_sensitive: one(handle, AttributeType::AlwaysSensitive)?,
        never_extractable: one(handle, AttributeType::NeverExtractable)?,
        made_on_token: one(handle, AttributeType::Local)?,
    }))
}
