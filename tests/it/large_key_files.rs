//! A key file of many entries: what it needs, and what survives a change of it.

use std::fs;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually, filler_entries};

/// An entry is about 120 bytes of text. At work it takes some 600; a tree of the whole file took 3,000 more.
const TIMES_THE_TEXT_MAX: u64 = 14;

fn peak_kib(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_grows_with_the_keys_and_not_with_a_tree_of_their_file() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let small = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let filler = filler_entries(40_000);
    let gateway = Setup::with(&upstream, "", &(filler.clone() + &key.entry("a", ""))).start();
    let (least, text_kib) = (peak_kib(&small), filler.len() as u64 / 1024);
    let started = peak_kib(&gateway);
    assert!(started < least + text_kib * TIMES_THE_TEXT_MAX, "{least} KiB without, {started} with {text_kib} of text");

    // The highest of all is forgotten: proc(5), clear_refs.
    fs::write(format!("/proc/{}/clear_refs", gateway.id()), "5").unwrap();
    let before = peak_kib(&gateway);
    let changed = filler.replace("[[key]]\n", "[[key]]\nowner = \"others\"\n") + &key.entry("a", "state = \"revoked\"");
    fs::write(gateway.keys_path(), changed).unwrap();
    eventually("the change", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
    let line = gateway.wait_event("reload", |line| line["result"] == "applied");
    assert_eq!(line["keys.changed.count"], 40_000, "{line}");
    let peak = peak_kib(&gateway);
    // Old and new stand side by side. Counted from nothing: how much was free before depends on the moment.
    let most = least + 2 * text_kib * TIMES_THE_TEXT_MAX;
    assert!(peak < most, "from {before} KiB to {peak} with {text_kib} of text, at most {most}");
}

#[test]
fn what_is_spent_stays_spent_wherever_the_entry_moves_in_the_file() {
    let (upstream, key, other) = (Upstream::start(), Key::new(), Key::new());
    let limited = |more: &str| key.entry("spender", &format!("limits = [\"2/h\"]\n{more}"));
    let filler = filler_entries(3_000);
    let gateway = Setup::with(&upstream, "", &(limited("") + &filler)).start();
    let request = gateway.get("/").bearer(&key);
    let sent: Vec<u16> = (0..3).map(|_| request.clone().send().status).collect();
    assert_eq!(sent, [200, 200, 429]);
    let elsewhere = [
        filler.clone() + &limited(""),
        limited("owner = \"o\"") + &filler,
        filler_entries(1_000) + &limited("note = \"\"\"\n[[key]]\n\"\"\"") + &other.entry("other", ""),
        filler_entries(10),
        filler + &limited("") + &other.entry("other", ""),
    ];
    for text in elsewhere {
        let before = gateway.reloads().len();
        // As an editor does it: a file in the middle of being written may be looked at, and rejected, before it is whole.
        let beside = gateway.keys_path().with_extension("new");
        fs::write(&beside, &text).unwrap();
        fs::rename(&beside, gateway.keys_path()).unwrap();
        assert_eq!(gateway.reload_after(before)["result"], "applied");
        let status = request.clone().send().status;
        assert_eq!(status, if text.contains("spender") { 429 } else { 401 });
    }
}

/// The 19th field of proc(5), /proc/PID/task/TID/stat.
fn nice_of(gateway: &Gateway, thread: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap();
    let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    let name = format!("({thread})");
    let of_thread = stats.filter(|stat| stat.contains(&name));
    of_thread
        .map(|stat| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn whoever_reads_keys_leaves_the_cores_to_those_who_answer() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[server]\nworkers = 2\n", &key.entry("a", "")).start();
    let worker = nice_of(&gateway, "worker-0");
    assert_eq!((worker.len(), nice_of(&gateway, "worker-1")), (1, worker.clone()));
    let nicer = eventually("the thread that reloads", || Some(nice_of(&gateway, "reload")).filter(|it| *it != worker));
    assert_eq!(nicer.len(), 1);
    assert!(nicer[0] > worker[0], "{nicer:?} and {worker:?}");
}
