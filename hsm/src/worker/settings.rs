//! From the text of a configuration to a supervisor: the options of a provider of kind `pkcs11`.

use super::{ModuleConfig, Supervisor};
use crate::error::KeyError;
use crate::pkcs11::{PinSource, TokenSelector};
use crate::provider::MasterKeyAdmin;
use crate::providers::{Options, ProviderKind, ProviderSettings, Start};
use crate::rung::Rung;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// For [`Providers`](crate::Providers): `module`; one of `label`, `serial`, `slot`; one of `pin-file`, `pin-credential`; and,
/// where another value than the default is meant, `expected-serial`, `refusal-file`, `allow-extractable-master-keys`, `rungs`
/// (names, best first, with commas between), `workers`, `waiting`, `deadline-ms`, `open-deadline-ms`, `retry-ms`, and
/// `environment.NAME`.
pub(crate) const KIND: ProviderKind = ProviderKind {
    name: "pkcs11",
    paths: &["module", "pin-file", "refusal-file"],
    others: &[
        "label",
        "serial",
        "slot",
        "pin-credential",
        "rungs",
        "workers",
        "waiting",
        "deadline-ms",
        "open-deadline-ms",
        "retry-ms",
        "expected-serial",
        "allow-extractable-master-keys",
        "environment.",
    ],
    start,
};

fn start(settings: &ProviderSettings, start: &Start) -> Result<Arc<dyn MasterKeyAdmin>, KeyError> {
    let config = module_config(settings)?;
    Ok(Arc::new(Supervisor::start(start.worker.clone(), config, start.known.clone())?))
}

impl ModuleConfig {
    /// What the settings of a provider of kind `pkcs11` say: for looking at its token.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for another kind, and for an option that is unknown, absent or nonsense.
    pub fn of(settings: &ProviderSettings) -> Result<Self, KeyError> {
        if settings.kind != KIND.name {
            let ProviderSettings { name, kind, .. } = settings;
            return Err(KeyError::Misconfigured(format!("provider {name} is of kind {kind}: it is no HSM")));
        }
        module_config(settings)
    }
}

fn module_config(settings: &ProviderSettings) -> Result<ModuleConfig, KeyError> {
    let mut options = Options::of(settings);
    let mut config = ModuleConfig::new(options.path("module")?, token(&mut options)?, pin(&mut options)?);
    config.aliases.clone_from(&settings.aliases);
    config.expected_serial = options.text("expected-serial").map(str::to_owned);
    config.refusal_file = options.text("refusal-file").map(Into::into);
    config.allow_extractable_master_keys = options.flag("allow-extractable-master-keys")?;
    if let Some(names) = options.text("rungs") {
        let rung = |name: &str| Rung::by_name(name.trim());
        let rungs: Option<Vec<Rung>> = names.split(',').map(rung).collect();
        config.rungs = rungs.ok_or_else(|| {
            let all: Vec<&str> = Rung::ALL.iter().map(|rung| rung.name()).collect();
            options.wrong(&format!("has rungs {names:?}: there are {}", all.join(", ")))
        })?;
    }
    let limits = &mut config.limits;
    limits.workers = positive(&mut options, "workers")?.unwrap_or(limits.workers);
    limits.waiting = positive(&mut options, "waiting")?.unwrap_or(limits.waiting);
    let mut time = |name, default| Ok(positive(&mut options, name)?.map_or(default, Duration::from_millis));
    limits.deadline = time("deadline-ms", limits.deadline)?;
    limits.open_deadline = time("open-deadline-ms", limits.open_deadline)?;
    limits.retry_every = time("retry-ms", limits.retry_every)?;
    let environment = options.beginning("environment.");
    config.environment = environment.into_iter().map(|(name, value)| (name, value.into())).collect();
    options.end()?;
    Ok(config)
}

