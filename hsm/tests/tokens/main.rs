//! The same promises on every token that this machine has: SoftHSM, kryoptic, opencryptoki, kryoptic behind p11-kit, NSS,
//! and our forwarding module in each way of making an IV.
//!
//! A token that cannot be had is a test of its own that is shown as ignored, with what is missing; where
//! STRONGROOM_TOKENS lists it by name, it fails.

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
                Trial::test(name, move || {
                    let site = Site::make(place).map_err(|error| error.to_string())?;
                    (promise.check)(&site);
                    Ok(())
                })
            })),
            Err(Absent(why)) => {
                let is_wanted = wanted.split(',').any(|name| name == place.name);
                let name = format!("{} is absent: {why}", place.name);
                // Also where tests are told quietly.
                eprintln!("{name}");
                trials.push(Trial::test(name, move || Err(why.into())).with_ignored_flag(!is_wanted));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
