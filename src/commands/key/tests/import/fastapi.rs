//! Tests of `fastapi-simple-security`.

use rusqlite::Connection;

use super::{Desk, fresh};

const TABLE: &str = "CREATE TABLE fastapi_simple_security (api_key TEXT PRIMARY KEY, is_active INTEGER, never_expire INTEGER, \
                     expiration_date TEXT, latest_query_date TEXT, total_queries INTEGER)";

/// A row as the library writes it, with `KEY` in the place of the key.
type Row = (&'static str, i64, i64, Option<&'static str>, Option<&'static str>, i64);

/// The library's file, with its column of names or, as it was at first, without it.
fn database(desk: &Desk, rows: &[(Row, &str)], named: bool) {
    let path = desk.folder.path().join("old");
    let _ = std::fs::remove_file(&path);
    let database = Connection::open(path).expect("a scratch file");
    database.execute(TABLE, []).expect("a table");
    if named {
        database.execute("ALTER TABLE fastapi_simple_security ADD COLUMN name TEXT", []).expect("a column");
    }
    for ((name, active, never, expires, last, count), key) in rows {
        let values = rusqlite::params![key, active, never, expires, last, count, name];
        if named {
            let insert = "INSERT INTO fastapi_simple_security VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            database.execute(insert, values).expect("a row");
        } else {
            let insert = "INSERT INTO fastapi_simple_security VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            database.execute(insert, &values[..6]).expect("a row");
        }
    }
}

#[test]
fn the_table_becomes_keys() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..5).map(|_| fresh()).collect();
    let rows: [Row; 5] = [
        ("Alice's app", 1, 0, Some("2027-02-03T04:05:06"), Some("2026-11-20T09:08:07"), 42),
        ("forever", 1, 1, Some("2023-01-01T00:00:00"), None, 0),
        ("revoked", 0, 0, Some("2027-02-03T04:05:06"), None, 7),
        ("zoned", 1, 0, Some("2222-01-01T00:00:00+00:00"), None, 0),
        ("broken", 1, 0, None, None, 0),
    ];
    let rows: Vec<_> = rows.into_iter().zip(keys.iter().map(String::as_str)).collect();
    database(&desk, &rows, true);
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.import_file("fastapi-simple-security", &[], &secrets);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 4 keys, 1 could not be imported\n"), "{}", answer.err);
    assert_eq!(
        answer.err,
        "old:row 1: `Alice\\'s app`: its id is \"alice-s-app\" here\n\
         old:row 5: `broken` is not imported: its expiration_date is no time\nerror: 1 key could not be imported\n"
    );
    let field = |n, name| desk.field(n, name);
    assert_eq!(field(0, "owner"), "Alice's app");
    assert_eq!(field(0, "expires"), "2027-02-03T04:05:06Z");
    assert_eq!(field(0, "meta"), r#"{ total_queries = "42", latest_query_date = "2026-11-20T09:08:07Z" }"#);
    assert_eq!((field(1, "id"), field(1, "expires")), ("forever".into(), String::new()));
    assert_eq!(
        (field(2, "state"), field(2, "reason")),
        ("disabled".into(), "not active in fastapi_simple_security".into())
    );
    assert_eq!(field(3, "expires"), "2222-01-01T00:00:00Z");
    assert_eq!(desk.identify(&keys[1]).out, "forever active\n");
    // As `renew` does there.
    assert_eq!(desk.identify(&keys[2]).out, "revoked disabled\n");
    desk.good(&["renew", "revoked", "--expires", "2027-05-06"]);
    assert_eq!(desk.identify(&keys[2]).out, "revoked active\n");
}

#[test]
fn a_file_without_names_is_read_and_one_without_the_table_is_not() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let row = ("", 1, 1, None, None, 0);
    database(&desk, &[(row, a.as_str()), (row, b.as_str())], false);
    let answer = desk.import_file("fastapi-simple-security", &[], &[&a, &b]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "imported 2 keys\n"), "{}", answer.err);
    assert_eq!(desk.identify(&b).out, "key-2 active\n");
    for other in ["CREATE TABLE other (x)", "CREATE VIEW fastapi_simple_security AS SELECT 1 AS api_key"] {
        let path = desk.folder.path().join("old");
        std::fs::remove_file(&path).expect("it is there");
        Connection::open(path).and_then(|database| database.execute(other, [])).expect("a scratch file");
        let answer = desk.import_file("fastapi-simple-security", &[], &[]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""));
        assert!(answer.err.contains("there is no table `fastapi_simple_security` in it"), "{}", answer.err);
    }
    desk.write("old", &format!("SQLite format 3\0{}", "x".repeat(100)));
    let answer = desk.import_file("fastapi-simple-security", &[], &[]);
    assert!(answer.code == 1 && answer.err.contains("file is not a database"), "{}", answer.err);
}

#[test]
fn lines_of_the_fork_are_read() {
    let desk = Desk::with_config("[keys]\nfile = \"keys.toml\"\nexpires_default = \"30d\"\n");
    let keys: Vec<_> = (0..4).map(|_| fresh()).collect();
    let text = format!(
        "# This is a comment\nTestKey1;{};2026-12-31T23:59:59\nTestKey2;{};\n\n   TestKey3;{};2027-01-15   \n\
         bad;{};tomorrow\nInvalidLine\ntoo;many;fields;here\n",
        keys[0], keys[1], keys[2], keys[3]
    );
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.import("fastapi-simple-security", &text, &[], &secrets);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 3 keys, 3 could not be imported\n"));
    let expires: Vec<_> = (0..3).map(|n| desk.field(n, "expires")).collect();
    assert_eq!(expires, ["2026-12-31T23:59:59Z", "2026-12-21T10:00:00Z", "2027-01-15T00:00:00Z"]);
    assert_eq!((desk.field(0, "id"), desk.field(0, "owner")), ("testkey1".into(), "TestKey1".into()));
    for told in [
        "old:3: `TestKey2`: it has no date, which there means 15 days from each start; here `keys.expires_default` holds\n",
        "old:6: `bad` is not imported: its date is no time, as 2027-01-01T12:00:00\n",
        "old:7: `` is not imported: the line is not NAME;KEY;DATE\n",
        "old:8: `` is not imported: the line is not NAME;KEY;DATE\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
}
