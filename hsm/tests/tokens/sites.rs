//! The tokens: how each is found, made, and ended.
//!
//! Every one lies in a folder of its own but opencryptoki's, which is the machine's: it is used only where
//! STRONGROOM_OPENCRYPTOKI=1 says that it may be initialised, and by one test at a time. tpm2-pkcs11 keeps its tokens in
//! such folders and its keys under those of a TPM: STRONGROOM_TPM2 names one for tests, as TPM2_PKCS11_TCTI would.

use crate::harness::{example, run};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strongroom_hsm::{Alias, ModuleConfig, PinSource, Rung, Supervisor, TokenSelector, WorkerCommand};
use tempfile::TempDir;

pub(crate) const LABEL: &str = "strongroom-tokens";
const PIN: &str = "87651234";
const SO_PIN: &str = "76543210";

/// Why a token cannot be had here.
pub(crate) struct Absent(pub(crate) String);

/// A kind of token.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    /// What it wraps by, when all rungs are allowed.
    pub(crate) rung: Rung,
    /// Whether `C_CreateObject` takes keys, so that test vectors can be run through it.
    pub(crate) imports: bool,
    /// A line for the forwarding module, where it stands in front.
    fault: Option<&'static str>,
    kind: Kind,
    pub(crate) look: fn() -> Result<(), Absent>,
}

impl Place {
    /// Nothing of ours stands in front of it.
    pub(crate) fn is_real(&self) -> bool {
        self.fault.is_none()
    }

    /// The token is behind a server that can be killed.
    pub(crate) fn is_remote(&self) -> bool {
        self.kind == Kind::P11Kit
    }

    /// Why this token cannot keep a promise that the others keep.
    pub(crate) fn excuse(&self, promise: &str) -> Option<&'static str> {
        let is_excused = self.kind == Kind::Tpm2
            && promise == "a_retired_version_unwraps_and_the_token_itself_wraps_nothing_under_it";
        is_excused.then_some("it keeps CKA_ENCRYPT and does not heed it")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Softhsm,
    Kryoptic,
    Opencryptoki,
    P11Kit,
    Nss,
    Tpm2,
}

const fn forwarded(name: &'static str, fault: &'static str) -> Place {
    Place { name, rung: Rung::AesGcm, imports: false, fault: Some(fault), kind: Kind::Softhsm, look: softhsm }
}

pub(crate) const ALL: &[Place] = &[
    Place { name: "softhsm", rung: Rung::AesGcm, imports: true, fault: None, kind: Kind::Softhsm, look: softhsm },
    Place {
        name: "kryoptic",
        rung: Rung::AesKeyWrap,
        imports: true,
        fault: None,
        kind: Kind::Kryoptic,
        look: kryoptic,
    },
    Place {
        name: "opencryptoki",
        rung: Rung::RsaOaep,
        imports: true,
        fault: None,
        kind: Kind::Opencryptoki,
        look: opencryptoki,
    },
    Place { name: "p11-kit", rung: Rung::RsaOaep, imports: false, fault: None, kind: Kind::P11Kit, look: p11_kit },
    Place { name: "tpm2", rung: Rung::RsaOaep, imports: false, fault: None, kind: Kind::Tpm2, look: tpm2 },
    Place { name: NSS, rung: Rung::AesKeyWrap, imports: false, fault: Some(""), kind: Kind::Nss, look: nss },
    forwarded("iv-handed-back", "iv handed-back"),
    forwarded("iv-zeros-filled", "iv zeros-filled"),
    forwarded("iv-appended", "iv appended"),
    forwarded("iv-appended-both", "iv appended-both"),
    forwarded("slow", "slow 5"),
    forwarded("one-session", "sessions 1"),
    Place {
        name: NARROW,
        rung: Rung::RsaOaep,
        imports: false,
        fault: Some("narrow"),
        kind: Kind::Kryoptic,
        look: kryoptic,
    },
    Place {
        name: "iv-message",
        rung: Rung::AesKeyWrap,
        imports: false,
        fault: Some("iv message"),
        kind: Kind::Kryoptic,
        look: kryoptic,
    },
];

/// Makes few keys: no AES, and RSA only as objects of the token and for both uses.
pub(crate) const NARROW: &str = "narrow";

