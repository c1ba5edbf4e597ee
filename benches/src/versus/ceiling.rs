//! What a path could do if there were no memory: AES rounds over registers, nothing else.
#![allow(unsafe_code)] // The one reason: the loop must be exactly these instructions.

use strongroom_engine::CpuPath;

use super::{Contender, timed};

/// Encrypts, or would, `bytes` bytes in registers. None where the path is absent, or knows no ceiling.
#[cfg(target_arch = "x86_64")]
pub(super) fn contender(path: CpuPath, bytes: usize) -> Option<Contender> {
    let rounds = move |register_len: usize| bytes * 14 / register_len / 24;
    let contender: Contender = match path.name() {
        "vaes512" => timed(move || wide(rounds(64))),
        "vaes256" => timed(move || middle(rounds(32))),
        "aesni" => timed(move || narrow(rounds(16))),
        _ => return None,
    };
    Some(contender)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn contender(_path: CpuPath, _bytes: usize) -> Option<Contender> {
    None
}

macro_rules! ceiling {
    ($name:ident, $register:literal, $instruction:literal) => {
        /// 24 rounds over twelve independent registers, so many times.
        #[cfg(target_arch = "x86_64")]
        fn $name(times: usize) {
            macro_rules! round {
                () => {
                    concat!(
                        $instruction, " ", $register, "0, ", $register, "0, ", $register, "12\n",
                        $instruction, " ", $register, "1, ", $register, "1, ", $register, "12\n",
                        $instruction, " ", $register, "2, ", $register, "2, ", $register, "12\n",
                        $instruction, " ", $register, "3, ", $register, "3, ", $register, "12\n",
                        $instruction, " ", $register, "4, ", $register, "4, ", $register, "12\n",
                        $instruction, " ", $register, "5, ", $register, "5, ", $register, "12\n",
                        $instruction, " ", $register, "6, ", $register, "6, ", $register, "12\n",
                        $instruction, " ", $register, "7, ", $register, "7, ", $register, "12\n",
                        $instruction, " ", $register, "8, ", $register, "8, ", $register, "12\n",
                        $instruction, " ", $register, "9, ", $register, "9, ", $register, "12\n",
                        $instruction, " ", $register, "10, ", $register, "10, ", $register, "12\n",
                        $instruction, " ", $register, "11, ", $register, "11, ", $register, "12\n",
                    )
                };
            }
            // SAFETY: only registers named below are written; the caller holds a path that has the instruction.
            unsafe {
                std::arch::asm!(
                    "2:", round!(), round!(), "dec {times}", "jnz 2b", "vzeroupper",
                    times = inout(reg) times.max(1) => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

ceiling!(wide, "zmm", "vaesenc");
ceiling!(middle, "ymm", "vaesenc");
ceiling!(narrow, "xmm", "vaesenc");
