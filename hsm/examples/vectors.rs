//! Runs Wycheproof's vectors through a token, for this crate's tests: `vectors MODULE LABEL PIN_FILE`.
//!
//! AES-GCM with 96-bit IVs and 128-bit tags, RFC 3394, and RSA-OAEP with SHA-256, as the rungs use them. A mechanism that
//! the token does not do at all is told as absent; one that takes what it must refuse, or refuses what it must take, is an
//! error.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::error::Error;
use wycheproof::TestResult;

type Failed = Box<dyn Error>;

struct Token {
    module: Pkcs11,
    slot: Slot,
    _anchor: Session,
}

impl Token {
    /// One for each vector: a failed operation may stay open in it.
    fn session(&self) -> Result<Session, Failed> {
        Ok(self.module.open_rw_session(self.slot)?)
    }
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, pin_file] = args.as_slice() else { return Err("three arguments".into()) };
    let module = Pkcs11::new(module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = module.get_slots_with_token()?;
    // One module's token information cannot be read by the crate (see raw_info.rs): it has a single token of ours.
    let fits = |slot: &Slot| module.get_token_info(*slot).map_or(slot.id() == 3, |info| info.label() == label);
    let slot = slots.into_iter().find(fits).ok_or("no such token")?;
    let anchor = module.open_rw_session(slot)?;
    anchor.login(UserType::User, Some(&AuthPin::new(std::fs::read_to_string(pin_file)?.into())))?;
    let token = Token { module, slot, _anchor: anchor };
    aes_gcm(&token)?;
    key_wrap(&token)?;
    rsa_oaep(&token)
}

fn aes_gcm(token: &Token) -> Result<(), Failed> {
    let mut tally = Tally::new("AES-GCM");
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm)?;
    let groups = set.test_groups.iter().filter(|group| (group.nonce_size, group.tag_size) == (96, 128));
    for group in groups.filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let session = token.session()?;
            let key = aes_key(&session, &test.key)?;
            let (mut iv, aad) = (test.nonce.to_vec(), test.aad.to_vec());
            let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, &aad, 128.into())?);
            let sealed = [test.ct.as_slice(), &test.tag].concat();
            tally.judge(test.tc_id, test.result, &test.pt, session.decrypt(&mechanism, key, &sealed));
        }
    }
    tally.end()
}

fn key_wrap(token: &Token) -> Result<(), Failed> {
    let mut tally = Tally::new("AES key wrap");
    let set = wycheproof::keywrap::TestSet::load(wycheproof::keywrap::TestName::AesKeyWrap)?;
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let session = token.session()?;
            let key = aes_key(&session, &test.key)?;
            // Those without a ciphertext say what must not be wrapped.
            if test.ct.is_empty() {
                let wrapped = session.encrypt(&Mechanism::AesKeyWrap, key, &test.pt);
                tally.judge_refusal(test.tc_id, wrapped.is_ok_and(|bytes| !bytes.is_empty()));
            } else {
                tally.judge(test.tc_id, test.result, &test.pt, session.decrypt(&Mechanism::AesKeyWrap, key, &test.ct));
            }
        }
    }
    tally.end()
}

fn rsa_oaep(token: &Token) -> Result<(), Failed> {
    let mut tally = Tally::new("RSA-OAEP SHA-256");
    let set = wycheproof::rsa_oaep::TestSet::load(wycheproof::rsa_oaep::TestName::Rsa3072Sha256Mgf1Sha256)?;
    for group in &set.test_groups {
        // With labels is another rung, which is not used. An empty message says nothing of a wrap.
        for test in group.tests.iter().filter(|test| test.label.is_empty() && !test.pt.is_empty()) {
            let session = token.session()?;
            let template = [
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::KeyType(KeyType::RSA),
                Attribute::Token(false),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Decrypt(true),
                Attribute::Modulus(unsigned(&group.key.n)),
                Attribute::PublicExponent(unsigned(&group.key.e)),
                Attribute::PrivateExponent(unsigned(&group.key.d)),
                Attribute::Prime1(unsigned(&group.key.p)),
                Attribute::Prime2(unsigned(&group.key.q)),
                Attribute::Exponent1(unsigned(&group.key.d1)),
                Attribute::Exponent2(unsigned(&group.key.d2)),
                Attribute::Coefficient(unsigned(&group.key.c)),
            ];
            let key = session.create_object(&template)?;
            let source = PkcsOaepSource::empty();
            let params = PkcsOaepParams::new(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, source);
            let opened = session.decrypt(&Mechanism::RsaPkcsOaep(params), key, &test.ct);
            tally.judge(test.tc_id, test.result, &test.pt, opened);
        }
    }
    tally.end()
}

fn aes_key(session: &Session, bytes: &[u8]) -> Result<ObjectHandle, Failed> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Value(bytes.to_vec()),
    ];
    Ok(session.create_object(&template)?)
}

/// Big-endian without the zero that keeps a number positive in other encodings.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

struct Tally {
    what: &'static str,
    held: usize,
    opened: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn new(what: &'static str) -> Self {
        Self { what, held: 0, opened: 0, wrong: Vec::new() }
    }

    fn judge(&mut self, id: usize, expected: TestResult, plain: &[u8], opened: cryptoki::error::Result<Vec<u8>>) {
        self.opened += usize::from(opened.is_ok());
        let right = match (expected, &opened) {
            (TestResult::Valid, Ok(bytes)) | (TestResult::Acceptable, Ok(bytes)) => bytes == plain,
            (TestResult::Invalid, Err(_)) | (TestResult::Acceptable, Err(_)) => true,
            (TestResult::Valid, Err(_)) | (TestResult::Invalid, Ok(_)) => false,
        };
        if right {
            self.held += 1;
        } else {
            let seen = opened.map_or_else(|error| format!("{error:?}"), |_| "opened".to_owned());
            self.wrong.push(format!("vector {id} ({expected:?}): {seen}"));
        }
    }

    fn judge_refusal(&mut self, id: usize, wrapped: bool) {
        if wrapped {
            self.wrong.push(format!("vector {id}: wrapped what has no whole number of blocks"));
        } else {
            self.held += 1;
        }
    }

    fn end(self) -> Result<(), Failed> {
        if self.opened == 0 {
            println!("{}: not done by this token", self.what);
        } else if self.wrong.is_empty() {
            println!("{}: {} vectors held", self.what, self.held);
        } else {
            return Err(format!("{}: {} held, but {}", self.what, self.held, self.wrong.join("; ")).into());
        }
        Ok(())
    }
}
