//! `keyward usage` over a state file that is made here, under a clock that stands still.

use std::io;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::state::pending::Pending;
use crate::state::{Delta, Store, Used};
use crate::vocab::denial::Denial;

/// 2026-11-28T12:30:00Z
const NOW: u64 = 1_795_869_000;
const HOUR: i64 = 3_600 * 1_000_000;

/// A folder with a configuration that names a state file.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let text = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n{config}");
        std::fs::write(folder.path().join("keyward.toml"), text).expect("a configuration");
        Self(folder)
    }

    /// With two keys that were used: each row is an id, how many hours ago, and what happened then.
    fn used() -> Self {
        let desk = Self::new("[server]\nstate = \"state.db\"\n");
        let mut pending = Pending::new(100);
        let mut add = |id: &str, hours_ago: i64, client: &str, (allowed, bytes): (u64, u64), denials: &[Denial]| {
            let at = i64::try_from(NOW).expect("after 1970") * 1_000_000 - hours_ago * HOUR;
            let used = Some(Used { first_us: at, last_us: at, client: client.parse().ok() });
            let counts =
                Counts { allowed, units: allowed, bytes_in: bytes, bytes_out: bytes * 2_000, ..Counts::default() };
            let mut delta = Delta { counts, used, ..Delta::default() };
            for denial in denials {
                delta.counts.refused += u64::from(!denial.is_throttle());
                delta.counts.throttled += u64::from(denial.is_throttle());
                delta.add_reason(*denial, 1);
            }
            pending.add(id, hour_of(at), &delta).expect("room");
        };
        add("billing", 1_000, "192.0.2.1", (50, 1), &[]);
        add("billing", 49, "192.0.2.1", (8, 100), &[Denial::Expired]);
        add("billing", 1, "192.0.2.7", (2, 500), &[Denial::Expired, Denial::RateLimited, Denial::NetworkDenied]);
        add("reports", 100, "unix:", (1, 0), &[]);
        Store::open(&desk.0.path().join("state.db")).and_then(|mut store| store.write(&pending)).expect("a commit");
        desk
    }

    fn run(&self, line: &str) -> (u8, String, String) {
        let words = ["keyward", "usage"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        let Ok(Cli { command: Command::Usage(args), .. }) = Cli::try_parse_from(words) else {
            panic!("{line}: bad usage")
        };
        let files = Files { config: Some(self.0.path().join("keyward.toml")), keys: None };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut err,
            colour: false,
            colour_err: false,
            attended: false,
        };
        let clock = Clock::manual(std::time::Duration::from_secs(NOW));
        let outcome = run_in(&args, &files, &mut console, &clock, &[]);
        let code = console.finish(outcome);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err))
    }

    fn good(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
        out
    }
}

#[test]
fn all_keys_that_were_used_have_a_row_and_a_bar_for_each_day() {
    insta::assert_snapshot!(Desk::used().good(""), @r"
    ID       ALLOWED  REFUSED  THROTTLED    IN     OUT  LAST USE              LAST CLIENT  DAYS FROM 2026-11-21
    billing       10        3          1  600B  1.1MiB  2026-11-28T11:30:00Z  192.0.2.7    ·····█·▄
    reports        1        0          0    0B      0B  2026-11-24T08:30:00Z  unix:        ···█····
    ");
}

#[test]
fn one_key_has_its_days_and_why_it_was_refused() {
    insta::assert_snapshot!(Desk::used().good("billing --since 3d"), @r"
    id             billing
    first use      2026-10-17T20:30:00Z
    last use       2026-11-28T11:30:00Z
    last client    192.0.2.7
    since          2026-11-25T12:00:00Z
    allowed        10
    refused        3
    throttled      1
    units          10
    bytes in       600B
    bytes out      1.1MiB

    DAY         ALLOWED  REFUSED  THROTTLED    IN     OUT  REQUESTS
    2026-11-25        0        0          0    0B      0B  ·
    2026-11-26        8        1          0  100B  195KiB  ████████████████████
    2026-11-27        0        0          0    0B      0B  ·
    2026-11-28        2        2          1  500B  976KiB  ███████████

    REASON          REFUSED
    expired               2  ████████████████████
    network_denied        1  ██████████
    rate_limited          1  ██████████
    ");
}

#[test]
fn json_has_the_same() {
    let desk = Desk::used();
    let all: serde_json::Value = serde_json::from_str(&desk.good("--json --since 90d")).expect("JSON");
    assert_eq!(all["since"], "2026-08-30T12:00:00Z");
    assert_eq!((&all["keys"][0]["id"], &all["keys"][1]["id"]), (&"billing".into(), &"reports".into()));
    assert_eq!(all["keys"][0]["allowed"], 60);
    insta::assert_snapshot!(desk.good("billing --json --since 2026-11-28"), @r#"
    {
      "since": "2026-11-28T00:00:00Z",
      "id": "billing",
      "allowed": 2,
      "refused": 2,
      "throttled": 1,
      "shadow_denied": 0,
      "units": 2,
      "bytes_in": 500,
      "bytes_out": 1000000,
      "first_use": "2026-10-17T20:30:00Z",
      "last_use": "2026-11-28T11:30:00Z",
      "last_client": "192.0.2.7",
      "reasons": {
        "expired": 1,
        "network_denied": 1,
        "rate_limited": 1
      },
      "days": [
        {
          "day": "2026-11-28",
          "allowed": 2,
          "refused": 2,
          "throttled": 1,
          "shadow_denied": 0,
          "units": 2,
          "bytes_in": 500,
          "bytes_out": 1000000
        }
      ]
    }
    "#);
}

#[test]
fn who_was_not_used_has_nothing_to_show() {
    let desk = Desk::used();
    let note = (0, String::new(), "note: no key with the id `nobody` was ever used\n".to_owned());
    assert_eq!(desk.run("nobody"), note);
    let (code, out, err) = desk.run("--since 0");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "note: no key was used since 2026-11-28T12:00:00Z\n"));
    let none: serde_json::Value = serde_json::from_str(&desk.good("nobody --json")).expect("JSON");
    assert_eq!((&none["allowed"], &none["last_use"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn where_nothing_can_be_read_it_says_why() {
    let (code, _, err) = Desk::new("").run("");
    assert_eq!(
        (code, err.as_str()),
        (1, "error: nothing is counted: the configuration names no `state` under [server]\n")
    );
    let desk = Desk::new("[server]\nstate = \"state.db\"\n");
    let (code, _, err) = desk.run("");
    assert!(code == 1 && err.starts_with("error: nothing was counted yet: there is no state file "), "{err}");
    std::fs::write(desk.0.path().join("state.db"), "not a database").expect("a file");
    let (code, _, err) = desk.run("--json");
    assert!(code == 1 && err.contains("state.db: the file is damaged or not a database"), "{err}");
    let (code, _, err) = Desk::used().run("--since 2027-01-01");
    assert_eq!((code, err.as_str()), (2, "error: --since lies in the future\n"));
}
