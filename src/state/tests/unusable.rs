//! Files that are of no use to us, and folders.

use rusqlite::Connection;

use super::super::aside::open;
use super::super::history::HistoryError;
use super::super::schema::{self, APPLICATION_ID, STEPS};
use super::super::store::{StoreError, Unusable};
use super::*;

/// Opens what is there at any price, and gives what was moved aside.
fn replaced(folder: &Folder) -> Vec<String> {
    let mut store = open(&folder.path(), at(NOON), |_, _| {}).expect("a new store");
    write(&mut store, &[("new", NOON, allowed(1))]);
    let keys = history(&folder.path()).keys().expect("a read");
    assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["new"]);
    folder.files().into_iter().filter(|name| name.contains("corrupt")).collect()
}

/// A good file with many rows, closed.
fn full(folder: &Folder) {
    let mut pending = Pending::new(usize::MAX);
    for n in 0..2_000 {
        pending.add(&format!("key-{n}"), hour_of(at(NOON)), &allowed(1)).expect("room");
    }
    folder.store().write(&pending).expect("a commit");
}

#[test]
fn what_is_no_database_is_moved_aside_whole() {
    let folder = Folder::new();
    let text = "id = \"this is not a database\"\n".repeat(100);
    std::fs::write(folder.path(), &text).expect("a file");
    assert!(matches!(Store::open(&folder.path()), Err(StoreError::Unusable(Unusable::Corrupt(_)))));
    assert!(matches!(History::open(&folder.path()), Err(HistoryError::Unusable(_))));
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
    let moved = folder.0.path().join("state.db.corrupt-20261128T120000Z");
    assert_eq!(std::fs::read_to_string(moved).expect("the moved file"), text);
    // A second one in the same second takes nothing from the first.
    std::fs::write(folder.path(), "not again").expect("a file");
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z", "state.db.corrupt-20261128T120000Z-2"]);
}

#[test]
fn a_damaged_page_is_found() {
    let folder = Folder::new();
    full(&folder);
    let mut bytes = std::fs::read(folder.path()).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xaa);
    std::fs::write(folder.path(), bytes).expect("a file");
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
}

#[test]
fn half_a_file_is_found() {
    let folder = Folder::new();
    full(&folder);
    let bytes = std::fs::read(folder.path()).expect("the file");
    std::fs::write(folder.path(), &bytes[..bytes.len() / 2]).expect("a file");
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
}

#[test]
fn what_belongs_to_a_database_goes_with_it() {
    let folder = Folder::new();
    std::fs::write(folder.path(), "no database").expect("a file");
    std::fs::write(folder.0.path().join("state.db-wal"), "its log").expect("a file");
    let aside = ["state.db.corrupt-20261128T120000Z", "state.db.corrupt-20261128T120000Z-wal"];
    assert_eq!(replaced(&folder), aside);
}

#[test]
fn another_programs_database_is_moved_aside_as_it_is() {
    for sql in [
        "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (7)",
        "PRAGMA application_id = 5; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (7)",
    ] {
        let folder = Folder::new();
        Connection::open(folder.path()).and_then(|it| it.execute_batch(sql)).expect("their database");
        assert!(matches!(Store::open(&folder.path()), Err(StoreError::Unusable(Unusable::Foreign))));
        assert!(matches!(History::open(&folder.path()), Err(HistoryError::Unusable(Unusable::Foreign))));
        assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
        let theirs = Connection::open(folder.0.path().join("state.db.corrupt-20261128T120000Z")).expect("their file");
        let found: i64 = theirs.query_row("SELECT a FROM theirs", [], |row| row.get(0)).expect("their row");
        assert_eq!(found, 7);
    }
}

