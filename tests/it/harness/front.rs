//! Proxies in front of the gateway that none of us wrote.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::free_port;
use super::tools::{Server, served_by, tool};

/// HAProxy passing TCP on to `target`, whose `server` line ends with `option` (`send-proxy`, `send-proxy-v2`).
pub(crate) fn haproxy(folder: &Path, target: SocketAddr, option: &str) -> Server {
    let addr = free_port();
    let config = format!(
        "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         listen front\n  bind {addr}\n  server gateway {target} {option}\n"
    );
    let file = folder.join(format!("haproxy-{option}.cfg"));
    fs::write(&file, config).unwrap();
    let mut command = tool("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    served_by(command, addr)
}

/// nginx passing TCP on to `target` with a PROXY header.
pub(crate) fn nginx_stream(folder: &Path, target: SocketAddr) -> Server {
    let addr = free_port();
    let scratch = folder.join(".nginx-stream");
    fs::create_dir_all(&scratch).unwrap();
    let here = scratch.display();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\n\
         pid {here}/nginx.pid;\nerror_log stderr warn;\nevents {{ worker_connections 64; }}\n\
         stream {{ server {{ listen {addr}; proxy_pass {target}; proxy_protocol on; }} }}\n"
    );
    let file = scratch.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = tool("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(&scratch).args(["-e", "stderr"]);
    served_by(command, addr)
}
