//! The kernel that encrypts up to 24 lanes in CBC, and hashes what it wrote.
//!
//! ```text
//! iteration i:   AES rounds of line i     (4 block steps of `groups` registers, each with a block of 4 lanes)
//!                line i+1 in              (64 bytes of each lane, cut into blocks, to the scratch)
//!                line i-1 out             (from the scratch, put together again)
//!                GHASH of a quarter of the lanes, 256 bytes each, one window late, out of L1
//! ```
//! Lanes are read and written in whole lines, because lanes a power of two apart share a set of L1 and a line would be
//! gone before its second block. A lane may be given twice: both copies read a line before either writes it.

use crate::schedule::{Stream, ghash, interleave, text, wipe_registers};

/// Registers of state at most, each with 4 lanes.
pub(crate) const GROUPS_MAX: usize = 6;
/// Bytes of a lane read when the first window of 256 bytes has been written: line 3 goes out in iteration 4.
/// How far ahead of each lane's line the next are fetched: nothing in L2, a tenth of the speed in DRAM.
const PREFETCHED: usize = 8 * 64;
const HASHED_FROM: usize = 5 * 64;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Hash {
    None,
    Fused,
}

/// Arguments: rdi = keys, rsi = job. Uses only registers that a caller expects to lose.
pub(crate) fn kernel(groups: usize, hash: Hash) -> String {
    let kernel = Kernel { groups };
    let mut code = "push rbx\npush r12\npush r13\n".to_owned();
    for round in 0..15 {
        code += &format!("vbroadcasti32x4 zmm{round}, [rdi + {{round_keys}} + {}]\n", 16 * round);
    }
    for group in 0..groups {
        code += &format!("vmovdqa64 zmm{}, [rsi + {{chains}} + {}]\n", kernel.state(group), 64 * group);
    }
    // rdx, r10: the two halves of the scratch. rcx: offset of line i. r11: of line i+1, r8: of line i-1, or the nearest.
    code += "lea rdx, [rsi + {scratch} + {half}]\nlea r10, [rsi + {scratch}]\nxor r11d, r11d\n";
    code += &text(kernel.line_in("rdx"));
    code += "xor ecx, ecx\nxor r8d, r8d\n";
    code += &match hash {
        Hash::None => format!("2:\n{}jb 2b\n", kernel.iteration(false)),
        // r9: the first lane of the next quarter to hash, times 8; r13: of the window that begins there. The first window
        // is written after 5 iterations.
        Hash::Fused => format!(
            "xor r9d, r9d\nxor r13d, r13d\n2:\n{}jae 4f\ncmp rcx, {HASHED_FROM}\njb 2b\n3:\n{}jb 3b\n4:\n",
            kernel.iteration(false),
            kernel.iteration(true),
        ),
    };
    for group in 0..groups {
        code += &format!("vmovdqa64 [rsi + {{chains}} + {}], zmm{}\n", 64 * group, kernel.state(group));
    }
    // The last line goes out, then the last five quarters (of a single window there are four) are hashed.
    code += &text(kernel.line_out("r10"));
    if hash == Hash::Fused {
        code +=
            &format!("5:\n{}{}cmp r13, [rsi + {{len}}]\njb 5b\n", text(kernel.hash_quarter()), kernel.next_quarter());
    }
    code += &text(wipe_registers());
    code + "pop r13\npop r12\npop rbx\nret\n"
}

struct Kernel {
    groups: usize,
}

impl Kernel {
    /// Flags at the end: below, if there are lines left.
    fn iteration(&self, with_hash: bool) -> String {
        let mut streams = vec![
            Stream { code: self.rounds(), from: 0.0, to: 1.0 },
            Stream { code: self.line_out("r10"), from: 0.02, to: 1.0 },
            Stream { code: self.line_in("r10"), from: 0.0, to: 0.8 },
        ];
        if with_hash {
            streams.push(Stream { code: self.hash_quarter(), from: 0.0, to: 1.0 });
        }
        let before = "lea r11, [rcx + 64]\ncmp r11, [rsi + {len}]\ncmovae r11, rcx\n";
        let quarter = if with_hash { self.next_quarter() } else { String::new() };
        let after = "xchg rdx, r10\nmov r8, rcx\nadd rcx, 64\ncmp rcx, [rsi + {len}]\n";
        format!("{before}{}{quarter}{after}", interleave(streams))
    }