/// Starts only with a text in C_Initialize, which the forwarding module gives it, and gives keys away.
pub(crate) const NSS: &str = "nss";
const NSS_MODULE: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
const NSS_LABEL: &str = "NSS Certificate DB";

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const OPENCRYPTOKI: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so";
const TPM2: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so";
const P11_KIT_CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

fn there(path: impl AsRef<Path>, advice: &str) -> Result<(), Absent> {
    let path = path.as_ref();
    if path.exists() { Ok(()) } else { Err(Absent(format!("no {}: {advice}", path.display()))) }
}

fn softhsm() -> Result<(), Absent> {
    there(SOFTHSM, "install softhsm2")
}

fn kryoptic() -> Result<(), Absent> {
    there(kryoptic_module(), "ci/test builds it, STRONGROOM_KRYOPTIC says where it is")
}

fn kryoptic_module() -> PathBuf {
    std::env::var_os("STRONGROOM_KRYOPTIC").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(3).unwrap().join("tokens/release/libkryoptic.so")
        },
        PathBuf::from,
    )
}

fn opencryptoki() -> Result<(), Absent> {
    there(OPENCRYPTOKI, "install opencryptoki")?;
    if std::env::var_os("STRONGROOM_OPENCRYPTOKI").is_none_or(|value| value != "1") {
        return Err(Absent("STRONGROOM_OPENCRYPTOKI is not 1: it would initialise this machine's token".to_owned()));
    }
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_daemon = |entry: fs::DirEntry| {
        fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == "pkcsslotd")
    };
    if processes.into_iter().any(is_daemon) { Ok(()) } else { Err(Absent("pkcsslotd does not run".to_owned())) }
}

fn tpm2() -> Result<(), Absent> {
    there(TPM2, "install libtpm2-pkcs11-1")?;
    std::env::var_os("STRONGROOM_TPM2").map(drop).ok_or_else(|| Absent("ci/tokens-extra starts one".to_owned()))
}

fn nss() -> Result<(), Absent> {
    there(NSS_MODULE, "install libnss3")?;
    there("/usr/bin/certutil", "install libnss3-tools")
}

fn p11_kit() -> Result<(), Absent> {
    kryoptic()?;
    there("/usr/bin/p11-kit", "install p11-kit")?;
    there(P11_KIT_CLIENT, "install p11-kit-modules")
}

/// One token, made for one test.
pub(crate) struct Site {
    pub(crate) place: &'static Place,
    pub(crate) dir: TempDir,
    pub(crate) config: ModuleConfig,
    server: Mutex<Option<Child>>,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// opencryptoki's token is the machine's only one.
static TURN: Mutex<()> = Mutex::new(());

impl Site {
    pub(crate) fn make(place: &'static Place) -> std::io::Result<Self> {
        let turn = (place.kind == Kind::Opencryptoki).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let dir = tempfile::tempdir()?;
        let pin_file = dir.path().join("pin");
        fs::write(&pin_file, PIN)?;
        let mut permissions = fs::metadata(&pin_file)?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(&pin_file, permissions)?;
        let (module, slot, environment) = lay_out(place.kind, dir.path())?;
        if place.kind == Kind::Nss {
            run(Command::new("certutil").arg("-N").arg("-d").arg(nss_folder(dir.path())).arg("-f").arg(&pin_file));
        } else {
            let mut init = Command::new(example("init_token"));
            init.arg(&module).args([slot, LABEL, SO_PIN, PIN]).envs(environment.clone());
            run(&mut init);
        }
        let mut config = ModuleConfig::new(
            module.clone(),
            TokenSelector::Label(if place.kind == Kind::Nss { NSS_LABEL } else { LABEL }.to_owned()),
            PinSource::File(pin_file),
        );
        config.environment = environment.into_iter().collect();
        config.aliases = vec![Alias::default_alias()];
        config.limits.workers = 1;
        config.limits.probe_every = Duration::from_secs(3600);
        config.limits.retry_every = Duration::from_millis(50);
        // Many tests at once on few cores.
        config.limits.open_deadline = Duration::from_secs(60);
        config.limits.deadline = Duration::from_secs(60);
        let mut site = Self { place, dir, config, server: Mutex::new(None), _turn: turn };
        if let Some(fault) = place.fault {
            site.fault(fault);
            site.config.module = example("libforwarding.so");
        }
        if place.kind == Kind::P11Kit {
            site.serve();
        }
        Ok(site)
    }

