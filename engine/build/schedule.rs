//! How streams of instructions become one text: each is spread evenly over its share of the loop.
//!
//! The AES units are busy only if whatever else there is to do never comes in a bunch: the scheduler looks ahead about
//! one block step. So everything is placed by its fraction of the way through the loop, and nothing is reordered inside
//! a stream. Streams use registers of their own and meet only in memory written a loop earlier, so any mix is right.

/// Instructions in order, and the part of the loop (0 to 1) they are spread over.
pub(crate) struct Stream {
    pub(crate) code: Vec<String>,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// One text of all streams.
pub(crate) fn interleave(streams: Vec<Stream>) -> String {
    let mut placed = Vec::new();
    for stream in streams {
        let step = (stream.to - stream.from) / stream.code.len().max(1) as f64;
        for (nth, line) in stream.code.into_iter().enumerate() {
            placed.push((stream.from + (nth as f64 + 0.5) * step, line));
        }
    }
    placed.sort_by(|one, two| one.0.total_cmp(&two.0));
    text(placed.into_iter().map(|(_, line)| line))
}

/// One instruction a line.
pub(crate) fn text(code: impl IntoIterator<Item = String>) -> String {
    code.into_iter().map(|line| line + "\n").collect()
}

/// GHASH of some 64-byte lines in the registers `lo, hi, mid, x, t, p`: `sum` times H^(4 n), plus each of the n lines
/// times its power; the last line has power 0, so it is only added. Three multiplications a product (Karatsuba), one
/// reduction for all. Leaves the new sum in `hi`. `{powers}` holds, from rdi: for n = 1, 2, ..: H^(4 n), then the xor
/// of its halves, each four times.
pub(crate) fn ghash(regs: [usize; 6], load_sum: Option<String>, lines: &[String]) -> Vec<String> {
    let [lo, hi, mid, x, t, p] = regs.map(|register| format!("zmm{register}"));
    let mut code = Vec::new();
    let multiplied = lines.len();
    for nth in 0..multiplied {
        let power = multiplied - nth;
        if nth == 0 {
            code.extend(load_sum.iter().map(|place| format!("vmovdqa64 {x}, {place}")));
            if load_sum.is_none() {
                code.push(format!("vmovdqa64 {x}, {hi}"));
            }
        } else {
            code.push(format!("vmovdqu64 {x}, {}", lines[nth - 1]));
            code.push(format!("vpshufb {x}, {x}, [rdi + {{reverse}}]"));
        }
        let key = format!("[rdi + {{powers}} + {}]", (power - 1) * 128);
        let folded_key = format!("[rdi + {{powers}} + {}]", (power - 1) * 128 + 64);
        code.push(format!("vpshufd {t}, {x}, 0x4e"));
        if nth == 0 {
            code.push(format!("vpclmulqdq {lo}, {x}, {key}, 0x00"));
            code.push(format!("vpxorq {t}, {t}, {x}"));
            code.push(format!("vpclmulqdq {hi}, {x}, {key}, 0x11"));
            code.push(format!("vpclmulqdq {mid}, {t}, {folded_key}, 0x00"));
        } else {
            code.push(format!("vpclmulqdq {p}, {x}, {key}, 0x00"));
            code.push(format!("vpxorq {t}, {t}, {x}"));
            code.push(format!("vpxorq {lo}, {lo}, {p}"));
            code.push(format!("vpclmulqdq {p}, {x}, {key}, 0x11"));
            code.push(format!("vpxorq {hi}, {hi}, {p}"));
            code.push(format!("vpclmulqdq {p}, {t}, {folded_key}, 0x00"));
            code.push(format!("vpxorq {mid}, {mid}, {p}"));
        }
    }
    code.push(format!("vpclmulqdq {p}, {lo}, [rdi + {{poly}}], 0x00"));
    code.push(format!("vpternlogq {mid}, {lo}, {hi}, 0x96"));
    code.push(format!("vpshufd {t}, {lo}, 0x4e"));
    code.push(format!("vmovdqu64 {x}, {}", lines[multiplied - 1]));
    code.push(format!("vpternlogq {mid}, {t}, {p}, 0x96"));
    code.push(format!("vpshufb {x}, {x}, [rdi + {{reverse}}]"));
    code.push(format!("vpclmulqdq {p}, {mid}, [rdi + {{poly}}], 0x00"));
    code.push(format!("vpshufd {t}, {mid}, 0x4e"));
    code.push(format!("vpxorq {hi}, {hi}, {x}"));
    code.push(format!("vpternlogq {hi}, {t}, {p}, 0x96"));
    code
}

/// Leaves no key and no plaintext in a vector register.
pub(crate) fn wipe_registers() -> Vec<String> {
    let mut code = vec!["vzeroall".to_owned()];
    code.extend((16..32).map(|register| format!("vpxord xmm{register}, xmm{register}, xmm{register}")));
    code
}
