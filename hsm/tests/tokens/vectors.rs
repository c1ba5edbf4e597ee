//! Wycheproof's vectors for AES-GCM, RFC 3394 and RSA-OAEP, each through the token: keys are imported as session objects.
//!
//! A program of its own asks the token, as a worker would: a module that crashes costs one test.

use crate::harness::example;
use crate::sites::Site;
use std::process::Command;

pub(crate) fn wycheproofs_vectors_hold(site: &Site) {
    let strongroom_hsm::PinSource::File(pin) = &site.config.pin else { panic!("a file") };
    let mut program = Command::new(example("vectors"));
    program.arg(&site.config.module).arg(crate::sites::LABEL).arg(pin).envs(site.config.environment.clone());
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("held"), "{said}");
    print!("{}: {said}", site.place.name);
}
