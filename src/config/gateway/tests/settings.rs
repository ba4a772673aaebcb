//! One table of good and bad inputs per setting.

use super::*;

/// Every value, put into `before…after`, is refused with one problem of the code.
#[track_caller]
fn refused(before: &str, values: &[&str], code: &str) {
    for value in values {
        assert_eq!(bad(&format!("{before}{value}\n")), [code], "{before}{value}");
    }
}

#[test]
fn server_and_http() {
    let gateway = good(
        "[server]\nworkers = 3\nshutdown_grace = \"0\"\n[http]\nheader_timeout = \"250ms\"\nheader_bytes_max = \"8KiB\"\n\
         headers_max = 0x10\nconnections_per_ip_max = 7\nbody_bytes_max = \"1MiB\"\n[[route]]\nname = \"a\"\n\
         path = \"/a\"\n[[route]]\npath = \"/b\"\nbody_bytes_max = \"0B\"\n[[route]]\npath = \"/c\"\nbody_bytes_max = \"none\"\n",
    );
    assert_eq!(gateway.server.workers, 3);
    assert_eq!(gateway.server.shutdown_grace, Duration::ZERO);
    assert_eq!(gateway.http.header_timeout, Duration::from_millis(250));
    assert_eq!(gateway.http.header_bytes_max, 8_192);
    assert_eq!(gateway.http.headers_max, 16);
    assert_eq!(gateway.http.connections_per_ip_max, Some(7));
    let of_routes: Vec<_> = gateway.routes.iter().map(|route| route.body_bytes_max).collect();
    assert_eq!(of_routes, [Some(1 << 20), Some(0), None], "a route has the general one unless it says otherwise");

    refused("[server]\nworkers = ", &["-1", "1025", "99999999999999999999"], "invalid-value");
    refused("[server]\nworkers = ", &["\"4\"", "1.0", "true", "[]"], "wrong-type");
    refused("[server]\nshutdown_grace = ", &["\"30\"", "\"\"", "\"forever\""], "invalid-value");
    refused("[http]\nidle_timeout = ", &["\"0\"", "\"0s\"", "\"-1s\""], "invalid-value");
    refused("[http]\nidle_timeout = ", &["75", "75.5"], "wrong-type");
    refused("[http]\nheader_bytes_max = ", &["\"4KiB\"", "\"2MiB\"", "\"32KB\"", "\"none\""], "invalid-value");
    for table in ["[http]", "[[route]]"] {
        let before = format!("{table}\nbody_bytes_max = ");
        refused(&before, &["\"\"", "\"10\"", "\"10MB\"", "\"-1B\"", "\"20000000000GiB\""], "invalid-value");
        refused(&before, &["10", "false"], "wrong-type");
    }
    refused("[http]\nheaders_max = ", &["0", "10001"], "invalid-value");
    refused("", &["server = 1", "http = []"], "wrong-type");
    refused("", &["serve = 1", "[htp]"], "unknown-key");
}

#[test]
fn the_state_file_is_beside_the_configuration_and_nothing_else() {
    let state = |text: &str| good(&format!("[server]\nstate = \"{text}\"\n")).server.state.map(|path| path.value);
    assert_eq!(good("").server.state, None);
    assert_eq!(state("/var/lib/keyward/state.db"), Some("/var/lib/keyward/state.db".into()));
    assert_eq!(state("state.db"), Some("conf/state.db".into()));
    for used in ["keys.toml", "x.log", "keyward.toml"] {
        let text = format!("[server]\nstate = \"{used}\"\n[log]\noutput = \"file:x.log\"\n");
        assert_eq!(bad(&text), ["invalid-value"], "{used}");
    }
    assert_eq!(bad("[server]\nstate = \"\"\n"), ["invalid-value"]);
}

