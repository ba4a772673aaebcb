//! Whom a connection comes from, as a proxy in front says it by the PROXY protocol.

use crate::harness::{Conn, Gateway, Key, Server, Setup, Upstream, curl, eventually, haproxy, nginx_stream};

const REQUIRED: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";

fn gateway(more: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = Setup::with(&upstream, &format!("{REQUIRED}{more}"), &key.entry("a", ""));
    let gateway = setup.certificate("t", "localhost").start();
    (upstream, key, gateway)
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", [command, family].as_slice(), &length, addresses].concat()
}

/// The request behind a front proxy, from 127.0.0.2, is told to come from there.
#[track_caller]
fn tells_the_client(front: &Server, secure: bool, gateway: &Gateway, upstream: &Upstream, key: &Key, path: &str) {
    let (auth, ca) = (format!("x-api-key: {}", key.text), gateway.dir.path().join("t.pem").display().to_string());
    let (scheme, port) = (if secure { "https" } else { "http" }, front.addr.port());
    let (url, resolve) = (format!("{scheme}://localhost:{port}{path}"), format!("localhost:{port}:127.0.0.1"));
    let ran = curl(&[
        "--interface",
        "127.0.0.2",
        "--resolve",
        &resolve,
        "--cacert",
        &ca,
        "-H",
        &auth,
        "-w",
        " %{local_port}",
        &url,
    ])
    .ok();
    let port: u64 = ran.stdout.strip_prefix("ok ").expect("the answer").trim().parse().expect("a port");
    assert_eq!(upstream.request(path).get("x-forwarded-for"), Some("127.0.0.2"));
    let line = gateway.wait_decision("its line", |l| l["url.path"] == path);
    assert_eq!((&line["client.address"], &line["client.port"]), (&"127.0.0.2".into(), &port.into()), "{line:#}");
    assert_eq!(line["network.peer.address"], "127.0.0.1");
}

#[test]
fn haproxy_and_nginx_tell_whom_they_pass_on() {
    let (upstream, key, gateway) = gateway("");
    let (plain, secure) = (gateway.listener(0), gateway.listener(1));
    let dir = gateway.dir.path();
    tells_the_client(&haproxy(dir, plain, "send-proxy"), false, &gateway, &upstream, &key, "/haproxy-v1");
    tells_the_client(&haproxy(dir, plain, "send-proxy-v2"), false, &gateway, &upstream, &key, "/haproxy-v2");
    tells_the_client(&haproxy(dir, secure, "send-proxy-v2"), true, &gateway, &upstream, &key, "/haproxy-tls");
    tells_the_client(&nginx_stream(dir, plain), false, &gateway, &upstream, &key, "/nginx");
    tells_the_client(&nginx_stream(dir, secure), true, &gateway, &upstream, &key, "/nginx-tls");
}

#[test]
fn a_header_is_read_in_one_piece_or_in_many() {
    let (upstream, key, gateway) = gateway("");
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0xc8, 1, 0, 80]].concat();
    let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xc8, 1, 0, 80];
    let with_tlvs = [&four[..], &[0x20, 0, 5, 1, 0, 0, 0, 0], &[4, 0, 0]].concat();
    for (at, (header, source, port)) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 51201 80\r\n".to_vec(), "192.0.2.1", Some(51_201)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 51201 80\r\n".to_vec(), "2001:db8::1", Some(51_201)),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", None),
        (v2(0x21, 0x11, &with_tlvs), "192.0.2.1", Some(51_201)),
        (v2(0x21, 0x21, &six), "2001:db8::1", Some(51_201)),
        (v2(0x20, 0, &[]), "127.0.0.1", None),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/whole-{at}");
        let request = gateway.get(&path).bearer(&key);
        let mut conn = gateway.connect();
        conn.write(&[header.as_slice(), &request.bytes()].concat()).unwrap();
        assert_eq!(conn.read_reply("GET").unwrap().status, 200, "{path}");
        // On the same connection everybody comes from there.
        assert_eq!(conn.send(&gateway.get(&path).bearer(&key)).status, 200, "{path}");
        assert_eq!(upstream.request(&path).get("x-forwarded-for"), Some(source), "{path}");
        let line = gateway.wait_decision("its line", |l| l["url.path"] == path.as_str());
        assert_eq!(line["client.address"], source, "{line:#}");
        assert_eq!(line["client.port"], port.unwrap_or_else(|| conn.local_port()), "{line:#}");

        let path = format!("/cut-{at}");
        let request = gateway.get(&path).bearer(&key);
        let mut conn = gateway.connect();
        for byte in [header.as_slice(), &request.bytes()].concat() {
            conn.write(&[byte]).unwrap();
        }
        assert_eq!(conn.read_reply("GET").unwrap().status, 200, "{path}");
        assert_eq!(upstream.request(&path).get("x-forwarded-for"), Some(source), "{path}");
    }
    assert!(gateway.events("proxy_protocol_refused").is_empty());
}

