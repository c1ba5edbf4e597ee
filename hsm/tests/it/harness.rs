//! A SoftHSM token in a folder of its own, and a supervisor on it.

use pollster::block_on;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use strongroom_engine::{Context, ContextDigest, DataKey, Kind};
use strongroom_hsm::{
    Alias, DevToken, KeyError, KnownKey, MasterKeyAdmin, ModuleConfig, Supervisor, Version, WorkerCommand, WrappedKey,
    make_softhsm_token,
};
use tempfile::TempDir;

pub(crate) const LABEL: &str = "strongroom-test";

pub(crate) struct Token {
    pub(crate) dir: TempDir,
    pub(crate) dev: DevToken,
    pub(crate) config: ModuleConfig,
}

impl Token {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = WorkerCommand { program: example("worker"), args: Vec::new() };
        let dev = make_softhsm_token(&command, dir.path(), LABEL).unwrap();
        let mut config = dev.module_config(LABEL, vec![Alias::default_alias()]);
        // One worker, no probes: each test says what happens when.
        config.limits.workers = 1;
        config.limits.probe_every = Duration::from_secs(3600);
        config.limits.retry_every = Duration::from_millis(50);
        Self { dir, dev, config }
    }

    /// A token, a supervisor, and a current master key.
    pub(crate) fn with_key() -> (Self, Supervisor, KnownKey) {
        let token = Self::new();
        let keys = token.start(Vec::new());
        let key = create(&keys, 1);
        keys.register(vec![key.clone()]);
        (token, keys, key)
    }

    pub(crate) fn start(&self, known: Vec<KnownKey>) -> Supervisor {
        let args = vec!["--log".into(), self.log().into()];
        Supervisor::start(WorkerCommand { program: example("worker"), args }, self.config.clone(), known).unwrap()
    }

    /// How many worker processes have been started.
    pub(crate) fn starts(&self) -> usize {
        self.started().len()
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.path().join("token/tokens")
    }

    pub(crate) fn tool(&self, action: &str, id: &str) {
        let mut command = Command::new(example("token_tool"));
        command.arg(&self.dev.module).arg(&self.dev.pin_file).args([action, id]);
        run(command.env("SOFTHSM2_CONF", &self.dev.config_file));
    }

    /// From now on, workers use a module that forwards to SoftHSM and goes wrong as told.
    pub(crate) fn forward(&mut self) {
        self.config.module = example("libforwarding.so");
        self.fault("");
    }

    pub(crate) fn fault(&self, fault: &str) {
        let text = format!("{}\n{fault}\n", self.dev.module.display());
        std::fs::write(self.dev.config_file.with_file_name("fault"), text).unwrap();
    }

    /// Process ids of all workers that have been started.
    pub(crate) fn started(&self) -> Vec<u32> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(|id| id.parse().unwrap()).collect()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("starts")
    }
}

/// A program of this crate's `examples`, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run cargo test for the whole crate", path.display());
    path
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn create(keys: &dyn MasterKeyAdmin, version: u32) -> KnownKey {
    block_on(keys.create_master_key(&Alias::default_alias(), Version(version))).unwrap().into_known(true)
}

pub(crate) fn wrap(keys: &dyn MasterKeyAdmin, key: &DataKey) -> Result<WrappedKey, KeyError> {
    block_on(keys.wrap(&Alias::default_alias(), key, &context(1)))
}

pub(crate) fn unwrap(keys: &dyn MasterKeyAdmin, wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
    block_on(keys.unwrap(wrapped, &context(1)))
}

/// The error; a data key shows nothing, so `unwrap_err` cannot be used on it.
pub(crate) fn error_of(result: Result<DataKey, KeyError>) -> KeyError {
    result.err().expect("an error")
}

pub(crate) fn context(number: u8) -> ContextDigest {
    Context { object_key: &[number], ..Context::new(Kind::DataKey) }.digest()
}

pub(crate) fn data_key() -> DataKey {
    DataKey::generate().unwrap()
}

/// Waits for what must come, however slow the machine is.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
