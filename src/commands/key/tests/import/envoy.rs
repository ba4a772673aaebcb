//! Tests of `envoy`.

use super::{Desk, fresh};

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth";

#[test]
fn filters_are_found_in_a_whole_configuration() {
    let desk = Desk::new();
    let (a, b, c) = (fresh(), fresh(), fresh());
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          http_filters:
          - name: api_key_auth
            typed_config: &filter
              "@type": {TYPE}
              credentials:
              - key: {a}
                client: One Client
              - {{key: "{b}", client: two}}
              - client: three
              key_sources:
              - header: X-API-KEY
          route_config:
            virtual_hosts:
            - name: all
              routes:
              - match: {{prefix: /}}
                typed_per_filter_config:
                  api_key_auth:
                    "@type": {TYPE}PerRoute
                    allowed_clients: [One Client]
                    credentials:
                    - {{key: {c}, client: routed}}
  - copy: *filter
"#
    );
    let answer = desk.import("envoy", &text, &[], &[&a, &b, &c]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 2 keys, 2 could not be imported\n"), "{}", answer.err);
    assert_eq!((desk.field(0, "id"), desk.field(0, "owner")), ("one-client".into(), "One Client".into()));
    assert_eq!(desk.identify(&b).out, "two active\n");
    for told in [
        "old:19: `key_sources` is not carried over: `keys.sources` says where keys are looked for\n",
        "`allowed_clients` is not carried over: give the route `roles`, and these keys the same, or the keys `routes`: `One Client`\n",
        "old:17: `three` is not imported: it has no `key`\n",
        "`routed` is not imported: it is good for one route there, and would be for all here",
    ] {
        assert!(answer.err.contains(told), "{told}in\n{}", answer.err);
    }
}

#[test]
fn the_filter_alone_and_the_list_alone_are_enough() {
    for form in [
        "credentials:\n- {key: KEY, client: one}\n",
        "- key: KEY\n  client: one\n",
        r#"{"credentials": [{"key": "KEY", "client": "one"}], "key_sources": [{"header": "X"}]}"#,
        r#"[{"key": "KEY", "client": "one"}]"#,
        r#"{"name": "x", "typed_config": {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url":
            "TYPE", "value": {"credentials": [{"key": "KEY", "client": "one"}]}}}"#,
    ] {
        let (desk, key) = (Desk::new(), fresh());
        let text = form.replace("KEY", &key).replace("TYPE", TYPE);
        assert_eq!(desk.imported("envoy", &text, &[&key]).out, "imported 1 key\n", "{form}");
        assert_eq!(desk.identify(&key).out, "one active\n", "{form}");
    }
}

#[test]
fn two_filters_with_one_key_make_one() {
    let (desk, key) = (Desk::new(), fresh());
    let filter = format!("{{\"@type\": {TYPE}, credentials: [{{key: {key}, client: one}}]}}");
    let answer = desk.imported("envoy", &format!("a: {filter}\nb: {filter}\n"), &[&key]);
    assert_eq!(answer.out, "imported 1 key, 1 is there already\n");
}

#[test]
fn a_dump_without_its_secrets_is_no_file_of_keys() {
    let desk = Desk::new();
    let text =
        format!("{{\"@type\": \"{TYPE}\", \"credentials\": [{{\"key\": \"[redacted]\", \"client\": \"one\"}}]}}");
    let answer = desk.import("envoy", &text, &[], &[]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "nothing to import, 1 could not be imported\n"));
    assert!(answer.err.contains("`one` is not imported: its key is not in the file"), "{}", answer.err);
}