/// A number where none would stop everything: no worker, no room to wait, no time to answer.
fn positive<T: FromStr + PartialOrd + From<u8>>(options: &mut Options<'_>, name: &str) -> Result<Option<T>, KeyError> {
    let Some(text) = options.text(name) else { return Ok(None) };
    match text.parse::<T>() {
        Ok(number) if number >= T::from(1) => Ok(Some(number)),
        _ => Err(options.wrong(&format!("takes a whole number from 1 on for the option {name}"))),
    }
}

fn token(options: &mut Options<'_>) -> Result<TokenSelector, KeyError> {
    let label = options.text("label").map(|label| TokenSelector::Label(label.to_owned()));
    let serial = options.text("serial").map(|serial| TokenSelector::Serial(serial.to_owned()));
    let slot = options.parsed("slot")?.map(TokenSelector::Slot);
    only(options, [label, serial, slot], "label, serial, slot")
}

fn pin(options: &mut Options<'_>) -> Result<PinSource, KeyError> {
    let file = options.text("pin-file").map(|path| PinSource::File(path.into()));
    let credential = options.text("pin-credential").map(|name| PinSource::Credential(name.to_owned()));
    only(options, [file, credential, None], "pin-file, pin-credential")
}

fn only<T>(options: &Options<'_>, given: [Option<T>; 3], names: &str) -> Result<T, KeyError> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(options.wrong(&format!("needs exactly one of the options {names}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Alias;

    fn settings(options: &[(&str, &str)]) -> ProviderSettings {
        ProviderSettings {
            name: "hsm".to_owned(),
            kind: "pkcs11".to_owned(),
            aliases: vec![Alias::default_alias()],
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn every_option_is_taken_and_an_unknown_one_is_refused() {
        let mut all = vec![
            ("module", "/m.so"),
            ("serial", "7"),
            ("pin-credential", "pin"),
            ("rungs", "rsa-oaep, aes-gcm"),
            ("workers", "3"),
            ("deadline-ms", "1500"),
            ("allow-extractable-master-keys", "true"),
            ("environment.SOFTHSM2_CONF", "/c"),
        ];
        assert!(all.iter().all(|(name, _)| KIND.knows(name)) && !KIND.knows("pin"));
        let config = module_config(&settings(&all)).unwrap();
        assert_eq!(config.token, TokenSelector::Serial("7".to_owned()));
        assert_eq!(config.rungs, [Rung::RsaOaep, Rung::AesGcm]);
        assert_eq!((config.limits.workers, config.limits.deadline), (3, Duration::from_millis(1500)));
        assert!(config.allow_extractable_master_keys);
        assert_eq!(config.environment, [("SOFTHSM2_CONF".to_owned(), "/c".into())]);
        all.push(("pin", "1234"));
        let error = module_config(&settings(&all)).unwrap_err().to_string();
        assert!(error.contains("knows no option pin") && !error.contains("1234"), "{error}");
    }

    #[test]
    fn a_number_that_would_stop_everything_is_refused_by_its_name() {
        let told = [("module", "/m.so"), ("serial", "7"), ("pin-file", "/p")];
        for name in ["workers", "waiting", "deadline-ms", "open-deadline-ms", "retry-ms"] {
            for bad in ["0", "-1", "many"] {
                let error = module_config(&settings(&[&told[..], &[(name, bad)]].concat())).unwrap_err().to_string();
                assert!(error.contains(&format!("a whole number from 1 on for the option {name}")), "{error}");
            }
            assert!(module_config(&settings(&[&told[..], &[(name, "1")]].concat())).is_ok());
        }
    }

    #[test]
    fn a_token_or_pin_that_is_told_twice_or_not_at_all_is_refused() {
        let both = [("module", "/m.so"), ("serial", "7"), ("label", "l"), ("pin-file", "/p")];
        assert!(module_config(&settings(&both)).unwrap_err().to_string().contains("exactly one of"));
        let none = [("module", "/m.so"), ("label", "l")];
        assert!(module_config(&settings(&none)).unwrap_err().to_string().contains("pin-file, pin-credential"));
    }
}
