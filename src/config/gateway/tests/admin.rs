use super::*;

#[test]
fn probes_are_answered_only_where_the_file_says() {
    let address = |text: &str| good(text).admin.address.map(|address| address.to_string());
    assert_eq!(address(""), None);
    assert_eq!(address("[admin]\n"), None);
    assert_eq!(address("[admin]\naddress = \"off\"\n"), None);
    assert_eq!(address("[admin]\naddress = \"127.0.0.1:9901\"\n").as_deref(), Some("127.0.0.1:9901"));
    assert_eq!(address("[admin]\naddress = \"[::1]:0\"\n").as_deref(), Some("[::1]:0"));
    assert_eq!(address("[admin]\naddress = \"unix:admin.sock\"\n").as_deref(), Some("unix:conf/admin.sock"));

    for value in ["\"\"", "\"on\"", "\":9901\"", "\"localhost:9901\"", "\"unix:\"", "\"9901\""] {
        assert_eq!(bad(&format!("[admin]\naddress = {value}\n")), ["invalid-value"], "{value}");
    }
    for text in ["admin = \"off\"", "[admin]\naddress = false", "[admin]\naddress = [\"off\"]"] {
        assert_eq!(bad(&format!("{text}\n")), ["wrong-type"], "{text}");
    }
    assert_eq!(bad("[admin]\nadress = \"off\"\n"), ["unknown-key"]);
}

#[test]
fn an_address_that_is_a_listeners_is_refused() {
    let both = |listener: &str, admin: &str| {
        format!("[[listener]]\naddress = \"{listener}\"\n[admin]\naddress = \"{admin}\"\n")
    };
    assert_eq!(bad(&both("127.0.0.1:80", "127.0.0.1:80")), ["duplicate-listener"]);
    assert_eq!(bad(&both("unix:/a", "unix:/a")), ["duplicate-listener"]);
    assert_eq!(bad("[admin]\naddress = \"127.0.0.1:8080\"\n"), ["duplicate-listener"], "the default listener's");
    good(&both("127.0.0.1:0", "127.0.0.1:0"));
    good(&both("127.0.0.1:80", "127.0.0.1:81"));
}

#[test]
fn an_address_that_others_can_reach_is_warned_of() {
    for address in ["0.0.0.0:9901", "[::]:9901", "10.0.0.1:9901"] {
        let (_, report) = with(&format!("[admin]\naddress = \"{address}\"\n")).expect("it can serve");
        let [warning] = report.diagnostics() else { panic!("{address}: {report:?}") };
        assert_eq!((warning.code, warning.severity), ("exposed-admin", Severity::Warning), "{address}");
        assert_eq!(
            warning.location(),
            format!("conf/keyward.toml:3:11: `{address}` can be reached from other machines")
        );
    }
    for address in ["127.0.0.1:9901", "[::ffff:127.0.0.1]:1", "unix:/a"] {
        let (_, report) = with(&format!("[admin]\naddress = \"{address}\"\n")).expect("it can serve");
        assert!(report.is_empty(), "{address}: {report:?}");
    }
}

#[test]
fn metrics() {
    let metrics = |text: &str| {
        let metrics = good(text).metrics;
        (metrics.per_key, metrics.series_max)
    };
    assert_eq!(metrics(""), (false, 2_000));
    assert_eq!(metrics("[metrics]\n"), (false, 2_000));
    assert_eq!(metrics("[metrics]\nper_key = true\nseries_max = 1\n"), (true, 1));
    for value in ["0", "-1", "1000001"] {
        assert_eq!(bad(&format!("[metrics]\nseries_max = {value}\n")), ["invalid-value"], "{value}");
    }
    for text in ["series_max = \"2000\"", "series_max = true", "per_key = \"yes\"", "per_key = 1"] {
        assert_eq!(bad(&format!("[metrics]\n{text}\n")), ["wrong-type"], "{text}");
    }
    assert_eq!(bad("[metrics]\naddress = \"127.0.0.1:1\"\n"), ["unknown-key"]);

    let (_, report) = with("[metrics]\nper_key = true\n").expect("it can serve");
    assert_eq!(report.diagnostics()[0].code, "unused-metrics");
    let (_, report) = with("[metrics]\nper_key = true\n[admin]\naddress = \"unix:a\"\n").expect("it can serve");
    assert!(report.is_empty(), "{report:?}");
}
