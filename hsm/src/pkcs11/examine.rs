//! The doctor at work: what a module and its token are and do, tried on throw-away keys.
//!
//! Attributes prove nothing (one module gives a non-extractable key away by C_WrapKey, and by C_CopyObject), so each way out
//! is tried. Every key is a session object, or destroyed at once: nothing is left on the token, and no master key is
//! touched.

use super::door::Door;
use super::failure::describe;
use super::mechanism::{self, Master, Pattern};
use super::{Failure, OpenToken, TokenKeys, generate, module, trial};
use crate::doctor::{DoctorPlan, DoctorReport, Latency, RungFinding};
use crate::provider::MasterKeyId;
use crate::rung::Rung;
use cryptoki::context::{Info, Pkcs11};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use std::time::{Duration, Instant};

/// Looks at everything, as far as it comes.
pub(crate) fn examine(wanted: &OpenToken, plan: DoctorPlan) -> DoctorReport {
    let mut report = DoctorReport::default();
    let _ = look(wanted, plan, &mut report);
    report
}

/// Nothing where an earlier step keeps the later ones from being looked at.
fn look(wanted: &OpenToken, plan: DoctorPlan, report: &mut DoctorReport) -> Option<()> {
    let library = load(wanted, report)?;
    let (slot, info) = token(&library, wanted, report)?;
    mechanisms(&library, slot, report);
    let door = log_in(library, slot, &info, wanted, report)?;
    random(&door, report);
    let patterns = rungs(&door, report);
    confinement(&door, report);
    sessions(&door, plan.sessions, &info, report);
    latency(&door, patterns.first().copied(), plan.calls, report);
    master_keys(door, wanted, report);
    Some(())
}

fn load(wanted: &OpenToken, report: &mut DoctorReport) -> Option<Pkcs11> {
    match module::load(&wanted.module) {
        Ok(library) => {
            let told = library.get_library_info().map(|info| {
                let (version, standard) = (Info::library_version(&info), info.cryptoki_version());
                let name = [info.manufacturer_id(), Info::library_description(&info)].join(" ");
                format!("{} {version} (PKCS#11 {standard})", name.trim())
            });
            let name = told.unwrap_or_else(|error| format!("the module tells nothing of itself: {}", describe(&error)));
            report.module = Some(name.clone());
            report.good("module", name);
            Some(library)
        }
        Err(failure) => {
            let advice = "correct the path of the module, and what its configuration file and variables say";
            report.bad("module", failure.into_error().to_string(), advice);
            None
        }
    }
}

fn token(library: &Pkcs11, wanted: &OpenToken, report: &mut DoctorReport) -> Option<(Slot, TokenInfo)> {
    match module::find_token(library, &wanted.module, &wanted.token) {
        Ok((slot, info)) => {
            report.token = Some(info.label().to_owned());
            report.serial = Some(info.serial_number().to_owned());
            let what = format!(
                "{} in slot {}, {} {}, firmware {}",
                module::name(&info),
                slot.id(),
                without_nulls(info.manufacturer_id()),
                without_nulls(info.model()),
                info.firmware_version()
            );
            report.good("token", what);
            match &wanted.serial {
                Some(serial) if *serial != info.serial_number() => report.bad(
                    "serial",
                    format!("the master keys lie on the token with serial {serial}"),
                    "put that token back, or restore the keys to this one and say that it takes its place",
                ),
                _ => {}
            }
            Some((slot, info))
        }
        Err(failure) => {
            let advice =
                "give the label or the serial of one of the tokens shown; a network HSM that is away shows none";
            report.bad("token", failure.into_error().to_string(), advice);
            None
        }
    }
}

/// A module that fills its fields up with zeros, not blanks, is not to turn the report into a binary file.
fn without_nulls(field: &str) -> &str {
    field.trim_end_matches('\0')
}