#[test]
fn trusted_proxies() {
    let networks = "[\"10.0.0.0/8\", \"::ffff:192.0.2.1\", \"2001:db8::/32\", \"unix:\"]";
    let proxies = good(&format!("[server]\ntrusted_proxies = {networks}\n")).server.trusted_proxies;
    let texts: Vec<_> = proxies.networks.iter().map(ToString::to_string).collect();
    assert_eq!((texts, proxies.unix), (vec!["10.0.0.0/8".into(), "192.0.2.1/32".into(), "2001:db8::/32".into()], true));
    assert!(proxies.trusts("10.255.0.1".parse().expect("an address")));
    assert!(!proxies.trusts("192.0.2.2".parse().expect("an address")));
    let none = good("[server]\ntrusted_proxies = []\n").server.trusted_proxies;
    assert_eq!(none, TrustedProxies::default());

    let before = "[server]\ntrusted_proxies = ";
    refused(before, &["[\"10.0.0.1/8\"]", "[\"localhost\"]", "[\"unix\"]", "[\"10.0.0.0/33\"]"], "invalid-value");
    refused(before, &["\"10.0.0.0/8\"", "[10]"], "wrong-type");
    let many: String = (0..=256).map(|n| format!("\"10.0.{}.{}\", ", n / 256, n % 256)).collect();
    refused(before, &[&format!("[{many}]")], "invalid-value");
    let (_, report) = with("[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\n").expect("it can serve");
    assert_eq!(report.diagnostics()[0].code, "everybody-trusted");
}

#[test]
fn listeners() {
    let gateway = good(
        "[[listener]]\naddress = \"0.0.0.0:8443\"\ntls = [{ cert = \"tls/a.pem\", key = \"/k/a.key\" }]\n\
         [[listener]]\naddress = \"[::1]:0\"\n[[listener]]\naddress = \"[::]:80\"\ninsecure = \"allow\"\n",
    );
    let [public, loopback, open] = gateway.listeners.as_slice() else {
        panic!("three listeners");
    };
    assert_eq!(public.insecure, Insecure::Refuse);
    assert_eq!(public.tls[0].cert.value, Path::new("conf/tls/a.pem"));
    assert_eq!(public.tls[0].key.value, Path::new("/k/a.key"));
    assert_eq!(loopback.insecure, Insecure::Allow);
    assert_eq!(open.insecure, Insecure::Allow);

    let before = "[[listener]]\naddress = ";
    let addresses = ["\"localhost:80\"", "\":80\"", "\"127.0.0.1\"", "\"::1:80\"", "\"\""];
    refused(before, &addresses, "invalid-value");
    refused("[[listener]]\ntls = ", &["[{ cert = \"a\" }]", "[{ key = \"a\" }]"], "missing-key");
    refused("[[listener]]\ntls = ", &["[{ cert = \"a\", key = \"\" }]"], "invalid-value");
    refused("[[listener]]\ntls = ", &["{ cert = \"a\", key = \"b\" }", "[\"a\"]"], "wrong-type");
    refused("[[listener]]\ninsecure = ", &["\"yes\"", "\"\""], "invalid-value");
    refused("listener = ", &["[]"], "invalid-value");
    refused("[listener]\n", &["address = \"[::1]:80\""], "wrong-type");
    let unix = good("[[listener]]\naddress = \"unix:in.sock\"\n[[listener]]\naddress = \"unix:/b\"\nmode = \"0660\"\n");
    let [relative, absolute] = unix.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!(relative.address, ListenAddress::Unix("conf/in.sock".into()));
    assert_eq!((absolute.address.to_string().as_str(), absolute.mode), ("unix:/b", 0o660));
    assert_eq!((relative.insecure, relative.mode), (Insecure::Allow, 0o666));
    let long = format!("\"unix:/{}\"", "l".repeat(107));
    refused(before, &["\"unix:\"", "\"unix:/a\\u0000b\"", &long], "invalid-value");
    let before = "[[listener]]\naddress = \"unix:/a\"\nmode = ";
    refused(before, &["\"rw\"", "\"0888\"", "\"7777\"", "\"1\"", "\"+660\"", "\"\""], "invalid-value");
    refused(before, &["0o660", "432"], "wrong-type");
    refused("[[listener]]\nmode = ", &["\"0660\""], "invalid-value");
    refused(&"[[listener]]\naddress = \"unix:/a\"\n".repeat(2), &[""], "duplicate-listener");

    let tls = "[[listener]]\ntls = [{ cert = \"a\", key = \"b\" }]\n";
    let mutual = good(&format!("{tls}client_ca = \"ca.pem\"\nclient_auth = \"required\"\n"));
    assert_eq!(mutual.listeners[0].client_auth, ClientAuth::Required);
    let ca = mutual.listeners[0].client_ca.as_ref().map(|ca| ca.value.clone());
    assert_eq!(ca.as_deref(), Some(Path::new("conf/ca.pem")));
    refused(&format!("{tls}client_auth = "), &["\"required\"", "\"optional\""], "missing-key");
    refused(&format!("{tls}client_auth = "), &["\"on\"", "\"\""], "invalid-value");
    refused(&format!("{tls}client_ca = "), &["\"\""], "invalid-value");
    refused(&format!("{tls}client_ca = "), &["true"], "wrong-type");
    refused("[[listener]]\nclient_auth = ", &["\"required\"", "\"optional\""], "invalid-value");
    refused("[[listener]]\nclient_ca = ", &["\"ca.pem\""], "invalid-value");
    let (_, report) = with(&format!("{tls}client_ca = \"ca.pem\"\n")).expect("it can serve");
    assert_eq!(report.diagnostics()[0].code, "unused-client-ca");
    refused("[[listener]]\nproxy_protocol = ", &["\"v2\"", "1"], "wrong-type");
    let twice = "[[listener]]\naddress = \"[::1]:80\"\n".repeat(2);
    refused(&twice, &[""], "duplicate-listener");

    let (_, report) = with("[[listener]]\naddress = \"0.0.0.0:80\"\n").expect("it can serve");
    assert_eq!(report.diagnostics()[0].code, "insecure-listener");
    assert_eq!(report.diagnostics()[0].severity, Severity::Warning);
}

