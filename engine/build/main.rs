//! Writes the assembly of the VAES-512 kernels into `OUT_DIR`, for `src/cbc/vaes512.rs` to include.
//!
//! Generated, because what makes them fast is where each instruction stands among some thousand others, and that is a
//! rule, not a text. Nothing here looks at the machine that builds: whether a kernel runs is decided at run time.

#![allow(clippy::expect_used, clippy::panic)] // A build script that fails must stop the build, and say why.

mod decrypt;
mod encrypt;
mod schedule;

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build");
    let folder = env::var_os("OUT_DIR").expect("cargo sets it for build scripts");
    let write = |name: String, text: String| {
        fs::write(Path::new(&folder).join(&name), text).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
    };
    for groups in 1..=encrypt::GROUPS_MAX {
        write(format!("seal{groups}.s"), encrypt::kernel(groups, encrypt::Hash::Fused));
        write(format!("encrypt{groups}.s"), encrypt::kernel(groups, encrypt::Hash::None));
    }
    write("open.s".to_owned(), decrypt::kernel(decrypt::Hash::Fused));
    write("decrypt.s".to_owned(), decrypt::kernel(decrypt::Hash::None));
}
