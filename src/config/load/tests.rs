//! Files on a real disk.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;
use crate::config::gateway::{CertificatePaths, SecretRef};

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..4 }
}

fn config() -> Arc<SourceFile> {
    Arc::new(SourceFile::new("keyward.toml", "file = \"x\"\n"))
}

fn only_problem<T>(result: Result<T, Report>) -> (&'static str, String) {
    let report = result.err().expect("a problem");
    let [problem] = report.diagnostics() else {
        panic!("one problem: {report:?}");
    };
    (problem.code, problem.location())
}

#[test]
fn a_file_that_cannot_be_read_is_reported_where_it_is_named() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let path = dir.path().join("keys.toml");
    let load = || load_keys(&located(path.clone()), &config());
    let (code, location) = only_problem(load());
    assert_eq!(code, "missing-keys-file");
    assert!(location.starts_with("keyward.toml:1:1: failed to read the key file"), "{location}");
    assert!(location.ends_with("no such file or directory"), "{location}");

    fs::write(&path, b"# \xff").expect("a file in it");
    let (code, location) = only_problem(load());
    assert_eq!(code, "unreadable-file");
    assert!(location.ends_with("not UTF-8 (byte 2)"), "{location}");

    fs::remove_file(&path).expect("it is there");
    fs::create_dir(&path).expect("a folder in its place");
    assert_eq!(only_problem(load()).0, "unreadable-file");

    let (code, location) = only_problem(load_gateway(&path));
    assert_eq!(code, "unreadable-file");
    assert!(location.contains("failed to read the file: is a directory"), "{location}");
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let path = dir.path().join("big");
    fs::write(&path, vec![b'x'; 101]).expect("a file in it");
    assert!(matches!(read_bytes(&path, 100), Err(Unread::Large(100))));
    assert!(read_bytes(&path, 101).is_ok());
    assert_eq!(Unread::Large(FILE_BYTES_MAX).to_string(), "larger than 256 MiB");
}

#[test]
fn secrets() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let path = dir.path().join("pepper");
    let read = |text: &str| {
        fs::write(&path, text).expect("a file in it");
        resolve_secret(&located(SecretRef::File(path.clone())), &config())
    };
    for (text, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
        assert_eq!(read(text).expect("a secret").expose(), secret.as_bytes(), "{text:?}");
    }
    for text in ["", "\n", "\r\n"] {
        assert_eq!(only_problem(read(text)).0, "unreadable-secret");
    }
    let env = |name: &str| resolve_secret(&located(SecretRef::Env(name.to_owned())), &config());
    assert!(!env("PATH").expect("every process has one").expose().is_empty());
    let (_, location) = only_problem(env("KEYWARD_NO_SUCH_VARIABLE"));
    assert_eq!(location, "keyward.toml:1:1: the environment variable `KEYWARD_NO_SUCH_VARIABLE` is not set");
}

#[test]
fn what_was_pasted_in_the_place_of_a_name_is_not_repeated() {
    let key = "kw_4fTq0zXhJ2Lr8vWbNc6YdKmPs9GuEaRoTi1xQ7BnHfZ0aB3dE";
    let path = PathBuf::from(key);
    let (cert, private) = (located(path.clone()), located(path.clone()));
    let certificate = CertificatePaths { cert, key: private };
    let mut reports = vec![
        resolve_secret(&located(SecretRef::Env(key.to_owned())), &config()).err(),
        resolve_secret(&located(SecretRef::File(path.clone())), &config()).err(),
        load_certificates(&[certificate], &config()).err(),
        load_keys(&located(path), &config()).err(),
    ];
    reports.retain(Option::is_some);
    assert_eq!(reports.len(), 4);
    for report in reports.into_iter().flatten() {
        let out = format!("{}{}{report:?}", report.render(false), report.to_json());
        assert!(!out.contains(&key[3..11]), "{out}");
    }
}

#[test]
fn certificates_and_their_keys() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file in it");
        located(path)
    };
    let pair = || generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (CertifiedKey { cert, signing_key }, other) = (pair(), pair());
    let cert = write("a.pem", &cert.pem());
    let key = write("a.key", &signing_key.serialize_pem());
    let other = write("b.key", &other.signing_key.serialize_pem());
    let empty = write("empty", "");
    let missing = located(dir.path().join("missing"));
    let load = |cert: &Located<PathBuf>, key: &Located<PathBuf>| {
        let (cert, key) = (cert.clone(), key.clone());
        load_certificates(&[CertificatePaths { cert, key }], &config())
    };
    assert_eq!(load(&cert, &key).expect("a pair").len(), 1);
    for (cert, key, why) in [
        (&cert, &other, "does not belong to"),
        (&cert, &cert, "no unencrypted private key"),
        (&key, &key, "no certificate in PEM form"),
        (&empty, &key, "no certificate in PEM form"),
        (&cert, &missing, "no such file"),
    ] {
        let (code, location) = only_problem(load(cert, key));
        assert_eq!(code, "invalid-certificate");
        assert!(location.contains(why), "{location}");
    }
    let both = load(&missing, &missing).expect_err("two problems");
    assert_eq!(both.diagnostics().len(), 2);
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (_, location) = only_problem(load(&write("odd.pem", text), &key));
    assert!(location.contains("not an X.509 certificate"), "{location}");
}