fn mechanisms(library: &Pkcs11, slot: Slot, report: &mut DoctorReport) {
    match library.get_mechanism_list(slot) {
        Ok(list) => {
            report.mechanisms = list.iter().map(ToString::to_string).collect();
            report.good("mechanisms", format!("{} that have a name here", list.len()));
        }
        Err(error) => report.warn("mechanisms", describe(&error), "none: the rungs below are tried all the same"),
    }
}

fn log_in(
    library: Pkcs11,
    slot: Slot,
    info: &TokenInfo,
    wanted: &OpenToken,
    report: &mut DoctorReport,
) -> Option<Door> {
    let begun = Instant::now();
    match Door::open(library, slot, info, &wanted.pin, wanted.refused.as_ref()) {
        Ok((door, notes)) => {
            report.good("login", format!("{} ms", begun.elapsed().as_millis()));
            notes.into_iter().for_each(|note| report.warn("PIN", note, "make it readable for its owner alone"));
            Some(door)
        }
        Err(failure) => {
            let advice = "correct the PIN file, or have the security officer set the PIN anew; nothing tries it again";
            report.bad("login", failure.into_error().to_string(), advice);
            None
        }
    }
}

fn random(door: &Door, report: &mut DoctorReport) {
    let draw = || -> Result<([u8; 32], [u8; 32]), Error> {
        let session = door.session()?;
        let (mut one, mut two) = ([0; 32], [0; 32]);
        session.generate_random_slice(&mut one)?;
        session.generate_random_slice(&mut two)?;
        Ok((one, two))
    };
    let advice = "do not trust keys made on this token before its random source is known to be sound";
    match draw() {
        Ok((one, two)) if one == two || one == [0; 32] => report.bad("random source", "the same bytes twice", advice),
        Ok(_) => report.good("random source", "C_GenerateRandom gives bytes, and others the next time"),
        Err(error) => report.warn("random source", describe(&error), "none: IVs come from the operating system"),
    }
}

fn rungs(door: &Door, report: &mut DoctorReport) -> Vec<Pattern> {
    let mut trials = trial::aes_patterns(door, &Rung::ALL).unwrap_or_default();
    trials.push(trial::Trial { pattern: Pattern::Oaep, fault: oaep(door).err() });
    let iv = |pattern: Pattern| match pattern {
        Pattern::Gcm(way) => serde_json::to_value(way).ok().and_then(|name| name.as_str().map(str::to_owned)),
        Pattern::KeyWrap | Pattern::Oaep => None,
    };
    report.rungs = trials
        .iter()
        .map(|trial| RungFinding {
            rung: trial.pattern.rung(),
            iv: iv(trial.pattern),
            works: trial.fault.is_none(),
            why: trial.fault.clone(),
        })
        .collect();
    let works: Vec<String> = report.rungs.iter().filter(|rung| rung.works).map(|rung| rung.rung.to_string()).collect();
    if works.is_empty() {
        report.bad(
            "rungs",
            "the token wraps in no way that this program knows",
            "look at the reasons under rungs; allow AES-GCM, AES key wrap or RSA-OAEP with SHA-256 on the token",
        );
    } else {
        report.good("rungs", works.join(", "));
    }
    trials.into_iter().filter(|trial| trial.fault.is_none()).map(|trial| trial.pattern).collect()
}

fn oaep(door: &Door) -> Result<(), String> {
    let session = door.workshop().map_err(|error| describe(&error))?;
    generate::with_throw_away_rsa(door, &session, |master| {
        trial::attempt(door, &session, Pattern::Oaep, &Master::Rsa(master))
    })
}

/// Tries one way out: how the key got out, if it did.
type WayOut = fn(&Session, ObjectHandle) -> Result<Option<String>, Error>;

