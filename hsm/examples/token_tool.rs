//! Does to a token, for this crate's tests, what Strongroom itself never does.
//!
//! `token_tool MODULE PIN_FILE extractable|destroy|count CKA_ID` with the module's variables set: makes an extractable AES
//! key with this id (32 hexadecimal digits), destroys every secret key with it, or counts the keys of every kind.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, pin_file, action, id] = args.as_slice() else { return Err("four arguments".into()) };
    let id = (0..16).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16)).collect::<Result<Vec<u8>, _>>()?;
    let module = Pkcs11::new(module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let pin = AuthPin::new(std::fs::read_to_string(pin_file)?.trim().into());
    // The one that takes the PIN: not every module tells which are initialised.
    let sessions = module.get_slots_with_token()?.into_iter().filter_map(|slot| module.open_rw_session(slot).ok());
    let logged_in = |session: &Session| session.login(UserType::User, Some(&pin)).is_ok();
    let session = sessions.into_iter().find(logged_in).ok_or("no token takes this PIN")?;
    let key = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(id)];
    match action.as_str() {
        "extractable" => {
            let [class, id] = key;
            let rest = [
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen(32.into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(true),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
            ];
            let template: Vec<Attribute> = [class, id].into_iter().chain(rest).collect();
            session.generate_key(&Mechanism::AesKeyGen, &template)?;
        }
        "destroy" => {
            for object in session.find_objects(&key)? {
                session.destroy_object(object)?;
            }
        }
        "count" => {
            let [_, id] = key;
            let kinds = [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY];
            let counts =
                kinds.map(|kind| session.find_objects(&[Attribute::Class(kind), id.clone()]).map(|found| found.len()));
            println!("{}", counts.into_iter().sum::<Result<usize, _>>()?);
        }
        other => return Err(format!("unknown action {other}").into()),
    }
    Ok(())
}
