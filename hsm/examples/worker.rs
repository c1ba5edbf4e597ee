//! The worker process for this crate's tests. `--log FILE` adds a line to FILE at each start.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == "--log")
        && let Some(file) = args.next()
        && let Ok(mut log) = OpenOptions::new().append(true).create(true).open(file)
    {
        let _ = writeln!(log, "{}", std::process::id());
    }
    strongroom_hsm::run_worker()
}
