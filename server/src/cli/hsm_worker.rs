//! `strongroom hsm-worker`: the process that holds the PKCS#11 module and the PIN. Only a server starts it.

use std::process::ExitCode;

/// Serves the server at the other end of standard input until it goes away.
pub(super) fn run() -> ExitCode {
    strongroom_hsm::run_worker()
}
