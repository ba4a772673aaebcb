use proptest::prelude::*;

use super::*;

use crate::credential::format::{BODY_CHARS, generate};
use crate::credential::{Reader, Traces};
use crate::redact::Redactor;
use crate::vocab::digest::{Digest, Fingerprinter, Pepper};
use crate::vocab::secret::Secret;

const FOREIGN: &str = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

/// A key, and a response to a request with it.
struct Scene {
    key: String,
    redactor: Redactor,
    traces: Option<Traces>,
}

fn ours() -> String {
    String::from_utf8(generate("kw").expect("randomness").expose().to_vec()).expect("ASCII")
}

fn reader() -> Reader {
    let pepper = Pepper::new(&Secret::from("pepper"));
    let fingerprinter = Fingerprinter::new(&[7; 64]);
    Reader { sources: Box::default(), prefix: "kw".into(), pepper: Some(pepper), fingerprinter }
}

impl Scene {
    fn new(key: &str) -> Self {
        let traces = reader().present(key.as_bytes(), 0).traces();
        Self { key: key.to_owned(), redactor: Redactor::new("kw", []), traces: Some(traces) }
    }

    fn search(&self) -> Search<'_> {
        Search { mark: self.redactor.mark(), traces: self.traces.as_ref() }
    }

    fn found(&self, text: &str) -> Vec<Leaked> {
        each(self.search(), text.as_bytes(), 0).1
    }

    /// A body that comes in these pieces: what goes out, and what was found.
    fn passed<'a>(&self, action: LeakAction, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Leaked>) {
        let mut scanner = Scanner::with(action);
        let (mut out, mut all) = (Vec::new(), Vec::new());
        for piece in pieces {
            let kept = scanner.kept();
            let (now, found) = match scanner.left {
                0 => (Bytes::copy_from_slice(piece), Vec::new()),
                _ => scanner.look(Bytes::copy_from_slice(piece), self.search()),
            };
            assert_eq!(now.len() + scanner.kept(), piece.len() + kept, "nothing is lost on the way");
            out.extend_from_slice(&now);
            all.extend(found);
        }
        out.extend(scanner.rest().unwrap_or_default());
        (out, all)
    }
}

#[test]
fn keys_and_hashes_of_keys_are_found_and_what_is_like_them_is_not() {
    let (key, other) = (ours(), ours());
    let scene = Scene::new(&key);
    let sha256 = Digest::sha256(key.as_bytes()).to_hex();
    let hmac = Pepper::new(&Secret::from("pepper")).digest(key.as_bytes()).to_hex();
    let mut broken = key.clone();
    broken.replace_range(10..11, if &key[10..11] == "a" { "b" } else { "a" });
    for (text, expected) in [
        (key.clone(), &[Leaked::Presented][..]),
        (format!("\"key\":\"{key}\"}}"), &[Leaked::Presented]),
        (format!("kw_kw_x{key}more"), &[Leaked::Presented]),
        (other.clone(), &[Leaked::Ours]),
        (format!("{other}{key}"), &[Leaked::Ours, Leaked::Presented]),
        (sha256.clone(), &[Leaked::Hash]),
        (sha256.to_uppercase(), &[Leaked::Hash]),
        (format!("sha256:{sha256}; hmac-sha256:{hmac}"), &[Leaked::Hash, Leaked::Hash]),
        (format!("abcdef{sha256}012345"), &[Leaked::Hash]),
        (Digest::sha256(other.as_bytes()).to_hex(), &[]),
        (broken, &[]),
        (key[..key.len() - 1].to_owned(), &[]),
        (sha256[..63].to_owned(), &[]),
        (key.replace('_', "%5F"), &[]),
        (String::new(), &[]),
    ] {
        assert_eq!(scene.found(&text), expected, "{}", text.len());
    }
    let nobody = Scene { traces: None, ..Scene::new(&key) };
    assert_eq!((nobody.found(&key), nobody.found(&sha256)), (vec![Leaked::Ours], vec![]), "a route without keys");
}

#[test]
fn a_key_of_another_make_is_found_if_it_is_the_one_of_the_request() {
    let scene = Scene::new(FOREIGN);
    for (text, expected) in [
        (FOREIGN.to_owned(), &[Leaked::Presented][..]),
        (format!("id={FOREIGN}&x=1"), &[Leaked::Presented]),
        (format!("0{FOREIGN}0"), &[Leaked::Presented]),
        (FOREIGN.replace('f', "e"), &[]),
        (FOREIGN.to_uppercase(), &[]),
        (FOREIGN[1..].to_owned(), &[]),
    ] {
        assert_eq!(scene.found(&text), expected, "{text}");
    }
    assert_eq!(Scene::new("eleven-char").found("eleven-char"), [], "too short to be told from a word");
    assert_eq!(Scene::new("with a space").found("with a space"), []);
}

#[test]
fn nothing_is_shorter_than_the_shortest() {
    let ours = "kw_".len() + BODY_CHARS;
    for (key, shortest) in [("kw_malformed", ours), (FOREIGN, 36), (&"x".repeat(400), ours)] {
        assert_eq!(Scene::new(key).search().shortest(), shortest);
    }
}

