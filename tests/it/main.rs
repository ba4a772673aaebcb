//! The whole gateway, from outside: its binary, its files, its sockets and its lines, and nothing else. What is asserted
//! here is the public face; a test that needs an inside belongs beside the code it tests.

mod harness;

mod bodies;
mod body_limits;
mod bulk;
mod canary;
mod check;
mod client_limits;
mod commands;
mod credentials;
mod demo;
mod drain;
mod edges;
mod endurance;
mod framing;
mod headers;
mod http2;
mod identity;
mod instruments;
mod key_commands;
mod key_files;
mod leaving;
mod limits;
mod lines;
mod listeners;
mod log;
mod order;
mod proxy;
mod proxy_protocol;
mod real_servers;
mod reload;
mod reload_files;
mod restart;
mod rewriting;
mod routes;
mod tidy;
mod tls;
mod trusted_proxies;
mod unsupported;
mod upstream_faults;
mod upstream_names;
mod upstream_protocols;
mod upstream_queue;
mod upstreams;
mod verdicts;