    fn state(&self, group: usize) -> usize {
        15 + group
    }

    fn free(&self, nth: usize) -> usize {
        let register = 15 + self.groups + nth;
        assert!(register < 32, "out of registers");
        register
    }

    /// CBC of one line of every lane: its input is in the half at rdx, its output goes there too.
    fn rounds(&self) -> Vec<String> {
        let mut code = Vec::new();
        for block in 0..4 {
            for group in 0..self.groups {
                let place = 64 * (4 * group + block);
                code.push(format!("vpternlogq zmm{}, zmm0, [rdx + {place}], 0x96", self.state(group)));
            }
            for round in 1..14 {
                for group in 0..self.groups {
                    let x = self.state(group);
                    code.push(format!("vaesenc zmm{x}, zmm{x}, zmm{round}"));
                }
            }
            for group in 0..self.groups {
                let x = self.state(group);
                code.push(format!("vaesenclast zmm{x}, zmm{x}, zmm14"));
            }
            for group in 0..self.groups {
                let place = 64 * (4 * group + block);
                code.push(format!("vmovdqa64 [rdx + {{out}} + {place}], zmm{}", self.state(group)));
            }
        }
        code
    }

    /// The line at r11 of every lane, cut into blocks. By 16-byte copies: shuffles would share a port with the hash.
    fn line_in(&self, half: &str) -> Vec<String> {
        let mut code = Vec::new();
        for lane in 0..4 * self.groups {
            let (group, nth) = (lane / 4, lane % 4);
            code.push(format!("mov rax, [rsi + {{inputs}} + {}]", 8 * lane));
            code.push(format!("prefetcht0 [rax + r11 + {PREFETCHED}]"));
            for block in 0..4 {
                let register = self.free(6 + (4 * lane + block) % 2);
                code.push(format!("vmovdqu64 xmm{register}, [rax + r11 + {}]", 16 * block));
                code.push(format!("vmovdqa64 [{half} + {}], xmm{register}", 64 * (4 * group + block) + 16 * nth));
            }
        }
        code
    }

    /// The line before, put together from its blocks, to r8 in every lane.
    fn line_out(&self, half: &str) -> Vec<String> {
        let mut code = Vec::new();
        for lane in 0..4 * self.groups {
            let (group, nth) = (lane / 4, lane % 4);
            code.push(format!("mov rbx, [rsi + {{outputs}} + {}]", 8 * lane));
            for block in 0..4 {
                let register = self.free(8 + (4 * lane + block) % 2);
                code.push(format!(
                    "vmovdqa64 xmm{register}, [{half} + {{out}} + {}]",
                    64 * (4 * group + block) + 16 * nth
                ));
                code.push(format!("vmovdqu64 [rbx + r8 + {}], xmm{register}", 16 * block));
            }
        }
        code
    }

    /// GHASH of one window of a quarter of the lanes.
    fn hash_quarter(&self) -> Vec<String> {
        let registers = [0, 1, 2, 3, 4, 5].map(|nth| self.free(nth));
        let mut code = Vec::new();
        for lane in 0..self.groups {
            let sum = format!("[rsi + 8 * r9 + {{sums}} + {}]", 64 * lane);
            let lines = [0, 64, 128, 192].map(|offset| format!("[r12 + r13 + {offset}]"));
            code.push(format!("mov r12, [rsi + r9 + {{outputs}} + {}]", 8 * lane));
            code.extend(ghash(registers, Some(sum.clone()), &lines));
            code.push(format!("vmovdqa64 {sum}, zmm{}", registers[1]));
        }
        code
    }

    /// The next quarter; after the last one, the first of the next window.
    fn next_quarter(&self) -> String {
        let quarter = 8 * self.groups;
        format!(
            "add r9, {quarter}\nlea r12, [r13 + 256]\nxor ebx, ebx\ncmp r9, {}\n\
             cmove r13, r12\ncmove r9, rbx\n",
            4 * quarter
        )
    }
}
