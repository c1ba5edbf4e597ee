//! `strongroom hsm bench` without the server, to fill the table of docs/hsm.md: `bench MODULE LABEL PIN_FILE`. Prints JSON.

use std::error::Error;
use strongroom_hsm::{BenchOptions, ModuleConfig, PinSource, TokenSelector, WorkerCommand, bench};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, pin_file] = args.as_slice() else { return Err("three arguments".into()) };
    let config = ModuleConfig::new(module, TokenSelector::Label(label.clone()), PinSource::File(pin_file.into()));
    let worker = std::env::current_exe()?.with_file_name("worker");
    let report = bench(&WorkerCommand { program: worker, args: Vec::new() }, &config, &BenchOptions::default())?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