#[test]
fn a_split_at_any_place_hides_nothing_and_changes_nothing_else() {
    for key in [ours(), FOREIGN.to_owned()] {
        let scene = Scene::new(&key);
        let hash = Digest::sha256(key.as_bytes()).to_hex();
        for secret in [&key, &hash] {
            let text = format!("{{\"error\": \"bad key {secret}\", \"kw_\": \"kw\"}}\n");
            let masked = text.replace(secret.as_str(), &"*".repeat(secret.len()));
            for at in 0..=text.len() {
                let (before, after) = text.as_bytes().split_at(at);
                let pieces = || [before, after];
                let (out, found) = scene.passed(LeakAction::Redact, pieces());
                assert_eq!((String::from_utf8_lossy(&out), found.len()), (masked.as_str().into(), 1), "at {at}");
                let (out, found) = scene.passed(LeakAction::Alert, pieces());
                assert_eq!((&*out, found.len()), (text.as_bytes(), 1), "at {at}");
            }
            let (out, found) = scene.passed(LeakAction::Redact, text.as_bytes().chunks(1));
            assert_eq!((String::from_utf8_lossy(&out), found.len()), (masked.as_str().into(), 1), "byte by byte");
        }
    }
}

#[test]
fn what_can_be_no_beginning_is_not_kept() {
    let event = format!("data: {}\n\n", "x".repeat(400));
    for key in [ours(), FOREIGN.to_owned(), "0123456789abcdef".repeat(8)] {
        let scene = Scene::new(&key);
        let mut scanner = Scanner::with(LeakAction::Redact);
        let (out, _) = scanner.look(Bytes::from(event.clone()), scene.search());
        assert_eq!((out.len(), scanner.kept()), (event.len(), 0), "an event goes out when it comes");
    }
}

#[test]
fn the_first_mebibyte_is_looked_through() {
    let scene = Scene::new(&ours());
    let length = scene.key.len();
    for (at, is_found) in
        [(0, true), (BODY_BYTES_MAX - length, true), (BODY_BYTES_MAX - length + 1, false), (BODY_BYTES_MAX, false)]
    {
        let mut text = vec![b' '; BODY_BYTES_MAX + 100];
        text[at..at + length].copy_from_slice(scene.key.as_bytes());
        for size in [text.len(), 65_536, 10_007] {
            let (out, found) = scene.passed(LeakAction::Redact, text.chunks(size));
            assert_eq!((out.len(), found.len()), (text.len(), usize::from(is_found)), "at {at} in pieces of {size}");
            assert_eq!(out == text, !is_found);
        }
    }
}

#[test]
fn types_that_are_text() {
    for (types, is_text) in [
        (
            &["text/plain", "text/html; charset=utf-8", "TEXT/event-stream", "application/json", "application/json;x"]
                [..],
            true,
        ),
        (&["application/problem+json", "image/svg+xml", "application/xml", "application/javascript"], true),
        (&["application/x-www-form-urlencoded", "application/x-ndjson"], true),
        (
            &["application/octet-stream", "image/png", "application/jsonx", "application/grpc", "text", "", "json"],
            false,
        ),
    ] {
        for content_type in types {
            let mut fields = Fields::new();
            fields.set(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_plain_text(&fields), is_text, "{content_type}");
            fields.set(CONTENT_ENCODING, HeaderValue::from_static("identity"));
            assert_eq!(is_plain_text(&fields), is_text, "{content_type}");
            fields.set(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert!(!is_plain_text(&fields), "{content_type}");
        }
    }
    assert!(!is_plain_text(&Fields::new()));
}

proptest! {
    #[test]
    fn no_cut_of_any_text_lets_a_key_through(
        parts in prop::collection::vec("(kw_|[0-9a-f]{1,70}|[ -~]{0,60}|KEY|HASH|\n)", 0..12),
        cuts in prop::collection::vec(0_usize..600, 0..8),
        is_foreign in any::<bool>(),
    ) {
        let key = if is_foreign { FOREIGN.to_owned() } else { ours() };
        let scene = Scene::new(&key);
        let hash = Digest::sha256(key.as_bytes()).to_hex();
        let text = parts.concat().replace("KEY", &key).replace("HASH", &hash);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces = || cuts.windows(2).map(|at| &text.as_bytes()[at[0]..at[1]]);
        let (whole, _) = scene.passed(LeakAction::Redact, [text.as_bytes()]);
        let (cut, _) = scene.passed(LeakAction::Redact, pieces());
        prop_assert_eq!(&String::from_utf8_lossy(&cut), &String::from_utf8_lossy(&whole));
        prop_assert!(!String::from_utf8_lossy(&cut).contains(&key));
        let (out, found) = scene.passed(LeakAction::Alert, pieces());
        prop_assert_eq!(&*out, text.as_bytes());
        prop_assert_eq!(found.is_empty(), scene.found(&text).is_empty());
    }
}