#[test]
fn keys() {
    let keys = good(
        "[keys]\nfile = \"k.toml\"\npepper = \"file:p\"\nexpires_default = \"90d\"\nstatus_missing = 403\nrealm = \"\"\n\
         sources = [\"basic\", \"query:api_key\", \"cookie:k\", \"websocket-protocol\", \"header:Authorization-2\"]\n\
         [keys.identity]\nid = \"X-Who\"\nowner = \"\"\n",
    )
    .keys;
    assert_eq!(keys.file.value, Path::new("conf/k.toml"));
    assert_eq!(keys.pepper.map(|it| it.value), Some(SecretRef::File("conf/p".into())));
    assert_eq!(keys.expires_default, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!((keys.status_missing, keys.status_invalid), (403, 401));
    assert_eq!(keys.sources.len(), 5);
    assert_eq!(keys.identity.id, Some(HeaderName::from_static("x-who")));
    assert_eq!(keys.identity.owner, None);
    assert_eq!(keys.identity.plan, Some(HeaderName::from_static("x-consumer-plan")));
}

#[test]
fn keys_refused() {
    refused("[keys]\nfile = ", &["\"\""], "invalid-value");
    let pasted = ["\"a\\u0000\"", "\"-----BEGIN PRIVATE KEY-----\"", "\"\"\"a\nb\"\"\""];
    refused("[keys]\nfile = ", &pasted, "inline-secret");
    refused("[keys]\nprefix = ", &["\"\"", "\"k_w\"", "\"ключ\"", "\"abcdefghijklmnopq\""], "invalid-value");
    refused("[keys]\npepper = ", &["\"env:\"", "\"env:1A\"", "\"env:A B\"", "\"file:\""], "invalid-value");
    refused("[keys]\npepper = ", &["\"\"", "\"hunter2\"", "\"x:y\""], "inline-secret");
    refused("[keys]\nrealm = ", &["'a\"b'", "'a\\b'", "\"a\\nb\"", "\"ä\""], "invalid-value");
    refused("[keys]\nstatus_invalid = ", &["404", "0", "-401"], "invalid-value");
    refused("[keys]\nforward = ", &["\"no\"", "0"], "wrong-type");
    refused("[keys]\nexpires_default = ", &["\"0\"", "\"soon\""], "invalid-value");
    refused(
        "[keys.identity]\nid = ",
        &["\"a b\"", "\"Host\"", "\"x-consumer-plan\"", "\"X-API-Key\"", "\"Authorization\""],
        "invalid-value",
    );
}

#[test]
fn sources() {
    let before = "[keys]\nsources = ";
    let wrong = [
        "[]",
        "[\"Bearer\"]",
        "[\"header\"]",
        "[\"header:\"]",
        "[\"header:a b\"]",
        "[\"header:Cookie\"]",
        "[\"header:Host\"]",
        "[\"query:\"]",
        "[\"query:a&b\"]",
        "[\"query:%61\"]",
        "[\"cookie:a;b\"]",
        "[\"bearer:x\"]",
    ];
    refused(before, &wrong, "invalid-value");
    let twice =
        ["[\"bearer\", \"bearer\"]", "[\"header:x-key\", \"header:X-Key\"]", "[\"bearer\", \"header:authorization\"]"];
    refused(before, &twice, "duplicate-source");
}

#[test]
fn limits_and_plans() {
    let gateway = good(
        "[limits]\nheaders = [\"x-ratelimit\"]\ntotal = \"600/5m\"\n[plan.gold]\nlimits = [\"100/s burst 200\", \"100000/d\"]\n[plan.free]\n",
    );
    assert!(!gateway.limits.ratelimit_headers && gateway.limits.x_ratelimit_headers);
    assert_eq!(gateway.limits.total.map(|rate| rate.window), Some(Duration::from_secs(300)));
    assert_eq!(gateway.limits.per_ip, None);
    assert_eq!(gateway.plans["gold"].limits.len(), 2);
    assert!(gateway.plans["free"].limits.is_empty());

    refused("[limits]\nper_ip = ", &["\"\"", "\"off\"", "\"10\"", "\"10/ms\"", "\"0/s\""], "invalid-value");
    refused("[limits]\nheaders = ", &["[\"draft\"]", "[\"ratelimit\", \"ratelimit\"]"], "invalid-value");
    refused("[limits]\nheaders = ", &["\"ratelimit\"", "[1]"], "wrong-type");
    refused("[plan.gold]\nlimits = ", &["[\"1/s\", \"1/s\"]", "[\"x\"]"], "invalid-value");
    refused("[plan]\n", &["gold = 1"], "wrong-type");
    refused("[plan.\"a b\"]", &[""], "invalid-value");
    let many: String = (1..=17).map(|n| format!("\"{n}/s\", ")).collect();
    refused("[plan.gold]\nlimits = ", &[&format!("[{many}]")], "invalid-value");
}

#[test]
fn routes() {
    let gateway = good(
        "[[route]]\nhost = \"API.example.com\"\npath = \"/v1/orders/*\"\nmethods = [\"GET\", \"PURGE\"]\nauth = \"open\"\n\
         [[route]]\nname = \"any\"\nhost = \"*.Example.com\"\npath = \"/*\"\n[[route]]\nhost = \"[::1]\"\npath = \"/\"\ntimeout = \"5s\"\n",
    );
    let [first, second, third] = gateway.routes.as_slice() else {
        panic!("three routes");
    };
    assert_eq!(first.name, "API.example.com/v1/orders/*");
    assert_eq!(first.host, HostPattern::Exact("api.example.com".into()));
    assert_eq!(first.path, PathPattern::Prefix("/v1/orders/".into()));
    assert_eq!(first.methods.len(), 2);
    assert_eq!(first.auth, Auth::Open);
    assert_eq!(second.host, HostPattern::Suffix(".example.com".into()));
    assert_eq!((second.name.as_str(), &second.path), ("any", &PathPattern::Any));
    assert_eq!(third.host, HostPattern::Exact("[::1]".into()));
    assert_eq!(third.path, PathPattern::Exact("/".into()));
    assert_eq!(third.timeout, Duration::from_secs(5));
}

#[test]
fn routes_refused() {
    let hosts = [
        "\"\"",
        "\"*\"",
        "\"a..b\"",
        "\"*.*.b\"",
        "\"a.*\"",
        "\"a:80\"",
        "\"http://a\"",
        "\"a/b\"",
        "\"-a\"",
        "\"[::x]\"",
        "\"ä\"",
    ];
    refused("[[route]]\nhost = ", &hosts, "invalid-value");
    let paths = [
        "\"\"",
        "\"*\"",
        "\"v1\"",
        "\"/v1*\"",
        "\"/*/x\"",
        "\"/a/*/b/*\"",
        "\"/a?b\"",
        "\"/a#b\"",
        "\"/a//b\"",
        "\"//\"",
        "\"//*\"",
        "\"/a/../b\"",
        "\"/./*\"",
        "\"/a%2fb\"",
        "'/a\\b'",
        "\"/a;b\"",
        "\"/a b\"",
        "\"/ä\"",
    ];
    refused("[[route]]\npath = ", &paths, "invalid-value");
    let methods = ["[\"get\"]", "[\"\"]", "[\"A B\"]", "[\"GET\", \"GET\"]"];
    refused("[[route]]\nmethods = ", &methods, "invalid-value");
    refused("[[route]]\nmethods = ", &["\"GET\"", "[1]"], "wrong-type");
    refused("[[route]]\nhost = ", &["1"], "wrong-type");
    refused("[[route]]\nname = ", &["\"\"", "\"a\\n\""], "invalid-value");
    refused("[[route]]\nauth = ", &["\"none\""], "invalid-value");
    refused("[[route]]\npreflight = ", &["true"], "wrong-type");
    refused("[[route]]\ntimeout = ", &["\"0\""], "invalid-value");
    refused("[[route]]\nupstream = ", &["\"defualt\""], "unknown-upstream");
    refused("route = ", &["[]"], "invalid-value");
}

#[test]
fn what_a_route_changes() {
    let gateway = good(
        "[[route]]\npath = \"/api/v1/*\"\nstrip_prefix = \"/api\"\nadd_prefix = \"/x/y\"\n[route.request_headers]\n\
         set = { X-From = \"gateway; v=1\", Accept = \"a/b\" }\nremove = [\"Authorization\", \"x-debug\"]\n\
         [route.response_headers]\nset = { Host = \"\", Authorization = \"x\" }\n"
            .replace("Host = \"\", ", "")
            .as_str(),
    );
    let route = &gateway.routes[0];
    assert_eq!((route.strip_prefix.as_str(), route.add_prefix.as_str()), ("/api", "/x/y"));
    let set: Vec<_> = route.request_headers.set.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(set, ["x-from", "accept"]);
    assert_eq!(route.request_headers.remove, ["authorization", "x-debug"].map(HeaderName::from_static));
    assert_eq!(good("[[route]]\nstrip_prefix = \"\"\n").routes[0].strip_prefix, "");

    for key in ["strip_prefix", "add_prefix"] {
        let prefixes =
            ["\"api\"", "\"/\"", "\"/api/\"", "\"/a//b\"", "\"/../a\"", "\"/a%2fb\"", "\"/a?b\"", "\"/*\"", "\"/a;b\""];
        refused(&format!("[[route]]\n{key} = "), &prefixes, "invalid-value");
        refused(&format!("[[route]]\n{key} = "), &["1"], "wrong-type");
    }
    for (path, prefix, warns) in [
        ("/api/*", "/api", false),
        ("/api/*", "/api/v1", false),
        ("/api/v1/*", "/api", false),
        ("/api/v1", "/api/v1", false),
        ("/*", "/api", false),
        ("/apix/*", "/api", true),
        ("/v1/*", "/api", true),
        ("/api", "/api/v1", true),
    ] {
        let text = format!("[[route]]\npath = \"{path}\"\nstrip_prefix = \"{prefix}\"\n");
        let (_, report) = with(&text).expect("it can serve");
        assert_eq!(report.diagnostics().iter().any(|it| it.code == "idle-prefix"), warns, "{path} {prefix}");
    }
}

#[test]
fn headers_that_a_route_may_not_change() {
    for (side, verb, names, code) in [
        (
            "request",
            "remove",
            &["Host", "connection", "TE", "Content-Length", "Content_Length", "a b", ""][..],
            "invalid-value",
        ),
        ("request", "remove", &["X-Consumer-ID", "x_consumer_id", "X-Who", "X-Request-Id"], "invalid-value"),
        (
            "request",
            "set",
            &["Transfer-Encoding", "X-Who", "X_Consumer-Plan", "X-Request-Id", "Proxy-Authorization"],
            "invalid-value",
        ),
        ("request", "set", &["Authorization", "Cookie", "X-API-Key", "X_API_Key"], "inline-secret"),
        ("response", "remove", &["Upgrade", "Trailer", "X-Request-ID"], "invalid-value"),
        ("response", "set", &["Content-Length", "Keep-Alive", "X_Request_ID"], "invalid-value"),
    ] {
        for name in names {
            let keys = "keys.identity.owner = \"X-Who\"\n";
            let change = if verb == "set" {
                format!("set = {{ \"{name}\" = \"v\" }}")
            } else {
                format!("remove = [\"{name}\"]")
            };
            assert_eq!(bad(&format!("{keys}[[route]]\n[route.{side}_headers]\n{change}\n")), [code], "{side} {change}");
        }
    }
    let before = "[[route]]\n[route.request_headers]\n";
    let values = ["\"\"", "\" a\"", "\"a\\n\"", "\"a\\u0000\"", "\"ä\"", "\"a\\tb\""];
    refused(&format!("{before}set.x-a = "), &values, "invalid-value");
    refused(before, &["set = { X-A = \"1\", x-a = \"2\" }"], "invalid-value");
    refused(before, &["set = { X-A = 1 }", "set = []", "remove = \"x\"", "remove = [1]"], "wrong-type");
    refused(before, &["add = {}"], "unknown-key");
    for header in ["authorization", "X-Api-Key", "cookie"] {
        let report = with(&format!("{before}set.{header} = \"hunter2\"\n")).expect_err("a credential");
        assert!(!format!("{report:?}{}{}", report.to_json(), report.render(false)).contains("hunter2"));
    }
}

#[test]
fn routes_beside_each_other() {
    let two = |a: &str, b: &str| format!("[[route]]\n{a}\n[[route]]\n{b}\n");
    good(&two("methods = [\"GET\"]\nname = \"a\"", "name = \"b\""));
    good(&two("methods = [\"GET\"]\nname = \"a\"", "methods = [\"PUT\"]\nname = \"b\""));
    good(&two("host = \"a.b\"", "host = \"*.b\""));
    refused(&two("name = \"a\"", "name = \"a\"\nhost = \"x\""), &[""], "duplicate-route");
    refused(&two("name = \"a\"", "name = \"b\"\npath = \"/*\""), &[""], "ambiguous-route");
    let hosts = two("name = \"a\"\nhost = \"A.b\"", "name = \"b\"\nhost = \"a.B\"");
    refused(&hosts, &[""], "ambiguous-route");
    let methods = two("methods = [\"GET\", \"PUT\"]\nname = \"a\"", "methods = [\"PUT\"]\nname = \"b\"");
    refused(&methods, &[""], "ambiguous-route");
}

#[test]
fn log() {
    let log = good("[log]\nlevel = \"trace\"\noutput = \"file:k.log\"\non_full = \"drop\"\n").log;
    assert_eq!(log.level, Level::Trace);
    assert_eq!(log.output, Output::File("conf/k.log".into()));
    assert_eq!(log.on_full, OnFull::Drop);
    refused("[log]\nlevel = ", &["\"INFO\"", "\"warning\""], "invalid-value");
    refused("[log]\noutput = ", &["\"\"", "\"file:\"", "\"/var/log\""], "invalid-value");
    refused("[log]\non_full = ", &["\"block\""], "invalid-value");
}
