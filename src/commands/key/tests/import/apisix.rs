//! Tests of `apisix`.

use super::{Desk, fill, fresh};

#[test]
fn consumers_and_credentials_become_keys() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..5).map(|_| fresh()).collect();
    let text = fill(include_str!("apisix.yaml"), &keys);
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.imported("apisix", &text, &secrets);
    assert_eq!(answer.out, "imported 5 keys\n");
    let field = |n, name| desk.field(n, name);
    assert_eq!((field(0, "id"), field(0, "owner")), ("rose".into(), "rose".into()));
    assert_eq!(field(0, "note"), "for the shop");
    assert_eq!(field(0, "limits"), r#"["100/m"]"#);
    let meta = r#"{ team = "web", env = "prod", credential = "542f7414-87f6-4793-a68e-99983dde9913" }"#;
    assert_eq!(field(0, "meta"), meta);
    assert_eq!((field(1, "id"), field(1, "roles")), ("jack".into(), r#"["company_a"]"#.into()));
    assert_eq!(field(1, "limits"), r#"["5/s", "7/90s"]"#);
    assert_eq!((field(2, "limits"), field(2, "created")), (r#"["3/s"]"#.into(), "2024-12-16T06:07:25Z".into()));
    assert_eq!((field(3, "id"), field(4, "id")), ("adc".into(), "adc-2".into()));
    assert_eq!(desk.identify(&keys[0]).out, "rose active\n");
    for told in [
        "old:1: `routes` are no keys and stay behind\n",
        "`Jack`: the plugin `jwt-auth` is not carried over\n",
        "`Jack`: its limit was counted for each `$remote_addr` alone; here it is for the key\n",
        "`jill`: its limit was counted for all gateways together; here each counts for itself\n",
        "`jill`: the limit of its group is not carried over: its own counts, as there\n",
        "the consumer `off` has no `key-auth`\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
}

#[test]
fn what_cannot_be_taken_over_is_refused_or_told() {
    let desk = Desk::new();
    let key = fresh();
    let text = format!(
        "consumers:\n- username: a\n  group_id: g\n  plugins:\n    key-auth: {{key: $env://KEY}}\n- username: b\n  plugins:\n    \
         key-auth: {{}}\n- id: ghost/credentials/1\n  plugins: {{key-auth: {{key: {key}}}}}\n- username: c\n  labels: {{x: [1]}}\n  \
         group_id: g\n  plugins:\n    key-auth: {{key: {key}}}\n    limit-count: {{count: $var, time_window: 60}}\n"
    );
    let answer = desk.import("apisix", &text, &[], &[&key]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 1 key, 3 could not be imported\n"), "{}", answer.err);
    for told in [
        "old:5: `a` is not imported: its key is not in the file",
        "old:8: `b` is not imported: it has no `key`\n",
        "old:9: `ghost` is not imported: the consumer of this credential is not in the file\n",
        "`c`: its label `x` is no text and is not carried over\n",
        "`c`: its group `g` is not in the file: it is a role here\n",
        "`c`: warning: a limit of `limit-count` is not carried over: it is no rate of numbers\n",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
    assert_eq!(desk.field(0, "roles"), r#"["g"]"#);
}
