//! `keys.preset` and what is written beside it.

use super::*;

fn sources(keys: &Keys) -> Vec<String> {
    keys.sources.iter().map(ToString::to_string).collect()
}

fn names(keys: &Keys) -> Vec<&str> {
    keys.identity.names().map(HeaderName::as_str).collect()
}

#[test]
fn a_preset_sets_defaults() {
    let fastapi = good("keys.preset = \"fastapi_simple_security\"\n").keys;
    assert_eq!(sources(&fastapi), ["header:api-key", "query:api-key"]);
    assert_eq!((fastapi.status_missing, fastapi.status_invalid), (403, 403));
    assert_eq!(fastapi.identity, good("").keys.identity);

    let kong = good("keys.preset = \"kong\"\n").keys;
    assert_eq!(sources(&kong), ["header:apikey", "query:apikey"]);
    assert_eq!((kong.status_missing, kong.status_invalid), (401, 401));
    let theirs = ["x-consumer-id", "x-consumer-username", "x-consumer-groups", "x-credential-identifier"];
    assert_eq!(names(&kong), theirs);
    // Nothing else is another.
    let ours = good("").keys;
    for preset in [fastapi, kong] {
        let Keys { sources, status_missing, status_invalid, identity, .. } = ours.clone();
        assert_eq!(Keys { sources, status_missing, status_invalid, identity, ..preset }, ours);
    }
}

#[test]
fn what_is_written_beside_a_preset_wins_wherever_it_stands() {
    let keys = good(
        "[keys]\nstatus_invalid = 401\nsources = [\"header:api-key\", \"bearer\"]\nrealm = \"shop\"\nprefix = \"fs\"\n\
         preset = \"fastapi_simple_security\"\n",
    )
    .keys;
    assert_eq!(sources(&keys), ["header:api-key", "bearer"]);
    assert_eq!((keys.status_missing, keys.status_invalid, keys.realm.as_str()), (403, 401, "shop"));

    let identity = "[keys.identity]\ncredential = \"\"\nplan = \"X-Plan\"\nowner = \"X-Owner\"\n";
    let keys = good(&format!("keys.preset = \"kong\"\n{identity}")).keys;
    assert_eq!(names(&keys), ["x-consumer-id", "x-owner", "x-consumer-groups", "x-plan"]);
    let keys = good("keys.identity.credential = \"X-Cred\"\n").keys;
    assert_eq!(names(&keys).last(), Some(&"x-cred"));
}

#[test]
fn presets_refused() {
    for preset in ["\"\"", "\"Kong\"", "\"fastapi\"", "\"none\""] {
        assert_eq!(bad(&format!("keys.preset = {preset}\n")), ["invalid-value"], "{preset}");
    }
    assert_eq!(bad("keys.preset = 1\n"), ["wrong-type"]);
    let same = "keys.preset = \"kong\"\n[keys.identity]\n";
    for header in ["id = \"X-Credential-Identifier\"", "credential = \"X-Consumer-ID\"", "credential = \"apikey\""] {
        assert_eq!(bad(&format!("{same}{header}\n")), ["invalid-value"], "{header}");
    }
    // A header that tells who calls is not a route's to change.
    let route = "keys.preset = \"kong\"\n[[route]]\n[route.request_headers]\nremove = [\"X-Credential-Identifier\"]\n";
    assert_eq!(bad(route), ["invalid-value"]);
}
