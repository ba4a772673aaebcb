//! Tests of what makes a secret.

use super::{DAY, Desk};
use crate::credential::format::{Shape, inspect};
use crate::vocab::digest::Digest;

#[test]
fn new_prints_the_key_alone_and_stores_its_hash_alone() {
    let desk = Desk::new();
    let answer = desk.run(&[
        "new",
        "billing",
        "--owner",
        "payments \"team\"",
        "--plan",
        "gold",
        "--role",
        "a",
        "--role",
        "b",
        "--limit",
        "100/s burst 200",
        "--limit",
        "1000/d",
        "--expires",
        "90d",
        "--not-before",
        "2026-12-01",
        "--meta",
        "tenant=acme",
        "--meta",
        "x=a=b",
        "--note",
        "n",
    ]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    let key = answer.out.strip_suffix('\n').expect("one line");
    assert_eq!(inspect("kw", key.as_bytes()), Shape::Ours);
    let hash = Digest::sha256(key.as_bytes()).to_hex();
    assert_eq!(
        desk.keys(),
        format!(
            "[[key]]\nid = \"billing\"\nhash = \"sha256:{hash}\"\nowner = 'payments \"team\"'\nnote = \"n\"\n\
             created = 2026-11-21T10:00:00Z\nexpires = 2027-02-19T10:00:00Z\nnot_before = 2026-12-01T00:00:00Z\n\
             plan = \"gold\"\nlimits = [\"100/s burst 200\", \"1000/d\"]\nroles = [\"a\", \"b\"]\n\
             meta = {{ tenant = \"acme\", x = \"a=b\" }}\n"
        )
    );
}

#[test]
fn new_refuses_what_would_not_work() {
    let desk = Desk::with_keys("[[key]]\nid = \"taken\"\nstate = \"revoked\"\n");
    assert!(desk.refused(&["new", "taken"], 1).contains("rotate"));
    for bad in ["", "A", "-a", ".a", "a b", "a/b", "é", &"a".repeat(64)] {
        desk.refused(&["new", "--", bad], 2);
    }
    for flags in [
        ["--expires", "soon"],
        ["--expires", "2026-13-01"],
        ["--not-before", "never"],
        ["--limit", "many"],
        ["--meta", "tenant"],
        ["--meta", "=x"],
        ["--unknown", "x"],
        ["--mode", "shadow"],
    ] {
        desk.refused(&["new", "x", flags[0], flags[1]], 2);
    }
    for (flag, value, said) in [
        ("--quota", "1000/hour", "`1000000/month`"),
        ("--quota", "0/month", "lets nothing through"),
        ("--concurrency", "0", "1..=1000000"),
        ("--network", "10.0.0.1/8", "\"10.0.0.0/8\""),
        ("--network", "localhost", "expected a network"),
        ("--method", "get", "did you mean `GET`?"),
        ("--path", "v1/*", "a path begins with `/`"),
        ("--path", "/v1/../x", "`..` segments"),
    ] {
        let message = desk.refused(&["new", "x", flag, value], 2);
        assert!(message.contains(said), "{flag} {value}: {message}");
    }
    desk.refused(&["new", "x", "--expires", "2026-11-21"], 1);
    desk.refused(&["new", "x", "--expires", "1d", "--not-before", "2d"], 1);
    for flags in [["--role", "a,b"], ["--owner", "a\u{7}b"], ["--plan", ""]] {
        let message = desk.refused(&["new", "x", flags[0], flags[1]], 1);
        assert!(message.contains("would not take"), "{message}");
    }
    desk.good(&["new", &"a".repeat(63)]);
}

#[test]
fn new_writes_what_the_key_may_reach_and_how_much() {
    let desk = Desk::new();
    let flags = "new a --limit 5/s --quota 1000/month --concurrency 8 --role r --route orders --route carts --method GET \
                 --method PURGE --path /v1/orders/* --path /v1/x --network 10.0.0.0/8 --network 2001:db8::/32 --network ::1";
    let answer = desk.run(&flags.split_whitespace().collect::<Vec<_>>());
    assert_eq!((answer.code, answer.err.as_str()), (0, ""), "without a configuration nobody knows routes");
    let written = "limits = [\"5/s\"]\nquota = \"1000/month\"\nconcurrency = 8\nroles = [\"r\"]\n\
                   routes = [\"orders\", \"carts\"]\nmethods = [\"GET\", \"PURGE\"]\npaths = [\"/v1/orders/*\", \"/v1/x\"]\n\
                   networks = [\"10.0.0.0/8\", \"2001:db8::/32\", \"::1\"]\n";
    assert!(desk.keys().ends_with(written), "{}", desk.keys());
    let key = desk.good(&["new", "b", "--quota", "5/day"]);
    assert_eq!(desk.identify(&key).out, "b active\n");
}

#[test]
fn new_warns_of_what_the_configuration_does_not_have() {
    let desk = Desk::with_config(
        "upstream.default.servers = [\"http://a\"]\n[[route]]\nname = \"orders\"\npath = \"/v1/*\"\nroles = [\"r\"]\n\
         [[route]]\nname = \"dear\"\npath = \"/dear\"\ncost = 10\n",
    );
    for (flags, said) in [
        (&["--route", "ordres"][..], "`ordres`, which does not exist; did you mean `orders`?"),
        (&["--path", "/v2/*"], "good for nothing"),
        (&["--route", "dear", "--limit", "5/s"], "one request takes 10 units"),
        (&["--quota", "1000/month"], "counted in memory"),
        (&["--route", "orders"], ""),
        (&["--role", "unheard-of"], ""),
    ] {
        let id = format!("key-{}", desk.keys_or_nothing().len());
        let answer = desk.run(&[&["new", &id], flags].concat());
        assert_eq!(answer.code, 0, "{}", answer.err);
        assert_eq!(inspect("kw", answer.out.trim_end().as_bytes()), Shape::Ours, "nothing but the key");
        assert!(answer.err.contains(said) && answer.err.is_empty() == said.is_empty(), "{flags:?}: {}", answer.err);
        assert!(answer.err.lines().all(|line| line.starts_with("note: ")), "{}", answer.err);
    }
    // Mistakes elsewhere in the configuration hold up nobody.
    desk.write("keyward.toml", "[[route]]\nauth = \"opne\"\n");
    desk.good(&["new", "last", "--route", "whatever"]);
}

#[test]
fn new_follows_the_configuration() {
    let desk = Desk::with_config(
        "[keys]\nfile = \"keys.toml\"\nprefix = \"acme\"\nexpires_default = \"10d\"\n\
         pepper = \"file:pepper\"\n[plan.gold]\n",
    );
    desk.write("pepper", "Jefe\n");
    let key = desk.good(&["new", "a", "--plan", "gold"]);
    assert_eq!(inspect("acme", key.as_bytes()), Shape::Ours);
    assert!(desk.field(0, "hash").starts_with("hmac-sha256:"));
    assert_eq!(desk.field(0, "expires"), "2026-12-01T10:00:00Z");
    assert_eq!(desk.identify(&key).out, "a active\n");
    desk.good(&["new", "b", "--expires", "never"]);
    assert_eq!(desk.field(1, "expires"), "");
    assert!(desk.refused(&["new", "c", "--plan", "gald"], 1).contains("did you mean \"gold\"?"));

    let vector = desk.run_with(&["hash"], "what do ya want for nothing?");
    assert_eq!(vector.out, "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\n");
    std::fs::remove_file(desk.folder.path().join("pepper")).expect("it is there");
    assert!(desk.refused(&["new", "d"], 1).contains("pepper: no such file"));
    // What makes no hash needs no pepper.
    desk.good(&["revoke", "a"]);
    desk.good(&["list"]);
}

#[test]
fn entries_are_added_after_the_comments_and_changed_under_them() {
    let desk = Desk::with_keys("# Our keys.\n# Ask Ann.");
    desk.good(&["new", "a"]);
    assert!(desk.keys().starts_with("# Our keys.\n# Ask Ann.\n\n[[key]]\nid = \"a\"\n"), "{}", desk.keys());

    let before =
        "# top\n[[key]]\n  id = \"a\" # ann\n  hash = \"sha256:00\"\n  state = \"active\" # yes\n\n# later: c\n";
    let desk = Desk::with_keys(before);
    desk.good(&["revoke", "a", "--reason", "left"]);
    assert_eq!(
        desk.keys(),
        "# top\n[[key]]\n  id = \"a\" # ann\n  hash = \"sha256:00\"\n  state = \"revoked\" # yes\n  reason = \"left\"\n  \
         state_changed = 2026-11-21T10:00:00Z\n\n# later: c\n"
    );
    desk.good(&["new", "b"]);
    assert!(desk.keys().contains("10:00:00Z\n\n# later: c\n\n[[key]]\nid = \"b\"\n"), "{}", desk.keys());

    let desk = Desk::with_keys("key = [{ id = \"a\" }]\n# end\n");
    desk.good(&["new", "b"]);
    desk.good(&["disable", "a"]);
    assert_eq!(desk.field(0, "state"), "disabled");
    assert_eq!(desk.field(1, "id"), "b");
    assert!(desk.keys().ends_with("# end\n"));
}

#[test]
fn a_rotated_secret_works_until_its_grace_ends_and_is_forgotten_later() {
    let desk = Desk::new();
    let first = desk.good(&["new", "a"]);
    let second = desk.good(&["rotate", "a"]);
    assert_eq!(inspect("kw", second.as_bytes()), Shape::Ours);
    assert_eq!(desk.identify(&second).out, "a active\n");
    assert_eq!(desk.identify(&first).out, "a grace\n");
    desk.clock.advance(DAY);
    assert_eq!(desk.identify(&first).out, "a rotated_out\n");

    let third = desk.good(&["rotate", "a", "--grace", "0"]);
    assert_eq!(desk.identify(&second).out, "a rotated_out\n");
    assert_eq!(desk.identify(&first).out, "a rotated_out\n");
    desk.clock.advance(DAY * 31);
    desk.good(&["rotate", "a", "--grace", "1h"]);
    assert_eq!(desk.identify(&third).out, "a grace\n");
    assert_eq!(desk.identify(&first).code, 1);
    assert_eq!(desk.keys().matches("until").count(), 1);
    desk.good(&["revoke", "a"]);
    assert_eq!(desk.identify(&third).out, "a revoked\n");
    assert_eq!(desk.run(&["rotate", "a", "--grace", "soon"]).code, 2);
}

#[test]
fn previous_secrets_may_be_written_as_tables() {
    let desk = Desk::new();
    let first = desk.good(&["new", "a"]);
    let old = "\n[[key.previous]]\nhash = \"sha256:00\"\nuntil = 2020-01-01T00:00:00Z\n";
    desk.write("keys.toml", &(desk.keys() + old));
    desk.good(&["rotate", "a"]);
    assert!(!desk.keys().contains("2020"));
    assert!(desk.keys().contains("[[key.previous]]\nhash = \"sha256:"), "{}", desk.keys());
    assert!(desk.keys().contains(&Digest::sha256(first.as_bytes()).to_hex()));
}

#[test]
fn new_keys_made_at_once_are_all_kept() {
    let desk = Desk::with_keys("# ours\n");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let desk = &desk;
            scope.spawn(move || {
                for n in 0..5 {
                    desk.good(&["new", &format!("k{writer}-{n}")]);
                }
            });
        }
    });
    assert_eq!(desk.keys().matches("[[key]]").count(), 40);
}