/// Each known way out, on a key made as master keys are.
fn confinement(door: &Door, report: &mut DoctorReport) {
    let ways: [(&str, WayOut); 5] = [
        ("key reads back", reads_back),
        ("key becomes extractable", becomes_extractable),
        ("key becomes readable", becomes_readable),
        ("C_CopyObject", copies_out),
        ("C_WrapKey", wraps_out),
    ];
    for (about, way) in ways {
        let tried = (|| {
            let session = door.workshop()?;
            let key = generate::aes(&session, false, "strongroom/doctor", &random_id())?;
            way(&session, key)
        })();
        match tried {
            Ok(None) => report.good(about, "refused, as it should be"),
            Ok(Some(how)) => report.bad(
                about,
                how,
                "whoever holds the PIN can take master keys off this token: use it for tests only, or another module",
            ),
            Err(error) => {
                report.warn(about, format!("could not be tried: {}", describe(&error)), "ask the vendor about it");
            }
        }
    }
}

fn reads_back(session: &Session, key: ObjectHandle) -> Result<Option<String>, Error> {
    let told = session.get_attributes(key, &[AttributeType::Value]);
    let value =
        told.is_ok_and(|told| told.iter().any(|one| matches!(one, Attribute::Value(bytes) if !bytes.is_empty())));
    if value {
        return Ok(Some("C_GetAttributeValue gives CKA_VALUE of a sensitive key".to_owned()));
    }
    Ok(super::object::why_it_could_leave(session, key)?.map(|why| format!("a key made not to leave {why}")))
}

fn becomes_extractable(session: &Session, key: ObjectHandle) -> Result<Option<String>, Error> {
    let changed = session.update_attributes(key, &[Attribute::Extractable(true)]).is_ok();
    Ok(is(session, key, AttributeType::Extractable, true)?.then(|| {
        format!("C_SetAttributeValue made it extractable (answer {})", if changed { "OK" } else { "an error" })
    }))
}

fn becomes_readable(session: &Session, key: ObjectHandle) -> Result<Option<String>, Error> {
    let changed = session.update_attributes(key, &[Attribute::Sensitive(false)]).is_ok();
    Ok(is(session, key, AttributeType::Sensitive, false)?.then(|| {
        format!("C_SetAttributeValue made it not sensitive (answer {})", if changed { "OK" } else { "an error" })
    }))
}

fn copies_out(session: &Session, key: ObjectHandle) -> Result<Option<String>, Error> {
    for (change, what, bad) in [
        (Attribute::Extractable(true), AttributeType::Extractable, true),
        (Attribute::Sensitive(false), AttributeType::Sensitive, false),
    ] {
        let copy = session.copy_object(key, &[change]);
        if is(session, key, what, bad)? {
            return Ok(Some(format!("C_CopyObject changed {what} of the key that it copied")));
        }
        if let Ok(copy) = copy
            && is(session, copy, what, bad)?
        {
            return Ok(Some(format!("C_CopyObject gave a copy with another {what}")));
        }
    }
    Ok(None)
}

fn wraps_out(session: &Session, key: ObjectHandle) -> Result<Option<String>, Error> {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let wrapper = session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let mechanisms = [
        ("CKM_AES_KEY_WRAP", Mechanism::AesKeyWrap),
        ("CKM_AES_KEY_WRAP_PAD", Mechanism::AesKeyWrapPad),
        ("CKM_AES_CBC_PAD", Mechanism::AesCbcPad([0; 16])),
    ];
    let out = mechanisms.iter().find(|(_, mechanism)| session.wrap_key(mechanism, wrapper, key).is_ok());
    Ok(out.map(|(name, _)| format!("C_WrapKey with {name} gave out a key that is not extractable")))
}

fn is(session: &Session, key: ObjectHandle, what: AttributeType, value: bool) -> Result<bool, Error> {
    Ok(super::object::told(session, key, &[what])?.first().is_some_and(|(_, told)| *told == Some(value)))
}

fn random_id() -> MasterKeyId {
    let mut id = [0; 16];
    // An id that is not random is no harm on a throw-away key.
    let _ = getrandom::fill(&mut id);
    MasterKeyId::new(id)
}

