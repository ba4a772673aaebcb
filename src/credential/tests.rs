use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use super::*;

use crate::vocab::fields::Fields;

fn source(text: &str) -> Source {
    match text.split_once(':') {
        None if text == "bearer" => Source::Bearer,
        None if text == "basic" => Source::Basic,
        None => Source::WebSocketProtocol,
        Some(("header", name)) => Source::Header(name.parse().expect("a header name")),
        Some(("query", name)) => Source::Query(name.to_owned()),
        Some((_, name)) => Source::Cookie(name.to_owned()),
    }
}

fn reader(sources: &[&str]) -> Reader {
    Reader {
        sources: sources.iter().map(|s| (source(s), Arc::from(*s))).collect(),
        prefix: "kw".into(),
        pepper: None,
        fingerprinter: Fingerprinter::new(&[7; 64]),
    }
}

fn headers(lines: &[(&str, &str)]) -> Fields {
    let mut map = Fields::new();
    for (name, value) in lines {
        map.append(
            HeaderName::try_from(*name).expect("a header name"),
            HeaderValue::try_from(*value).expect("a header value"),
        );
    }
    map
}

/// `Some(key)` if exactly this key is found.
fn found(sources: &[&str], lines: &[(&str, &str)], target: &str, key: &str) -> &'static str {
    let target: PathAndQuery = target.parse().expect("a target");
    match reader(sources).find(&headers(lines), target.query()) {
        Found::None => "none",
        Found::Several => "several",
        Found::One(presented) if presented.sha256 == Digest::sha256(key.as_bytes()) => "this",
        Found::One(_) => "another",
    }
}

const ALL: [&str; 6] = ["bearer", "header:x-api-key", "query:api_key", "cookie:key", "basic", "websocket-protocol"];

#[test]
fn a_key_is_found_wherever_a_source_says() {
    for (lines, target, expected) in [
        (&[("authorization", "Bearer K1")][..], "/", "this"),
        (&[("authorization", "bearer   K1 ")], "/", "this"),
        (&[("authorization", "BearerK1")], "/", "none"),
        (&[("authorization", "Bearer ")], "/", "none"),
        (&[("authorization", "Bearer")], "/", "none"),
        (&[("authorization", "Digest K1")], "/", "none"),
        (&[("x-api-key", " K1 ")], "/", "this"),
        (&[("x-api-key", "")], "/", "none"),
        (&[], "/?api_key=K1", "this"),
        (&[], "/?a=b&api%5fkey=%4b1&c", "this"),
        (&[], "/?API_KEY=K1", "none"),
        (&[("cookie", "a=b; key=K1; c=d")], "/", "this"),
        (&[("cookie", "key=\"K1\"")], "/", "this"),
        (&[("cookie", "monkey=K1; key2=K1")], "/", "none"),
        (&[("authorization", "Basic dTpLMQ==")], "/", "this"),
        (&[("authorization", "Basic !!")], "/", "none"),
        (&[("sec-websocket-protocol", "chat, keyward.K1")], "/", "this"),
        (&[("sec-websocket-protocol", "chat")], "/", "none"),
    ] {
        assert_eq!(found(&ALL, lines, target, "K1"), expected, "{lines:?} {target}");
    }
}

#[test]
fn two_keys_are_never_one_even_if_equal() {
    for (lines, target) in [
        (&[("x-api-key", "K1"), ("x-api-key", "K1")][..], "/"),
        (&[("authorization", "Bearer K1"), ("x-api-key", "K1")], "/"),
        (&[("authorization", "Bearer K1"), ("authorization", "Basic dTpLMQ==")], "/"),
        (&[("x-api-key", "K1")], "/?api_key=K1"),
        (&[], "/?api_key=K1&api_key=K1"),
        (&[], "/?api_key=K1&%61pi_key=K2"),
        (&[("cookie", "key=K1; key=K2")], "/"),
        (&[("cookie", "key=K1"), ("cookie", "key=K2")], "/"),
        (&[("sec-websocket-protocol", "keyward.K1, keyward.K2")], "/"),
    ] {
        assert_eq!(found(&ALL, lines, target, "K1"), "several", "{lines:?} {target}");
    }
}

#[test]
fn an_authorization_that_is_no_source_is_not_looked_at() {
    assert_eq!(found(&["bearer"], &[("authorization", "Basic dTpLMQ==")], "/", "K1"), "none");
    assert_eq!(found(&["header:x-api-key"], &[("authorization", "Bearer K1")], "/", "K1"), "none");
}

#[test]
fn only_the_credential_is_stripped() {
    for (from, lines, target, left, target_left) in [
        ("bearer", &[("authorization", "Bearer K"), ("a", "b")][..], "/x", &[("a", "b")][..], "/x"),
        ("bearer", &[("authorization", "Basic eA==")], "/x", &[("authorization", "Basic eA==")], "/x"),
        ("header:x-api-key", &[("x-api-key", "K"), ("a", "b")], "/x", &[("a", "b")], "/x"),
        ("query:k", &[], "/x?k=K", &[], "/x"),
        ("query:k", &[], "/x?a=1&%6b=K&b=%20", &[], "/x?a=1&b=%20"),
        ("query:k", &[], "/x?kk=1&a=k", &[], "/x?kk=1&a=k"),
        ("cookie:k", &[("cookie", "a=b; k=K; c=d")], "/", &[("cookie", "a=b; c=d")], "/"),
        ("cookie:k", &[("cookie", "k=K")], "/", &[], "/"),
        (
            "websocket-protocol",
            &[("sec-websocket-protocol", "keyward.K, chat, v2")],
            "/",
            &[("sec-websocket-protocol", "chat, v2")],
            "/",
        ),
    ] {
        let mut map = headers(lines);
        let mut path: PathAndQuery = target.parse().expect("a target");
        strip(&source(from), &mut map, &mut path);
        assert_eq!((map, path.as_str()), (headers(left), target_left), "{from} {lines:?} {target}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_of_the_key_is_left_after_stripping(
        before in "[a-z0-9=&%]{0,20}", key in "[A-Za-z0-9]{20}", after in "[a-z0-9=&%]{0,20}",
    ) {
        let target = format!("/p?{before}&k={key}&{after}");
        let mut path: PathAndQuery = target.parse().expect("a target");
        strip(&Source::Query("k".into()), &mut Fields::new(), &mut path);
        proptest::prop_assert!(!path.as_str().contains(&key));
    }
}
