//! The keyfile provider beyond what every provider promises, and several providers at once.

use crate::harness::{LABEL, Token, context, create, data_key, error_of, example, unwrap, wrap};
use pollster::block_on;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use strongroom_hsm::{
    Alias, KeyError, KeyfileConfig, KeyfileKeys, KnownKey, MasterKeyAdmin as _, MasterKeys as _, PinSource,
    ProviderSettings, Providers, Version, WorkerCommand,
};
use tempfile::TempDir;

pub(crate) struct Folder {
    dir: TempDir,
    config: KeyfileConfig,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let passphrase_file = dir.path().join("passphrase");
        fs::write(&passphrase_file, "correct horse battery staple\n").unwrap();
        fs::set_permissions(&passphrase_file, fs::Permissions::from_mode(0o600)).unwrap();
        let config = KeyfileConfig {
            file: dir.path().join("keys"),
            passphrase_file,
            may_make: true,
            aliases: vec![Alias::default_alias()],
        };
        Self { dir, config }
    }

    pub(crate) fn open(&self, known: Vec<KnownKey>) -> Result<KeyfileKeys, KeyError> {
        KeyfileKeys::open(&self.config, known)
    }

    fn passphrase(&self) -> PathBuf {
        self.config.passphrase_file.clone()
    }
}

