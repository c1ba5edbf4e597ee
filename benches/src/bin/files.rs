//! Prints the rows about files: `files [--json] [BYTES [ROUNDS [FOLDER]]]`, 4 GiB and 5 rounds unless told otherwise.

use std::io::Write as _;

use strongroom_benches::versus::files::{Failure, Options, Row, rows};

fn main() -> Result<(), Failure> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word == "--json");
    let len = words.first().map_or(Ok(4 << 30), |word| word.parse())?;
    let mut options = Options::new(len, words.get(1).map_or(Ok(5), |word| word.parse())?);
    if let Some(folder) = words.get(2) {
        options.folder = folder.into();
    }
    let mut out = std::io::stdout();
    for row in rows(&options)? {
        writeln!(out, "{}", if flags.is_empty() { line(&row) } else { json(&row) })?;
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let Row { case, peer, ours, theirs, unit, ratio, path, at_least } = row;
    let bar = at_least.map_or(String::new(), |bar| format!("at least {bar:.2}"));
    format!("{case:36} {peer:26} {ours:9.2} {theirs:9.2} {unit:5} {ratio:6.2} {bar:14} {path}")
}

fn json(row: &Row) -> String {
    let Row { case, peer, ours, theirs, unit, ratio, path, at_least } = row;
    serde_json::json!({
        "case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio, "path": path,
        "at_least": at_least,
    })
    .to_string()
}