#[test]
fn a_file_of_a_newer_version_is_moved_aside() {
    let folder = Folder::new();
    full(&folder);
    let newer = i64::try_from(STEPS.len()).expect("few steps") + 1;
    let connection = Connection::open(folder.path()).expect("the file");
    connection.pragma_update(None, "user_version", newer).expect("a new version");
    drop(connection);
    let refused = Store::open(&folder.path()).err().map(|error| error.to_string());
    assert_eq!(refused, Some(format!("the file is of a newer version ({newer})")));
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
}

#[test]
fn a_file_of_ours_without_our_tables_is_moved_aside() {
    let folder = Folder::new();
    full(&folder);
    Connection::open(folder.path()).and_then(|it| it.execute_batch("DROP TABLE charges")).expect("a dropped table");
    assert_eq!(replaced(&folder), ["state.db.corrupt-20261128T120000Z"]);
}

#[test]
fn each_step_is_made_once_from_wherever_a_file_stands() {
    let mut connection = Connection::open_in_memory().expect("a database");
    let steps = ["CREATE TABLE one (a)", "CREATE TABLE two (a); INSERT INTO one VALUES (2)", "DROP TABLE two"];
    for known in [1, 2, 2, 3] {
        schema::migrate(&mut connection, &steps[..known]).expect("a migration");
        assert_eq!(schema::version(&connection, known).expect("a version"), Some(known));
    }
    let rows: i64 = connection.query_row("SELECT count(*) FROM one", [], |row| row.get(0)).expect("a table");
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).expect("an id");
    assert_eq!((rows, id), (1, APPLICATION_ID));
    let older = schema::migrate(&mut connection, &steps[..2]);
    assert!(matches!(older, Err(StoreError::Unusable(Unusable::Newer(3)))));
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let mut connection = Connection::open_in_memory().expect("a database");
    schema::migrate(&mut connection, &["CREATE TABLE one (a)"]).expect("a migration");
    let steps = ["CREATE TABLE one (a)", "CREATE TABLE two (a)", "CREATE TABLE one (a)"];
    assert!(schema::migrate(&mut connection, &steps).is_err());
    assert_eq!(schema::version(&connection, 1).expect("a version"), Some(1));
    assert!(connection.query_row("SELECT count(*) FROM two", [], |_| Ok(())).is_err());
}

#[test]
fn what_is_no_file_is_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path()).expect("a folder");
    assert!(matches!(open(&folder.path(), at(NOON), |_, _| {}), Err(StoreError::Io(_))));
    assert_eq!(folder.files(), ["state.db"]);
    let nowhere = folder.0.path().join("not there").join("state.db");
    assert!(matches!(open(&nowhere, at(NOON), |_, _| {}), Err(StoreError::Io(_))));
}

#[test]
fn a_reader_needs_no_writer_and_waits_for_none() {
    let folder = Folder::new();
    assert!(History::open(&folder.path()).expect("no file").is_none());
    std::fs::write(folder.path(), "").expect("a file");
    assert!(History::open(&folder.path()).expect("an empty file").is_none());
    full(&folder);
    assert_eq!(history(&folder.path()).keys().expect("a read").len(), 2_000);
    let mut store = folder.store();
    let before = history(&folder.path());
    write(&mut store, &[("one-more", NOON, allowed(1))]);
    assert_eq!(before.keys().expect("a read").len(), 2_000, "a view is of one moment");
    assert_eq!(history(&folder.path()).keys().expect("a read").len(), 2_001);
}

#[test]
fn who_locks_the_file_is_waited_for_and_then_told_of() {
    let folder = Folder::new();
    full(&folder);
    let other = Connection::open(folder.path()).expect("the file");
    other.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE; DELETE FROM keys").expect("a lock");
    let locked = History::open(&folder.path());
    assert!(matches!(locked, Err(HistoryError::Locked)), "{:?}", locked.err());
    assert!(matches!(Store::open(&folder.path()), Err(StoreError::Sqlite(_))));
    drop(other);
    assert_eq!(history(&folder.path()).keys().expect("a read").len(), 2_000);
}