#[test]
fn a_connection_without_its_header_is_closed_and_told_of() {
    let (upstream, key, gateway) = gateway("[http]\nheader_timeout = \"1s\"\n");
    let request = gateway.get("/none").bearer(&key).bytes();
    let bad = [
        request.clone(),
        [b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n".as_slice(), &request].concat(),
        [v2(0x21, 0x12, &[0; 12]).as_slice(), &request].concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY ".to_vec(),
        v2(0x21, 0x11, &[])[..14].to_vec(),
    ];
    for bytes in &bad {
        let mut conn = gateway.connect();
        conn.write(bytes).unwrap();
        let mut answer = Vec::new();
        drop(std::io::Read::read_to_end(&mut conn.stream(), &mut answer));
        assert!(answer.is_empty(), "{}: {}", bytes.escape_ascii(), answer.escape_ascii());
    }
    assert!(upstream.seen().is_empty() && gateway.decided() == 0);
    let told = gateway.wait_event("proxy_protocol_refused", |_| true);
    assert_eq!((&told["peer"], &told["level"]), (&"127.0.0.1".into(), &"warn".into()));
    assert!(told["reason"].as_str().unwrap().contains("no PROXY header"), "{told}");
}

#[test]
fn a_header_is_never_believed_where_none_is_required() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.2 51201 80\r\n".to_vec(), v2(0x20, 0, &[])] {
        let mut conn = gateway.connect();
        conn.write(&[header.as_slice(), &gateway.get("/").bearer(&key).bytes()].concat()).unwrap();
        assert_eq!(conn.read_reply("GET").unwrap().status, 400);
    }
    eventually("both lines", || (gateway.decided() == 2).then_some(()));
    for line in gateway.decisions() {
        assert_eq!((&line["client.address"], &line["reason"]), (&"127.0.0.1".into(), &"malformed_request".into()));
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn limits_by_address_count_whom_the_header_names() {
    let (_upstream, key, gateway) = gateway("[http]\nconnections_per_ip_max = 2\n[limits]\nper_ip = \"3/h\"\n");
    let from = |client: u8| {
        let mut conn = gateway.connect();
        let header = format!("PROXY TCP4 192.0.2.{client} 198.51.100.2 51201 80\r\n");
        conn.write(header.as_bytes()).unwrap();
        conn
    };
    let ask = |conn: &mut Conn| conn.try_send(&gateway.get("/").bearer(&key)).map(|reply| reply.status).ok();
    let mut held = [from(1), from(1), from(2)];
    assert_eq!(held.each_mut().map(ask), [Some(200), Some(200), Some(200)]);
    assert_eq!(ask(&mut from(1)), None, "a third connection of one client");
    assert_eq!(ask(&mut held[0]), Some(200));
    assert_eq!(ask(&mut held[1]), Some(429), "a fourth request of one client");
    assert_eq!(ask(&mut held[2]), Some(200));
}
