//! Does to a token, for this crate's tests, what Strongroom itself never does.
//!
//! `token_tool MODULE PIN_FILE extractable|destroy CKA_ID` with SOFTHSM2_CONF set: makes an extractable AES key with this
//! id (32 hexadecimal digits), or destroys every key with it.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, pin_file, action, id] = args.as_slice() else { return Err("four arguments".into()) };
    let id = (0..16).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16)).collect::<Result<Vec<u8>, _>>()?;
    let module = Pkcs11::new(module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = *module.get_slots_with_initialized_token()?.first().ok_or("no token")?;
    let session = module.open_rw_session(slot)?;
    session.login(UserType::User, Some(&AuthPin::new(std::fs::read_to_string(pin_file)?.trim().into())))?;
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
        other => return Err(format!("unknown action {other}").into()),
    }
    Ok(())
}
