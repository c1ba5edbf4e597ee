//! Which instructions encrypt: chosen once at start by what the processor has, or forced.
//!
//! A path is a value that holds its proof, so safe code cannot reach a kernel that the processor lacks. A path that was
//! asked for and is absent is an error, never silently another one.
//!
//! The standard library detects, not `cpufeatures`: that counts VAES among the features that need AVX-512 state, so
//! processors with VAES and AVX2 only would never be found.

use std::{env, fmt, sync::OnceLock};

use crate::error::PathAbsent;

/// The variable that forces a path.
const VARIABLE: &str = "STRONGROOM_CPU";

/// One way to encrypt and to decrypt: the instructions it takes. Every path gives the same bytes.
#[derive(Clone, Copy)]
pub struct CpuPath(pub(crate) Kind);

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Crate,
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi),
    #[cfg(target_arch = "x86_64")]
    Vaes256(Vaes256),
    #[cfg(target_arch = "x86_64")]
    Vaes512(Vaes512),
}

impl CpuPath {
    /// The names of all paths, slowest first, present or not.
    pub const NAMES: [&str; 4] = ["crate", "aesni", "vaes256", "vaes512"];

    /// What this process takes: `STRONGROOM_CPU` if it is set, else the fastest that is present. Looked up once.
    ///
    /// # Errors
    /// [`PathAbsent`] where `STRONGROOM_CPU` asks for what this processor lacks, or for no path at all.
    pub fn chosen() -> Result<Self, PathAbsent> {
        static CHOSEN: OnceLock<Result<CpuPath, PathAbsent>> = OnceLock::new();
        let choose = || match env::var_os(VARIABLE) {
            None => Ok(Self::fastest()),
            Some(name) => Self::named(&name.to_string_lossy()),
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// The path of that name, for tests and measurements.
    ///
    /// # Errors
    /// [`PathAbsent`] where this processor lacks it, or there is none of that name.
    pub fn named(name: &str) -> Result<Self, PathAbsent> {
        let found = match name {
            "crate" => Some(Kind::Crate),
            #[cfg(target_arch = "x86_64")]
            "aesni" => AesNi::detect().map(Kind::AesNi),
            #[cfg(target_arch = "x86_64")]
            "vaes256" => Vaes256::detect().map(Kind::Vaes256),
            #[cfg(target_arch = "x86_64")]
            "vaes512" => Vaes512::detect().map(Kind::Vaes512),
            _ => None,
        };
        found.map(Self).ok_or_else(|| PathAbsent { asked: name.to_owned() })
    }

    /// Its name, one of [`Self::NAMES`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Crate => "crate",
            #[cfg(target_arch = "x86_64")]
            Kind::AesNi(_) => "aesni",
            #[cfg(target_arch = "x86_64")]
            Kind::Vaes256(_) => "vaes256",
            #[cfg(target_arch = "x86_64")]
            Kind::Vaes512(_) => "vaes512",
        }
    }

    /// The fastest path that this processor has.
    pub fn fastest() -> Self {
        Self::NAMES.iter().rev().find_map(|name| Self::named(name).ok()).unwrap_or(Self(Kind::Crate))
    }
}

impl fmt::Display for CpuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for CpuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{AesNi, Vaes256, Vaes512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected as has;

    /// Proof of AES-NI, and of AVX, which all but its first processors have: three-operand instructions.
    #[derive(Clone, Copy)]
    pub(crate) struct AesNi(());

    /// Proof of VAES on 32-byte registers, and of AES-NI.
    #[derive(Clone, Copy)]
    pub(crate) struct Vaes256(());

    /// Proof of VAES and VPCLMULQDQ on 64-byte registers, and of AES-NI.
    #[derive(Clone, Copy)]
    pub(crate) struct Vaes512(());

    impl AesNi {
        pub(crate) fn detect() -> Option<Self> {
            (has!("aes") && has!("avx")).then_some(Self(()))
        }
    }

    impl Vaes256 {
        pub(crate) fn detect() -> Option<Self> {
            (AesNi::detect().is_some() && has!("vaes") && has!("avx2")).then_some(Self(()))
        }

        pub(crate) fn aesni(self) -> AesNi {
            AesNi(())
        }
    }

    impl Vaes512 {
        pub(crate) fn detect() -> Option<Self> {
            let wide = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("vaes") && has!("vpclmulqdq");
            (AesNi::detect().is_some() && wide).then_some(Self(()))
        }

        pub(crate) fn aesni(self) -> AesNi {
            AesNi(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_absent_or_unknown_is_an_error_that_names_it() {
        for name in ["", "vaes1024", "VAES512", "crate "] {
            let refused = CpuPath::named(name).unwrap_err();
            assert_eq!(refused.asked, name);
        }
    }

    #[test]
    fn every_path_that_is_found_bears_its_name() {
        for name in CpuPath::NAMES {
            match CpuPath::named(name) {
                Ok(path) => assert_eq!(path.name(), name),
                Err(_) => println!("absent: {name}"),
            }
        }
        assert!(CpuPath::named("crate").is_ok());
    }
}
