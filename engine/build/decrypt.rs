//! The kernel that decrypts one segment in CBC, and hashes the ciphertext it read, 512 bytes at a time.
//!
//! All eight lines are read before one is written, so it works in place, and what is hashed is what was decrypted.

use crate::schedule::{Stream, ghash, interleave, text, wipe_registers};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Hash {
    None,
    Fused,
}

const LINES: usize = 8;
/// After 15 round keys and 8 lines of state: the line before.
const BEFORE: usize = 15 + LINES;

/// Arguments: rdi = keys, rsi = job. Uses only registers that a caller expects to lose.
pub(crate) fn kernel(hash: Hash) -> String {
    let mut code = String::new();
    for round in 0..15 {
        code += &format!("vbroadcasti32x4 zmm{round}, [rdi + {{round_keys}} + {}]\n", 16 * round);
    }
    code += &format!("vmovdqu64 zmm{BEFORE}, [rsi + {{before}}]\n");
    code += "mov rax, [rsi + {input}]\nmov rdx, [rsi + {output}]\nmov r8, [rsi + {len}]\nxor ecx, ecx\n";
    let mut streams = vec![Stream { code: rounds(), from: 0.0, to: 1.0 }];
    if hash == Hash::Fused {
        code += "vmovdqa64 zmm25, [rsi + {sum}]\n";
        let lines: Vec<_> = (0..LINES).map(|line| format!("[rax + rcx + {}]", 64 * line)).collect();
        streams.push(Stream { code: ghash([24, 25, 26, 27, 28, 29], None, &lines), from: 0.0, to: 1.0 });
    }
    code += &format!("2:\n{}{}", interleave(streams), text(write()));
    code += &format!("add rcx, {}\ncmp rcx, r8\njb 2b\n", 64 * LINES);
    code += &format!("vmovdqu64 [rsi + {{before}}], zmm{BEFORE}\n");
    if hash == Hash::Fused {
        code += "vmovdqa64 [rsi + {sum}], zmm25\n";
    }
    code += &text(wipe_registers());
    code + "ret\n"
}

fn state(line: usize) -> usize {
    15 + line
}

fn rounds() -> Vec<String> {
    let mut code = Vec::new();
    for line in 0..LINES {
        code.push(format!("vpxorq zmm{}, zmm0, [rax + rcx + {}]", state(line), 64 * line));
    }
    for round in 1..15 {
        let instruction = if round == 14 { "vaesdeclast" } else { "vaesdec" };
        for line in 0..LINES {
            let x = state(line);
            code.push(format!("{instruction} zmm{x}, zmm{x}, zmm{round}"));
        }
    }
    code
}

/// Adds to each block the ciphertext block before it, all of them read before the first line is written.
fn write() -> Vec<String> {
    let mut code = vec![
        "vmovdqu64 zmm30, [rax + rcx]".to_owned(),
        format!("valignq zmm30, zmm30, zmm{BEFORE}, 6"),
        format!("vpxorq zmm{0}, zmm{0}, zmm30", state(0)),
        format!("vmovdqu64 zmm{BEFORE}, [rax + rcx + {}]", 64 * (LINES - 1)),
    ];
    for line in 1..LINES {
        code.push(format!("vpxorq zmm{0}, zmm{0}, [rax + rcx + {1}]", state(line), 64 * line - 16));
    }
    for line in 0..LINES {
        code.push(format!("vmovdqu64 [rdx + rcx + {}], zmm{}", 64 * line, state(line)));
    }
    code
}
