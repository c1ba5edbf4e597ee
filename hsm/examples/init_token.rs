//! Initialises a token for this crate's tests: `init_token MODULE SLOT LABEL SO_PIN PIN`. Slot `-` is the first one.
//!
//! Where the module ships with a security officer's PIN that must be changed (opencryptoki: 87654321), it is changed to
//! SO_PIN; where a user PIN must be changed after it was set, it is set to another first. A token that takes PIN already is
//! emptied instead: opencryptoki 3.8 is of no more use once it was initialised under a PIN of the officer's own.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, slot, label, so_pin, pin] = args.as_slice() else { return Err("five arguments".into()) };
    let module = Pkcs11::new(path)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = module.get_slots_with_token()?;
    let find = |slots: Vec<Slot>| match slot.as_str() {
        "-" => slots.first().copied(),
        number => slots.into_iter().find(|slot| slot.id().to_string() == *number),
    };
    let found = find(slots).ok_or("no such slot")?;
    let so_pin = AuthPin::new(so_pin.as_str().into());
    let pin = AuthPin::new(pin.as_str().into());
    let shipped = AuthPin::new("87654321".into());
    if let Ok(session) = module.open_rw_session(found)
        && session.login(UserType::User, Some(&pin)).is_ok()
    {
        for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            for object in session.find_objects(&[Attribute::Class(class)])? {
                session.destroy_object(object)?;
            }
        }
        return Ok(());
    }
    let is_shipped = module.init_token(found, &shipped, label).is_ok();
    if !is_shipped {
        module.init_token(found, &so_pin, label)?;
    }
    if is_shipped {
        let session = module.open_rw_session(found)?;
        session.login(UserType::So, Some(&shipped))?;
        session.set_pin(&shipped, &so_pin)?;
        session.logout()?;
    }
    let session = module.open_rw_session(found)?;
    session.login(UserType::So, Some(&so_pin))?;
    let first = AuthPin::new("12345670".into());
    session.init_pin(&first)?;
    session.logout()?;
    session.login(UserType::User, Some(&first))?;
    session.set_pin(&first, &pin)?;
    session.logout()?;
    Ok(())
}
