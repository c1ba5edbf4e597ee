//! What group commit promises, on a small table whose commits can be made to fail.

use std::path::Path;
use std::sync::mpsc;

use rusqlite::Connection;

use super::{Database, DatabaseError, DatabaseFile};

/// A row that names an absent parent is noticed at COMMIT: a commit that fails, without a disk that does.
const SCHEMA: &str = "
    CREATE TABLE parent (name TEXT PRIMARY KEY);
    CREATE TABLE entry (name TEXT PRIMARY KEY, parent TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED);";

fn file(folder: &Path) -> DatabaseFile {
    DatabaseFile {
        path: folder.join("test.sqlite"),
        what: "test",
        application_id: 7,
        version: 1,
        page_len: 4096,
        schema: SCHEMA,
    }
}

fn add(connection: &Connection, name: &str) -> Result<(), DatabaseError> {
    connection.execute("INSERT INTO entry (name) VALUES (?1)", [name])?;
    Ok(())
}

fn add_orphan(connection: &Connection) -> Result<(), DatabaseError> {
    connection.execute("INSERT INTO entry VALUES ('orphan', 'absent')", [])?;
    Ok(())
}

async fn names(database: &Database) -> Vec<String> {
    database
        .read(|connection| {
            let mut statement = connection.prepare("SELECT name FROM entry ORDER BY name")?;
            let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok::<_, DatabaseError>(names)
        })
        .await
        .unwrap()
}

/// Holds the writer until it is dropped, so that the jobs that come meanwhile make one group.
async fn hold(database: &Database) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel();
    let hold = database.commit(
        move |_| {
            let _ = started.send(());
            let _ = wait.recv();
            Ok::<_, DatabaseError>(())
        },
        false,
    );
    // Polled until the job runs, then let go: a caller who hangs up changes nothing for it.
    tokio::select! {
        biased;
        _ = start => {}
        _ = hold => {}
    }
    release
}

#[tokio::test]
async fn a_job_that_fails_or_panics_undoes_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    let held = hold(&database).await;
    let first = database.write(|connection| add(connection, "first"));
    let refused = database.write(|connection| {
        add(connection, "refused")?;
        Err::<(), _>(DatabaseError::Damaged("by the job".to_owned()))
    });
    let panics = database.write(|connection| {
        add(connection, "panics")?;
        panic!("a bug");
        #[expect(unreachable_code, reason = "gives the job its type")]
        Ok::<(), DatabaseError>(())
    });
    let last = database.write(|connection| add(connection, "last"));
    let release = async { drop(held) };
    let (first, refused, panics, last, ()) = tokio::join!(first, refused, panics, last, release);
    first.unwrap();
    last.unwrap();
    assert!(matches!(refused, Err(DatabaseError::Damaged(_))));
    assert!(matches!(panics, Err(DatabaseError::Unavailable(_))));
    assert_eq!(names(&database).await, ["first", "last"]);
}

#[tokio::test]
async fn a_failed_commit_is_of_unknown_outcome_for_its_whole_group_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    let held = hold(&database).await;
    let beside = database.write(|connection| add(connection, "beside"));
    let fails = database.write(add_orphan);
    let release = async { drop(held) };
    let (beside, fails, ()) = tokio::join!(beside, fails, release);
    assert!(matches!(beside, Err(DatabaseError::OutcomeUnknown(_))), "{beside:?}");
    assert!(matches!(fails, Err(DatabaseError::OutcomeUnknown(_))), "{fails:?}");
    database.write(|connection| add(connection, "after")).await.unwrap();
    assert_eq!(names(&database).await, ["after"]);
}

#[tokio::test]
async fn nothing_is_acknowledged_until_the_database_was_opened_again_and_checkpointed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sqlite");
    let database = Database::open(file(folder.path())).unwrap();
    database.write(|connection| add(connection, "before")).await.unwrap();
    // A reader of another process that keeps the log from being emptied.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM entry;").unwrap();
    database.write(|connection| add(connection, "behind it")).await.unwrap();
    database.write(add_orphan).await.unwrap_err();
    let refused = database.write(|connection| add(connection, "too early")).await;
    assert!(matches!(refused, Err(DatabaseError::Unavailable(_))), "{refused:?}");
    drop(other);
    database.write(|connection| add(connection, "after")).await.unwrap();
    assert_eq!(names(&database).await, ["after", "before", "behind it"]);
}

#[tokio::test]
async fn a_caller_who_hung_up_before_its_turn_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    let held = hold(&database).await;
    {
        let unwanted = std::pin::pin!(database.write(|connection| add(connection, "unwanted")));
        assert!(futures::poll!(unwanted).is_pending());
    }
    drop(held);
    database.write(|connection| add(connection, "wanted")).await.unwrap();
    assert_eq!(names(&database).await, ["wanted"]);
}

#[tokio::test]
async fn jobs_that_wait_are_committed_before_the_threads_end() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    let held = hold(&database).await;
    let (job, answer) = super::writer::job(|connection| add(connection, "waits"), false);
    database.writes.send(job).await.unwrap();
    drop(held);
    drop(database);
    answer.await.unwrap().unwrap();
    assert_eq!(names(&Database::open(file(folder.path())).unwrap()).await, ["waits"]);
}

#[tokio::test]
async fn a_file_of_another_kind_or_version_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(Database::open(file(folder.path())).unwrap());
    let refused = |other: DatabaseFile| matches!(Database::open(other).map(drop), Err(DatabaseError::Damaged(_)));
    assert!(refused(DatabaseFile { application_id: 8, ..file(folder.path()) }));
    assert!(refused(DatabaseFile { version: 2, ..file(folder.path()) }));

    let foreign = DatabaseFile { path: folder.path().join("foreign.sqlite"), ..file(folder.path()) };
    Connection::open(&foreign.path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let before = std::fs::read(&foreign.path).unwrap();
    assert!(refused(foreign.clone()));
    assert_eq!(std::fs::read(&foreign.path).unwrap(), before);

    std::fs::write(&foreign.path, "no database at all, but long enough to be taken for one ".repeat(99)).unwrap();
    assert!(refused(foreign));
}

#[tokio::test]
async fn database_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    database.write(|connection| add(connection, "first")).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 3, "database, log and its index");
}

#[tokio::test]
async fn a_closed_database_is_one_file_that_says_all() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(file(folder.path())).unwrap();
    database.write(|connection| add(connection, "kept")).await.unwrap();
    assert_eq!(names(&database).await, ["kept"]);
    drop(database);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["test.sqlite"]);
    assert_eq!(names(&Database::open(file(folder.path())).unwrap()).await, ["kept"]);
}
