//! The same promises on every token that this machine has: SoftHSM, kryoptic, opencryptoki, kryoptic behind p11-kit, NSS,
//! tpm2-pkcs11, and our forwarding module in each way of making an IV.
//!
//! A token that cannot be had is a test of its own that is shown as ignored, with what is missing; where
//! STRONGROOM_TOKENS lists it by name, it fails. A promise that a token cannot keep is shown as ignored, with the reason.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "shared with the other test binary, which uses the rest")]
mod harness;
mod sites;
mod suite;
mod vectors;

use libtest_mimic::{Arguments, Trial};
use sites::{Absent, Site};

fn main() {
    let arguments = Arguments::from_args();
    let wanted = std::env::var("STRONGROOM_TOKENS").unwrap_or_default();
    let mut trials = Vec::new();
    for place in sites::ALL {
        match (place.look)() {
            Ok(()) => trials.extend(suite::PROMISES.iter().filter(|promise| (promise.applies)(place)).map(|promise| {
                let name = format!("{}::{}", place.name, promise.name);
                if let Some(why) = place.excuse(promise.name) {
                    return left_out(format!("{name} is left out: {why}"), true, why);
                }
                Trial::test(name, move || {
                    let site = Site::make(place).map_err(|error| error.to_string())?;
                    (promise.check)(&site);
                    Ok(())
                })
            })),
            Err(Absent(why)) => {
                let is_wanted = wanted.split(',').any(|name| name == place.name);
                trials.push(left_out(format!("{} is absent: {why}", place.name), !is_wanted, why));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that is shown as ignored, or fails, and says why also where tests are told quietly.
fn left_out(name: String, is_ignored: bool, why: impl Into<String>) -> Trial {
    eprintln!("{name}");
    let why = why.into();
    Trial::test(name, move || Err(why.into())).with_ignored_flag(is_ignored)
}
