//! A server in small, for this crate's tests: `hold DIR LABEL MODULE WORKER [ARGUMENT..]` starts a supervisor on the token in
//! DIR, prints a line once its workers are ready, and waits until it is killed.

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use strongroom_hsm::{Alias, DevToken, Supervisor, WorkerCommand};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, label, module, worker, rest @ ..] = args.as_slice() else { return Err("four arguments or more".into()) };
    let token = DevToken::find(Path::new(dir))?.ok_or("no token")?;
    let mut config = token.module_config(label, vec![Alias::default_alias()]);
    config.module = module.into();
    let workers = config.limits.workers;
    let command = WorkerCommand { program: worker.into(), args: rest.iter().map(Into::into).collect() };
    let supervisor = Supervisor::start(command, config, Vec::new())?;
    while supervisor.worker_ids().len() < workers {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