fn check_refused(folder: &Folder, says: &str) {
    match folder.open(Vec::new()).err() {
        Some(KeyError::Misconfigured(what)) => assert!(what.contains(says), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_in_a_file_survive_a_restart_and_show_in_no_byte_of_it() {
    let folder = Folder::new();
    let keys = folder.open(Vec::new()).unwrap();
    let master = create(&keys, 1);
    keys.register(vec![master.clone()]);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    assert_eq!(fs::metadata(&folder.config.file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&folder.config.file).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"default"), "not even the alias");
    let keys = folder.open(vec![master]).unwrap();
    assert!(unwrap(&keys, &wrapped).is_ok());
}

#[test]
fn a_wrong_passphrase_and_every_altered_byte_are_refused() {
    let folder = Folder::new();
    create(&folder.open(Vec::new()).unwrap(), 1);
    let whole = fs::read(&folder.config.file).unwrap();
    // Magic, version, each cost (one that is far too high, too), salt, and the sealed bytes.
    for index in [0, 4, 5, 8, 9, 13, 20, 40, 90, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[index] ^= 0x40;
        fs::write(&folder.config.file, altered).unwrap();
        check_refused(&folder, "");
    }
    fs::write(&folder.config.file, &whole[..whole.len() - 1]).unwrap();
    check_refused(&folder, "does not open");
    fs::write(&folder.config.file, whole).unwrap();
    fs::write(folder.passphrase(), "wrong").unwrap();
    check_refused(&folder, "does not open");
    fs::write(folder.passphrase(), "\n").unwrap();
    check_refused(&folder, "must hold");
}

#[test]
fn an_absent_file_is_made_only_where_that_is_told() {
    let mut folder = Folder::new();
    folder.config.may_make = false;
    check_refused(&folder, "cannot read key file");
    assert!(!folder.config.file.exists());
    folder.config.may_make = true;
    drop(folder.open(Vec::new()).unwrap());
    assert!(folder.config.file.exists());
}

#[test]
fn two_processes_find_what_the_other_made_and_lose_nothing() {
    let folder = Folder::new();
    let one = folder.open(Vec::new()).unwrap();
    let two = folder.open(Vec::new()).unwrap();
    let make = |node: &KeyfileKeys, versions: std::ops::Range<u32>| -> Vec<KnownKey> {
        versions.map(|version| create(node, version)).collect()
    };
    let keys: Vec<KnownKey> = std::thread::scope(|scope| {
        let first = scope.spawn(|| make(&one, 1..6));
        let second = scope.spawn(|| make(&two, 6..11));
        [first.join().unwrap(), second.join().unwrap()].concat()
    });
    let last = keys.last().unwrap().id;
    one.register(keys);
    let wrapped = wrap(&one, &data_key()).unwrap();
    assert_eq!(wrapped.master, last, "made by the other process");
    assert_eq!(block_on(two.list_master_keys()).unwrap().len(), 10);
    assert!(folder.dir.path().read_dir().unwrap().all(|entry| entry.unwrap().file_name() != "keys.new"));
}

/// SoftHSM for `default`, a file for `laptop`.
pub(crate) fn providers() -> (Token, Folder, Providers) {
    let token = Token::new();
    let folder = Folder::new();
    let settings = [pkcs11(&token), keyfile(&folder)];
    let worker = WorkerCommand { program: example("worker"), args: Vec::new() };
    let providers = Providers::start(&settings, &worker, &[]).unwrap();
    (token, folder, providers)
}

fn settings(name: &str, kind: &str, alias: &Alias, options: &[(&str, String)]) -> ProviderSettings {
    ProviderSettings {
        name: name.to_owned(),
        kind: kind.to_owned(),
        aliases: vec![alias.clone()],
        options: options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

fn pkcs11(token: &Token) -> ProviderSettings {
    let PinSource::File(pin) = &token.config.pin else { panic!("a file") };
    let options = [
        ("module", token.config.module.display().to_string()),
        ("label", LABEL.to_owned()),
        ("pin-file", pin.display().to_string()),
        ("environment.SOFTHSM2_CONF", token.dev.config_file.display().to_string()),
        ("open-deadline-ms", "60000".to_owned()),
    ];
    settings("hsm", "pkcs11", &Alias::default_alias(), &options)
}

fn keyfile(folder: &Folder) -> ProviderSettings {
    let options = [
        ("file", folder.config.file.display().to_string()),
        ("passphrase-file", folder.passphrase().display().to_string()),
        ("make", "true".to_owned()),
    ];
    settings("laptop", "keyfile", &laptop(), &options)
}

fn laptop() -> Alias {
    Alias::new("laptop").unwrap()
}

#[test]
fn each_alias_goes_to_its_own_provider() {
    let (_token, _folder, providers) = providers();
    let on_token = create(&providers, 1);
    let in_file = block_on(providers.create_master_key(&laptop(), Version(1))).unwrap().into_known(true);
    providers.register(vec![on_token.clone(), in_file.clone()]);
    let by_token = wrap(&providers, &data_key()).unwrap();
    let by_file = block_on(providers.wrap(&laptop(), &data_key(), &context(1))).unwrap();
    assert_eq!((by_token.master, by_file.master), (on_token.id, in_file.id));
    assert!(unwrap(&providers, &by_token).is_ok() && unwrap(&providers, &by_file).is_ok());
    let listed = block_on(providers.list_master_keys()).unwrap();
    let extractable: Vec<_> = listed.iter().map(|key| (key.alias.as_str(), key.extractable)).collect();
    assert_eq!(extractable, [("default", Some(false)), ("laptop", Some(true))], "a file says what it is");
    assert!(providers.serial_of(&Alias::default_alias()).is_some_and(|serial| !serial.is_empty()));
    assert_eq!(providers.serial_of(&laptop()), None);
    let stray = Alias::new("payroll").unwrap();
    let refused = block_on(providers.create_master_key(&stray, Version(1)));
    assert_eq!(refused, Err(KeyError::NoSuchAlias { alias: stray }));
}

#[test]
fn a_provider_that_names_no_aliases_has_all_that_no_other_names() {
    let (token, folder) = (Token::new(), Folder::new());
    let settings = [ProviderSettings { aliases: Vec::new(), ..pkcs11(&token) }, keyfile(&folder)];
    let worker = WorkerCommand { program: example("worker"), args: Vec::new() };
    let providers = Providers::start(&settings, &worker, &[]).unwrap();
    let payroll = Alias::new("payroll").unwrap();
    let on_token = block_on(providers.create_master_key(&payroll, Version(1))).unwrap().into_known(true);
    let in_file = block_on(providers.create_master_key(&laptop(), Version(1))).unwrap().into_known(true);
    providers.register(vec![on_token.clone(), in_file.clone()]);
    assert_eq!(block_on(providers.wrap(&payroll, &data_key(), &context(1))).unwrap().master, on_token.id);
    assert_eq!(block_on(providers.wrap(&laptop(), &data_key(), &context(1))).unwrap().master, in_file.id);
    assert!(providers.serial_of(&payroll).is_some() && providers.serial_of(&laptop()).is_none());
    let names = [&payroll, &laptop()].map(|alias| providers.provider_of(alias));
    assert_eq!(names, ["hsm", "laptop"].map(|name| Some(name.to_owned())));
}

#[test]
fn one_provider_that_is_away_leaves_the_others_alone() {
    let (token, _folder, providers) = providers();
    let on_token = create(&providers, 1);
    let in_file = block_on(providers.create_master_key(&laptop(), Version(1))).unwrap().into_known(true);
    providers.register(vec![on_token, in_file]);
    let by_token = wrap(&providers, &data_key()).unwrap();
    fs::rename(token.tokens(), token.dir.path().join("hidden")).unwrap();
    assert!(matches!(error_of(unwrap(&providers, &by_token)), KeyError::Away { .. }));
    assert!(block_on(providers.wrap(&laptop(), &data_key(), &context(1))).is_ok());
    let unknown = block_on(providers.create_master_key(&laptop(), Version(2))).unwrap();
    assert_eq!(block_on(providers.list_versions(&laptop())).unwrap().len(), 2);
    assert!(block_on(providers.list_versions(&Alias::default_alias())).is_err(), "not the same as having none");
    assert!(block_on(providers.list_master_keys()).is_err(), "not the same as having none");
    let holdings = block_on(providers.holdings());
    assert_eq!(holdings.keys.len(), 2);
    assert!(matches!(holdings.missing.as_slice(), [why] if why.starts_with("hsm: ")), "{:?}", holdings.missing);
    assert_eq!(block_on(providers.adopt_master_key(&unknown.id)).unwrap().id, unknown.id);
}

#[test]
fn an_alias_with_two_providers_and_an_unknown_kind_are_refused() {
    let token = Token::new();
    let worker = WorkerCommand { program: example("worker"), args: Vec::new() };
    let refused = |settings: &[ProviderSettings]| match Providers::start(settings, &worker, &[]).err() {
        Some(KeyError::Misconfigured(what)) => what,
        other => panic!("{other:?}"),
    };
    let twice = [pkcs11(&token), ProviderSettings { name: "other".to_owned(), ..pkcs11(&token) }];
    assert!(refused(&twice).contains("two providers, hsm and other"));
    let nameless = ProviderSettings { aliases: Vec::new(), ..pkcs11(&token) };
    let two = [nameless.clone(), ProviderSettings { name: "other".to_owned(), ..nameless }];
    assert!(refused(&two).contains("hsm and other both name no aliases"));
    let unknown = [ProviderSettings { kind: "cloud".to_owned(), ..pkcs11(&token) }];
    assert!(refused(&unknown).contains("there are pkcs11, keyfile"));
}
