//! A disk that is really full: a memory file system of one MiB, mounted in a namespace of its own.
//!
//! The test binary starts itself again inside; where the system does not let a user make such a namespace, it says so
//! and checks nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // All of this is tests, also what stands outside a test function.

use std::{fs, path::Path, process::Command};

use strongroom_engine::{
    Context, DataKey, Existing, KeyId, OpenError, SealError, SealedSource, Target, Watch, WriteError, seal_file,
};

const DISK: &str = "FULL_DISK";

#[test]
fn a_full_disk_is_an_error_that_says_so_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$1" && exec "$2" --exact inside --ignored --nocapture"#;
    let inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(DISK, folder.path())
        .output();
    let told = inside.as_ref().map(|inside| String::from_utf8_lossy(&inside.stdout).into_owned()).unwrap_or_default();
    if !told.contains("running 1 test") {
        println!("skipped: no namespace with a disk of its own can be had here: {inside:?}");
        return;
    }
    assert!(inside.is_ok_and(|inside| inside.status.success()), "{told}");
}

#[test]
#[ignore = "what the other test starts, on its own disk"]
fn inside() {
    let Some(disk) = std::env::var_os(DISK) else { return println!("no disk: nothing to do") };
    let disk = Path::new(&disk);
    let elsewhere = tempfile::tempdir().unwrap();
    let (plain, sealed) = (elsewhere.path().join("plain"), elsewhere.path().join("sealed"));
    fs::write(&plain, vec![1; 2 << 20]).unwrap();

    // Longer than the disk: refused before a byte is written.
    assert!(matches!(seal(&plain, &disk.join("sealed")), Err(SealError::Write(WriteError::Full { .. }))));
    // The same for opening.
    seal(&plain, &sealed).unwrap();
    let source = SealedSource::open(&sealed, &key(), &Context::file(&id()).digest()).unwrap();
    let target = Target::create(&disk.join("plain"), Existing::Refuse).unwrap();
    let opened = source.open_to(&target, Watch::none());
    assert!(matches!(opened, Err(OpenError::Write(WriteError::Full { .. }))));
    drop(target);
    assert_eq!(fs::read_dir(disk).unwrap().count(), 0);

    // What was reserved at first cannot be taken by somebody else after the first batch.
    fs::write(&plain, vec![1; 900 << 10]).unwrap();
    let fill = |_, _| drop(fs::write(disk.join("other"), vec![1; 1 << 20]));
    let target = Target::create(&disk.join("sealed"), Existing::Refuse).unwrap();
    let watch = Watch { progress: &fill, ..Watch::none() };
    seal_file(&plain, &target, &key(), id(), &Context::file(&id()).digest(), watch).unwrap();
    drop(target);
    assert!(!disk.join("sealed").exists());
}

fn key() -> DataKey {
    DataKey::from_bytes(&mut [1; 32])
}

fn id() -> KeyId {
    KeyId::from_bytes([7; 16])
}

fn seal(plain: &Path, sealed: &Path) -> Result<(), SealError> {
    let target = Target::create(sealed, Existing::Refuse)?;
    seal_file(plain, &target, &key(), id(), &Context::file(&id()).digest(), Watch::none())?;
    Ok(target.keep()?)
}
