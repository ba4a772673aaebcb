//! Tests of `kong`.

use super::{DAY, Desk, fill, fresh};

/// A file as decK writes it, with a key in each place of one.
const DECK: &str = include_str!("kong.yaml");

#[test]
fn consumers_become_keys_with_their_groups_and_limits() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..6).map(|_| fresh()).collect();
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.import("kong", &fill(DECK, &keys), &[], &secrets);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 5 keys, 1 could not be imported\n"), "{}", answer.err);
    let field = |n, name| desk.field(n, name);
    assert_eq!(field(0, "id"), "ann");
    assert_eq!(field(0, "owner"), "Ann");
    assert_eq!(field(0, "created"), "2024-12-16T06:07:25Z");
    assert_eq!(field(0, "limits"), r#"["10/s", "100/m", "5000/d"]"#);
    assert_eq!(field(0, "quota"), "100000/month");
    assert_eq!(field(0, "roles"), r#"["readers", "writers"]"#);
    assert_eq!(
        field(0, "meta"),
        r#"{ custom_id = "4711", credential = "43b112b6-4795-41ec-ad24-9615c647efc1", tags = "eu, paid" }"#
    );
    assert_eq!((field(1, "id"), field(1, "expires")), ("bob".into(), "2026-11-22T10:00:00Z".into()));
    assert_eq!((field(2, "id"), field(2, "expires")), ("bob-2".into(), String::new()));
    assert_eq!(field(2, "limits"), r#"["5/m", "1000000/365d"]"#);
    assert_eq!((field(3, "id"), field(3, "roles")), ("carl".into(), r#"["admin"]"#.into()));
    assert_eq!(field(3, "limits"), "");
    assert_eq!((field(4, "id"), field(4, "roles")), ("dora".into(), r#"["gold"]"#.into()));
    assert_eq!(desk.identify(&keys[1]).out, "bob active\n");
    desk.clock.advance(DAY);
    assert_eq!(desk.identify(&keys[1]).out, "bob expired\n");
}

#[test]
fn what_kong_says_and_keyward_cannot_is_told() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..6).map(|_| fresh()).collect();
    let answer = desk.import("kong", &fill(DECK, &keys), &[], &[]);
    for told in [
        "old:18: `Ann`: its id is \"ann\" here\n",
        ": `bob`: its `ttl` is counted from now\n",
        ": `bob`: its limit was counted for each `ip` alone; here it is for the key\n",
        ": `bob`: its limit was counted for all gateways together; here each counts for itself\n",
        ": `bob`: its limit for a year is one for 365 days, which a restart forgets\n",
        ": `bob`: the plugin `cors` is not carried over\n",
        ": `bob`: its consumer's 2 keys had one budget together; here each has its own\n",
        ": `bob`: its id is \"bob-2\" here\n",
        ": the `basicauth_credentials` of `idle` are not carried over\n",
        ": the consumer `idle` has no key\n",
        ": `nobody` is not imported: the consumer of this credential is not in the file\n",
        ": `carl`: warning: its limit for one route alone is not carried over\n",
        ": the plugin `prometheus` is not of a consumer and is not carried over\n",
        ": the plugin `rate-limiting-advanced` of the group `gold` is not carried over\n",
        ": `services` are no keys and stay behind\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
    assert!(!answer.err.contains("request-termination"), "what is off there is not missed: {}", answer.err);
}

#[test]
fn json_and_exports_of_the_database_are_read() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let json = format!(
        "{{\n\t\"_format_version\": \"3.0\",\n\t\"consumers\": [{{\"username\": \"ann\", \"keyauth_credentials\": [\n\t\t\
         {{\"key\": \"{a}\", \"tags\": null, \"ttl\": null}}]}}]\n}}\n"
    );
    assert_eq!(desk.imported("kong", &json, &[&a]).out, "imported 1 key\n");
    let export = format!(
        "_transform: false\nconsumers:\n- id: 59d1ef15-24a5-4373-b957-e8192c15ff6e\n  custom_id: ~\n  username: bob\n\
         acls:\n- group: x\n  consumer: 59d1ef15-24a5-4373-b957-e8192c15ff6e\nkeyauth_credentials:\n- created_at: 1734329245\n  \
         key: {b}\n  tags: ~\n  consumer: 59d1ef15-24a5-4373-b957-e8192c15ff6e\n  ttl: ~\nconsumer_groups:\n- id: g\n  \
         name: gold\nconsumer_group_consumers:\n- consumer_group: g\n  consumer: 59d1ef15-24a5-4373-b957-e8192c15ff6e\n"
    );
    assert_eq!(desk.imported("kong", &export, &[&b]).out, "imported 1 key\n");
    assert_eq!((desk.field(1, "id"), desk.field(1, "roles")), ("bob".into(), r#"["x", "gold"]"#.into()));
    assert_eq!(desk.identify(&b).out, "bob active\n");
}

#[test]
fn what_is_no_key_or_no_time_is_refused() {
    let desk = Desk::new();
    let key = fresh();
    let text = format!(
        "consumers:\n- username: a\n  keyauth_credentials:\n  - key: '{{vault://env/my-key}}'\n  - key: ${{{{ env \"DECK_KEY\" }}}}\n  \
         - key: ${{ANON_KEY}}\n  - tags: [x]\n  - key: {key}\n    ttl: soon\n  - key: {key}\n    ttl: 99999999999999\n"
    );
    let answer = desk.import("kong", &text, &[], &[&key]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "nothing to import, 6 could not be imported\n"));
    assert_eq!(answer.err.matches("its key is not in the file: there is a reference to it, or a mask").count(), 3);
    assert!(answer.err.contains("old:7: `a` is not imported: it has no `key`\n"), "{}", answer.err);
    assert_eq!(answer.err.matches("its `ttl`").count(), 2, "{}", answer.err);
}

#[test]
fn a_limit_that_cannot_be_is_told() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let text = format!(
        "consumers:\n- username: a\n  keyauth_credentials: [{{key: {a}}}]\n  plugins:\n  - name: rate-limiting\n    \
         config: {{second: 0.5, minute: many, hour: 5.0, day: 0, month: 99999999999999}}\n- username: b\n  keyauth_credentials: [{{key: {b}}}]\n  plugins:\n  \
         - name: rate-limiting-advanced\n    config: {{limit: [5, 100], window_size: [1, 3600], strategy: redis}}\n"
    );
    let answer = desk.imported("kong", &text, &[&a, &b]);
    assert_eq!(desk.field(0, "limits"), r#"["5/h"]"#);
    assert_eq!(desk.field(1, "limits"), r#"["5/s", "100/h"]"#);
    for lost in ["second", "minute", "day", "month"] {
        let told = format!("`a`: warning: its limit `{lost}` is not carried over");
        assert!(answer.err.contains(&told), "{told}: {}", answer.err);
    }
    assert!(answer.err.contains("`b`: its limit was counted for all gateways together"), "{}", answer.err);
}
