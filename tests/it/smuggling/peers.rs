//! The same rows against nginx and HAProxy, each a plain reverse proxy that asks for the key, and the three scores.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::recorder::Recorder;
use super::{path, play, rows};
use crate::harness::{Conn, Key, Server, Setup, eventually, free_port, tool, wait_within};

const NGINX: &str = "daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; events {}\n\
    http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u;\n\
    scgi_temp_path s; upstream up { server @UP@; keepalive 4; }\n\
    server { listen @ADDR@; if ($http_x_api_key != \"@KEY@\") { return 401; }\n\
    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; } } }\n";

const HAPROXY: &str = "defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n\
    frontend in\n bind @ADDR@\n http-request deny deny_status 401 unless { req.hdr(x-api-key) -m str @KEY@ }\n\
    default_backend up\nbackend up\n server one @UP@\n";

fn start(name: &str, config: &str, args: &[&str], folder: &Path, recorder: &Recorder, key: &str) -> Server {
    let addr = free_port();
    let text = config.replace("@ADDR@", &addr.to_string()).replace("@KEY@", key);
    let file = folder.join(format!("{name}.conf"));
    fs::write(&file, text.replace("@UP@", &recorder.addr().to_string())).unwrap();
    let mut command = tool(name);
    command.args(args).arg(&file).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap_or_else(|e| panic!("{name} starts: {e}"));
    let server = Server::new(child, addr);
    eventually(&format!("{name} to listen"), || TcpStream::connect(addr).ok());
    server
}

/// How many rows were refused, or forwarded in one form with nothing smuggled behind; and which were not.
fn score(addr: SocketAddr, recorder: &Recorder, key: &str) -> (usize, Vec<&'static str>) {
    let (mut good, mut failed) = (0, Vec::new());
    let found = || (recorder.ambiguous().len(), recorder.requests("/hidden").len());
    for (number, row) in rows() {
        let before = found();
        play(&mut Conn::open(addr), number, row, key, Duration::from_millis(100));
        if found() == before && recorder.requests(&path(number)).len() <= 1 {
            good += 1;
        } else {
            failed.push(row.0);
        }
    }
    (good, failed)
}

fn version(name: &str, args: &[&str]) -> String {
    let mut command: Command = tool(name);
    command.args(args);
    let ran = wait_within(command, crate::harness::PATIENCE);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    all.lines().next().unwrap_or_default().to_owned()
}

#[test]
#[expect(clippy::print_stderr, reason = "the scores are what this is for")]
fn three_gateways_are_scored() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Key::new());
    let (ours, nginx, haproxy) = (Recorder::start(), Recorder::start(), Recorder::start());
    let gateway = Setup::before(&ours.url(), "", &key.entry("a", "")).start();
    let here = folder.path().display().to_string();
    let nginx_server = start("nginx", NGINX, &["-e", "stderr", "-p", &here, "-c"], folder.path(), &nginx, &key.text);
    let haproxy_server = start("haproxy", HAPROXY, &["-f"], folder.path(), &haproxy, &key.text);
    let of = rows().count();
    let (good, failed) = score(gateway.addr(), &ours, &key.text);
    eprintln!("keyward: {good} of {of}");
    for (name, args, server, recorder) in
        [("nginx", ["-v"], &nginx_server, &nginx), ("haproxy", ["-v"], &haproxy_server, &haproxy)]
    {
        let (good, failed) = score(server.addr, recorder, &key.text);
        eprintln!("{}: {good} of {of}; not {failed:#?}", version(name, &args));
        assert!(!recorder.requests(&path(0)).is_empty(), "{name} forwards what is good");
    }
    assert_eq!((good, failed), (of, Vec::new()));
}