fn sessions(door: &Door, most: u32, info: &TokenInfo, report: &mut DoctorReport) {
    let mut open = Vec::new();
    let mut ended = None;
    while open.len() < most as usize {
        match door.module.open_ro_session(door.slot) {
            Ok(session) => open.push(session),
            Err(error) => {
                ended = Some(describe(&error));
                break;
            }
        }
    }
    // The anchor is one more.
    let count = open.len() as u32 + 1;
    report.sessions = Some(count);
    let told = format!("the token itself tells {:?}", info.max_session_count());
    match ended {
        None => report.good("sessions", format!("{count} at once without an end; {told}")),
        Some(why) => report.warn(
            "sessions",
            format!("{count}, then {why}; {told}"),
            "each worker takes two (one where there is no other): configure no more workers than fit on all nodes together",
        ),
    }
}

fn latency(door: &Door, pattern: Option<Pattern>, calls: u32, report: &mut DoctorReport) {
    let Some(pattern) = pattern else { return };
    let measured = |session: &Session, master: &Master| -> Result<(Vec<Duration>, Vec<Duration>), String> {
        let (key, context) = ([7; 32], [9; 32]);
        let (mut wraps, mut unwraps) = (Vec::new(), Vec::new());
        for _ in 0..calls.max(1) {
            let begun = Instant::now();
            let sealed = mechanism::encrypt(session, pattern, master, &key, &context).map_err(|e| e.describe())?;
            let wrapped = begun.elapsed();
            mechanism::decrypt(session, pattern.rung(), master, &sealed, &context).map_err(|e| e.describe())?;
            wraps.push(begun.elapsed());
            unwraps.push(begun.elapsed() - wrapped);
        }
        Ok((wraps, unwraps))
    };
    let on_a_key_of_its_own = || {
        let session = door.workshop().map_err(|error| describe(&error))?;
        if pattern == Pattern::Oaep {
            generate::with_throw_away_rsa(door, &session, |master| measured(&session, &Master::Rsa(master)))
        } else {
            let key = generate::aes(&session, false, "strongroom/doctor", &random_id());
            measured(&session, &Master::Aes(key.map_err(|error| describe(&error))?))
        }
    };
    match on_a_key_of_its_own() {
        Ok((wraps, unwraps)) => {
            let (wrap, unwrap) = (quantiles(wraps), quantiles(unwraps));
            report.wrap = Some(wrap);
            report.unwrap = Some(unwrap);
            report.good(
                "latency",
                format!(
                    "wrap with its check {} us (99 %: {}), unwrap {} us (99 %: {}), by {}",
                    wrap.median_us,
                    wrap.p99_us,
                    unwrap.median_us,
                    unwrap.p99_us,
                    pattern.rung()
                ),
            );
        }
        Err(why) => report.bad("latency", why, "the token wrapped a moment ago and does not now: look at its own log"),
    }
}

fn quantiles(mut times: Vec<Duration>) -> Latency {
    times.sort();
    let at = |permille: usize| {
        let index = (times.len().saturating_sub(1)) * permille / 1000;
        times.get(index).map_or(0, |time| time.as_micros() as u64)
    };
    Latency { median_us: at(500), p99_us: at(990) }
}

fn master_keys(door: Door, wanted: &OpenToken, report: &mut DoctorReport) {
    let listed = TokenKeys::for_listing(door, wanted).list().map_err(Failure::into_error);
    match listed {
        Ok(keys) => {
            for key in &keys {
                if key.extractable != Some(false) || key.sensitive != Some(true) {
                    report.bad(
                        "master key",
                        format!("{}/{} ({}) could leave the token", key.alias, key.version, key.id),
                        "rotate the alias, rewrap, and destroy this version",
                    );
                }
            }
            report.good("master keys", format!("{} with labels of this program", keys.len()));
            report.master_keys = keys;
        }
        Err(error) => report.bad("master keys", error.to_string(), "look at the token's own log"),
    }
}
