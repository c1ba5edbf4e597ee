//! Us and the peers side by side: `versus [--json] [--only TEXT] [--runs N] [--file-len BYTES]`.
//!
//! With `--json` one object a line, else a table. What this machine or this build lacks is printed as absent.
//! Whole files come last, on all cores: 4 GiB unless told otherwise, 0 for none.
#![allow(clippy::print_stdout)]

use std::{env, process::ExitCode};

use rustix::thread::CpuSet;
use strongroom_benches::{
    core,
    versus::{Case, Outcome, cases, files},
};

const USAGE: &str = "usage: versus [--json] [--only TEXT] [--runs N] [--file-len BYTES]";

struct Options {
    json: bool,
    only: String,
    runs: usize,
    file_len: u64,
}

fn main() -> ExitCode {
    let Some(options) = options(env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let everywhere = core::allowed();
    let mut cases: Vec<_> = cases().into_iter().filter(|case| case.name.contains(&options.only)).collect();
    if !options.json {
        println!(
            "{:<58} {:<26} {:>9} {:>9} {:<5} {:>6} {:>6}",
            "case", "against", "ours", "theirs", "", "ratio", "bar"
        );
    }
    for case in &mut cases {
        let best = best_run(case, options.runs, &everywhere);
        println!("{}", if options.json { json_line(case, best) } else { table_line(case, best) });
    }
    core::stay_on(&everywhere);
    match file_rows(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("files could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}

fn file_rows(options: &Options) -> Result<(), files::Failure> {
    if options.file_len == 0 || !"whole files".contains(&options.only) {
        return Ok(());
    }
    for row in files::rows(&files::Options::new(options.file_len, 2 * options.runs - 1))? {
        println!("{}", if options.json { file_json(&row) } else { file_line(&row) });
    }
    Ok(())
}

fn file_line(row: &files::Row) -> String {
    let files::Row { case, peer, ours, theirs, unit, ratio, at_least, .. } = row;
    let bar = at_least.map_or(String::new(), |bar| format!("{bar:6.2}"));
    let mark = if at_least.is_some_and(|bar| *ratio < bar) { "  below" } else { "" };
    format!("{case:<58} {peer:<26} {ours:>9.2} {theirs:>9.2} {unit:<5} {ratio:>6.2} {bar}{mark}")
}

fn file_json(row: &files::Row) -> String {
    let files::Row { case, peer, ours, theirs, unit, ratio, path, at_least } = row;
    let bar = at_least.map_or(String::new(), |bar| format!(",\"at_least\":{bar:.4}"));
    format!(
        "{{\"case\":{case:?},\"peer\":{peer:?},\"ours\":{ours:.4},\"theirs\":{theirs:.4},\"unit\":{unit:?},\
         \"ratio\":{ratio:.4},\"path\":{path:?}{bar}}}"
    )
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { json: false, only: String::new(), runs: 3, file_len: 4 << 30 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--only" => options.only = arguments.next()?,
            "--runs" => options.runs = arguments.next()?.parse().ok().filter(|runs| *runs > 0)?,
            "--file-len" => options.file_len = arguments.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

/// The best run; none where a contender is absent.
fn best_run(case: &mut Case, runs: usize, everywhere: &CpuSet) -> Option<Outcome> {
    let race = case.race.as_mut()?;
    core::stay_on(&if race.pinned { core::last_of(everywhere) } else { *everywhere });
    let outcomes: Vec<_> = (0..runs).map(|_| race.run(case.unit)).collect();
    // Where one of the two was disturbed, the ratio says nothing: the best run is the quietest for both.
    outcomes.into_iter().max_by(|one, two| case.unit.speed(one).total_cmp(&case.unit.speed(two)))
}

fn table_line(case: &Case, outcome: Option<Outcome>) -> String {
    let head = format!("{:<58} {:<26}", case.name, case.peer);
    match outcome {
        None => format!("{head} absent"),
        Some(Outcome { ours, theirs, ratio }) => {
            let (unit, at_least) = (case.unit.name(), case.at_least);
            let mark = if ratio < at_least { "  below" } else { "" };
            format!("{head} {ours:>9.2} {theirs:>9.2} {unit:<5} {ratio:>6.2} {at_least:>6.2}{mark}")
        }
    }
}

fn json_line(case: &Case, outcome: Option<Outcome>) -> String {
    // Names are plain ASCII, for which Rust's escapes are JSON's.
    let head = format!("{{\"case\":{:?},\"peer\":{:?}", case.name, case.peer);
    let tail = format!("\"path\":{:?},\"at_least\":{}}}", case.path, case.at_least);
    match outcome {
        None => format!("{head},\"absent\":true,{tail}"),
        Some(Outcome { ours, theirs, ratio }) => {
            let unit = case.unit.name();
            format!("{head},\"ours\":{ours:.4},\"theirs\":{theirs:.4},\"unit\":{unit:?},\"ratio\":{ratio:.4},{tail}")
        }
    }
}