    /// What the forwarding module does from now on.
    pub(crate) fn fault(&self, fault: &str) {
        let (module, _, _) = lay_out(self.place.kind, self.dir.path()).unwrap();
        let mut lines = format!("{}\n{fault}\n", module.display());
        if self.place.kind == Kind::Nss {
            let folder = nss_folder(self.dir.path());
            lines += &format!("initialize configdir='{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=\n");
        }
        fs::write(self.dir.path().join("fault"), lines).unwrap();
    }

    pub(crate) fn has_one_session(&self) -> bool {
        self.place.fault == Some("sessions 1")
    }

    /// Puts a p11-kit server in front of the token.
    fn serve(&mut self) {
        self.start_server();
        self.config.module = P11_KIT_CLIENT.into();
        let address: OsString = format!("unix:path={}", self.dir.path().join("socket").display()).into();
        self.config.environment = vec![("P11_KIT_SERVER_ADDRESS".to_owned(), address)];
    }

    pub(crate) fn start_server(&self) {
        let socket = self.dir.path().join("socket");
        let mut server = Command::new("p11-kit");
        server.args(["server", "-f", "-n"]).arg(&socket).arg("--provider").arg(kryoptic_module()).arg("pkcs11:");
        server.env("KRYOPTIC_CONF", self.dir.path().join("kryoptic.conf")).stdout(std::process::Stdio::null());
        // Of its own group: it makes a child for each connection, which holds the token, and both are to be killed.
        std::os::unix::process::CommandExt::process_group(&mut server, 0);
        *self.server.lock().unwrap() = Some(server.spawn().unwrap());
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the p11-kit server did not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the server and its children, and takes its socket away.
    pub(crate) fn kill_server(&self) {
        if let Some(mut server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let group = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = server.wait();
            let _ = fs::remove_file(self.dir.path().join("socket"));
        }
    }

    /// How many keys on the token have this CKA_ID.
    pub(crate) fn count_keys(&self, id: &str) -> String {
        let PinSource::File(pin) = &self.config.pin else { panic!("a file") };
        let mut tool = Command::new(example("token_tool"));
        tool.arg(&self.config.module).arg(pin).args(["count", id]).envs(self.config.environment.clone());
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn command(&self) -> WorkerCommand {
        WorkerCommand { program: example("worker"), args: vec!["--log".into(), self.dir.path().join("starts").into()] }
    }

    pub(crate) fn start(&self, known: Vec<strongroom_hsm::KnownKey>) -> Supervisor {
        Supervisor::start(self.command(), self.config.clone(), known).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill_server();
    }
}

fn nss_folder(dir: &Path) -> String {
    format!("sql:{}", dir.display())
}

type LaidOut = (PathBuf, &'static str, Vec<(String, OsString)>);

/// Module, slot, and environment of a token in `dir`, and its configuration there.
fn lay_out(kind: Kind, dir: &Path) -> std::io::Result<LaidOut> {
    match kind {
        Kind::Softhsm => {
            let conf = dir.join("softhsm2.conf");
            let tokens = dir.join("tokens");
            fs::create_dir_all(&tokens)?;
            let lines =
                format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
            fs::write(&conf, lines)?;
            Ok((SOFTHSM.into(), "-", vec![("SOFTHSM2_CONF".to_owned(), conf.into())]))
        }
        Kind::Kryoptic | Kind::P11Kit => {
            let conf = dir.join("kryoptic.conf");
            let database = dir.join("token.sql");
            fs::write(
                &conf,
                format!("[[slots]]\nslot = 42\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display()),
            )?;
            Ok((kryoptic_module(), "-", vec![("KRYOPTIC_CONF".to_owned(), conf.into())]))
        }
        // The variable only says where the file of faults is.
        Kind::Nss => Ok((NSS_MODULE.into(), "-", vec![("SOFTHSM2_CONF".to_owned(), dir.join("nss").into())])),
        Kind::Opencryptoki => Ok((OPENCRYPTOKI.into(), "3", Vec::new())),
        Kind::Tpm2 => {
            let given =
                [("STRONGROOM_TPM2", "TPM2_PKCS11_TCTI"), ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS")];
            let given = given.iter().filter_map(|(from, to)| Some(((*to).to_owned(), std::env::var_os(from)?)));
            let store = ("TPM2_PKCS11_STORE".to_owned(), dir.into());
            Ok((TPM2.into(), "-", given.chain([store]).collect()))
        }
    }
}
