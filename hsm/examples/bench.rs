//! `strongroom hsm bench` without the server, to fill the table of docs/hsm.md: `bench MODULE LABEL PIN_FILE [NAME=VALUE..]`,
//! with variables for the worker. Prints JSON.

use std::error::Error;
use strongroom_hsm::{BenchOptions, ModuleConfig, PinSource, TokenSelector, WorkerCommand, bench};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, pin_file, variables @ ..] = args.as_slice() else {
        return Err("three arguments or more".into());
    };
    let mut config = ModuleConfig::new(module, TokenSelector::Label(label.clone()), PinSource::File(pin_file.into()));
    let pairs = variables.iter().filter_map(|variable| variable.split_once('='));
    config.environment = pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let worker = std::env::current_exe()?.with_file_name("worker");
    let report = bench(&WorkerCommand { program: worker, args: Vec::new() }, &config, &BenchOptions::default())?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
