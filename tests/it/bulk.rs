//! A hundred megabytes each way in bounded memory.

use std::thread;

use sha2::{Digest as _, Sha256};

use crate::harness::{Gateway, Key, Setup, Upstream};

const SIZE: u64 = 100 * 1024 * 1024;
const GROWTH_MAX_KIB: u64 = 32 * 1024;

fn start() -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    // One small request first: what a process needs to do anything at all is no growth.
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    (upstream, key, gateway)
}

#[test]
fn a_large_download_streams() {
    let (_upstream, key, gateway) = start();
    let before = gateway.rss_kib();
    let mut conn = gateway.connect();
    conn.write(&gateway.get(&format!("/bytes/{SIZE}")).bearer(&key).bytes()).unwrap();
    let (mut got, mut peak, mut parts, mut hash) = (0, 0, 0_u32, Sha256::new());
    conn.read_into("GET", &mut |part| {
        got += part.len() as u64;
        hash.update(part);
        parts += 1;
        if parts % 64 == 0 {
            peak = peak.max(gateway.rss_kib());
        }
    })
    .unwrap();
    assert_eq!(got, SIZE);
    let mut expected = Sha256::new();
    let pattern: Vec<u8> = (0..1 << 16).map(|n: usize| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect();
    for _ in 0..SIZE / (1 << 16) {
        expected.update(&pattern);
    }
    assert_eq!(hash.finalize(), expected.finalize(), "the bytes are the upstream's");
    assert!(peak < before + GROWTH_MAX_KIB, "memory went from {before} to {peak} KiB");
}

#[test]
fn a_large_upload_streams() {
    let (upstream, key, gateway) = start();
    let before = gateway.rss_kib();
    let mut conn = gateway.connect();
    let request = gateway.request("PUT", "/up").bearer(&key).header("Content-Length", &SIZE.to_string());
    conn.write(&request.bytes()).unwrap();
    let (part, mut peak, mut hash) = (vec![b'k'; 1 << 16], 0, Sha256::new());
    for n in 0..SIZE / (1 << 16) {
        conn.write(&part).unwrap();
        hash.update(&part);
        if n % 64 == 0 {
            peak = peak.max(gateway.rss_kib());
        }
    }
    assert_eq!(conn.read_reply("PUT").unwrap().status, 200);
    let seen = upstream.request("/up");
    let sent: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((seen.body_len, seen.body_sha256), (SIZE, sent));
    assert!(peak < before + GROWTH_MAX_KIB, "memory went from {before} to {peak} KiB");
}

#[test]
fn slow_readers_of_large_answers_do_not_fill_the_memory() {
    let (_upstream, key, gateway) = start();
    let before = gateway.rss_kib();
    // Thirty clients ask for 256 MiB each and read nothing: what waits, waits in the kernel and the upstream.
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut conn = gateway.connect();
        conn.write(&gateway.get("/flood").bearer(&key).bytes()).unwrap();
        held.push(conn);
    }
    let addr = gateway.addr();
    let ordinary = gateway.get("/").bearer(&key);
    let busy = thread::spawn(move || (0..200).all(|_| crate::harness::Conn::open(addr).send(&ordinary).status == 200));
    assert!(busy.join().unwrap());
    let after = gateway.rss_kib();
    assert!(after < before + GROWTH_MAX_KIB, "memory went from {before} to {after} KiB");
}

#[test]
fn large_bodies_stream_over_tls_and_http_2() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("t", "localhost").start();
    let ca = gateway.dir.path().join("t.pem").display().to_string();
    let auth = format!("authorization: Bearer {}", key.text);
    let base = format!("https://localhost:{}", gateway.addr().port());
    let file = gateway.dir.path().join("body.bin");
    std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap();
    let (file, down, up) = (file.display().to_string(), format!("{base}/bytes/{SIZE}"), format!("{base}/up"));
    let print = "%{http_version} %{http_code} %{size_download} %{size_upload}";
    let shared = ["--http2", "--cacert", &ca, "-H", &auth, "-o", "/dev/null", "-w", print];
    assert!(crate::harness::curl_ok(&[&shared[..], &[&format!("{base}/")]].concat()).starts_with("2 200"));
    let before = gateway.rss_kib();
    for (args, expected) in
        [(vec![down.as_str()], format!("2 200 {SIZE} 0")), (vec!["-T", &file, &up], format!("2 200 2 {SIZE}"))]
    {
        let all = [&shared[..], &args].concat();
        let peak = thread::scope(|scope| {
            let client = scope.spawn(|| crate::harness::curl_ok(&all));
            let mut peak = 0;
            crate::harness::eventually("the transfer", || {
                peak = peak.max(gateway.rss_kib());
                client.is_finished().then_some(())
            });
            assert_eq!(client.join().unwrap(), expected);
            peak
        });
        assert!(peak < before + GROWTH_MAX_KIB, "{args:?}: memory went from {before} to {peak} KiB");
    }
    assert_eq!(upstream.request("/up").body_len, SIZE);
}
