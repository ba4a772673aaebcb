//! Tests of `nginx-map`.

use super::{Desk, fresh};

#[test]
fn a_map_becomes_keys() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..5).map(|_| fresh()).collect();
    let text = format!(
        r#"# keys of clients
map $http_apikey $api_client_name {{
    default       "";
    volatile;

    "{}" "client_one";  # the first
    {}   client-two;
    '{}' 'Client
three';
    "\{}" escaped; "~^{}" regex;
    "0123456789abcdef0" 0;
    "0123456789abcdef1" "";
    include more.conf;
    a b c;
}}
"#,
        keys[0], keys[1], keys[2], keys[3], keys[4]
    );
    let secrets: Vec<_> = keys.iter().map(String::as_str).chain(["0123456789abcdef"]).collect();
    let answer = desk.import("nginx-map", &text, &[], &secrets);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 4 keys, 2 could not be imported\n"), "{}", answer.err);
    assert_eq!(desk.identify(&keys[0]).out, "client_one active\n");
    assert_eq!(desk.identify(&keys[1]).out, "client-two active\n");
    assert_eq!(desk.identify(&keys[2]).out, "client-three active\n");
    assert_eq!(desk.identify(&keys[3]).out, "escaped active\n");
    for told in [
        "old:10: `regex` is not imported: it is a regular expression, which lets in more keys than one\n",
        "old:11: a key that is mapped to nothing is not let in there, and is not imported\n",
        "old:12: a key that is mapped to nothing is not let in there, and is not imported\n",
        "old:13: `include` is not followed: import that file as well\n",
        "old:14: `` is not imported: the line is not KEY NAME;\n",
        "old: nginx takes a key in upper and lower case alike; here it is taken as it is written\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
}

#[test]
fn lines_alone_are_enough() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let answer = desk.imported("nginx-map", &format!("# api_keys.conf\n\"{a}\" one;\n{b} 1;\ndefault x;\n"), &[&a, &b]);
    assert_eq!(answer.out, "imported 2 keys\n");
    assert_eq!(desk.identify(&a).out, "one active\n");
    // It said only that the key is good.
    assert_eq!(desk.identify(&b).out, "key active\n");
    assert_eq!(desk.field(1, "owner"), "");
    assert!(answer.err.contains("old:4: `default` lets everybody in there"), "{}", answer.err);
}

#[test]
fn of_several_maps_those_of_keys_are_read() {
    let desk = Desk::new();
    let (a, b, c) = (fresh(), fresh(), fresh());
    let text = format!(
        "http {{\n  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n  \
         map $http_authorization $client {{ default \"\"; \"Bearer {a}\" one; {b} two; }}\n  \
         map $arg_api_key $other {{ {c} three; }}\n  map $client $tier {{ one gold; two free; }}\n  \
         server {{ listen 80; location / {{ if ($client = \"\") {{ return 401; }} proxy_pass http://x; }} }}\n}}\n"
    );
    let answer = desk.imported("nginx-map", &text, &[&a, &b, &c]);
    assert_eq!(answer.out, "imported 3 keys\n", "{}", answer.err);
    assert_eq!(desk.identify(&a).out, "one active\n");
    assert_eq!(desk.identify(&b).out, "two active\n");
    assert_eq!(desk.identify(&c).out, "three active\n");
    for told in [
        "old:2: the map of `$http_upgrade` is not of keys, by its name, and stays behind\n",
        "old:5: the map of `$client` is not of keys, by its name, and stays behind\n",
        "`two`: its key was all of `Authorization`; here that needs `Bearer` before it, or another header\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
}
