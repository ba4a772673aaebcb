//! The rules of the house that a compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;

/// The floors of the house, from the ground up: `lib.rs` from top to bottom. A module uses only modules before it.
const FLOORS: &[&[&str]] = &[&[
    "vocab",
    "config",
    "request",
    "limits",
    "route",
    "credential",
    "redact",
    "keys",
    "access",
    "admit",
    "timer",
    "task",
    "upstream",
    "snapshot",
    "record",
    "state",
    "webhook",
    "observe",
    "gate",
    "edge",
    "reload",
    "admin",
    "app",
    "cli",
    "commands",
]];

/// Types that hold a secret or what could confirm a guess at one.
const SECRETS: &[&str] = &[
    "Secret",
    "SecretKey",
    "Digest",
    "KeyDigest",
    "Pepper",
    "StoredHash",
    "PresentedKey",
    "Presented",
    "KeyHash",
    "Credential",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(under).unwrap_or_else(|e| panic!("{}: {e}", under.display())).flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("fuzz/target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Every Rust file of the project with its path from the root and its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let files = folders.iter().flat_map(|f| rust_files(&root.join(f)));
    files
        .map(|f| {
            let name = f.strip_prefix(&root).unwrap().display().to_string();
            (name, fs::read_to_string(&f).unwrap())
        })
        .collect()
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources(&["src", "tests", "benches"])
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    none(&format!("files of more than {LINES_MAX} lines"), &long);
}

/// Functions by rustfmt's shape: from a line with `fn ` to the closing brace at the same indent.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let starts =
            code.starts_with("fn ") || (code.contains(" fn ") && code.split(" fn ").next().is_some_and(is_qualifiers));
        if !starts || code.starts_with("//") {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - code.len()));
        if let Some(length) = lines[at..].iter().position(|l| *l == end)
            && length + 1 > FUNCTION_LINES_MAX
        {
            found.push(format!("{name}:{}: {} lines", at + 1, length + 1));
        }
    }
    found
}

fn is_qualifiers(text: &str) -> bool {
    text.split_whitespace().all(|w| w.starts_with("pub") || ["async", "const", "crate)", "super)"].contains(&w))
}

#[test]
fn functions_fit_a_screen() {
    let long: Vec<String> =
        sources(&["src", "tests", "benches"]).iter().flat_map(|(n, t)| long_functions(n, t)).collect();
    none(&format!("functions of more than {FUNCTION_LINES_MAX} lines"), &long);
}

fn floor_of(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, names)| Some((floor, names.iter().position(|n| *n == module)?)))
}

/// The modules of this crate that a file names, with the lines where it does.
fn names(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for rest in line.split("crate::").skip(1) {
            if let Some(list) = rest.strip_prefix('{') {
                let inner = list.split('}').next().unwrap_or_default();
                found.extend(inner.split(',').map(|p| (at + 1, first_word(p.trim()))));
            } else {
                found.push((at + 1, first_word(rest)));
            }
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn modules_only_use_lower_floors() {
    let mut wrong = Vec::new();
    for (name, text) in sources(&["src"]) {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(own) = floor_of(module) else {
            wrong.push(format!("{name}: {module} stands on no floor"));
            continue;
        };
        for (line, used) in names(&text) {
            if let Some(other) = floor_of(&used)
                && used != module
                && other > own
            {
                wrong.push(format!("{name}:{line}: {module} uses {used}, which is above it"));
            }
        }
    }
    none("uses that go up", &wrong);
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    // Put together here, so that this file does not find itself.
    let marks = [format!("#[{}(", "allow"), format!("#![{}(", "allow")];
    let mut found = Vec::new();
    for (name, text) in sources(&["src", "tests", "benches"]) {
        for (at, line) in text.lines().enumerate() {
            if marks.iter().any(|m| line.contains(m.as_str())) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("allowed lints", &found);
}

#[test]
fn what_holds_a_secret_has_no_debug() {
    let mut found = Vec::new();
    for (name, text) in sources(&["src"]) {
        let mut derives = String::new();
        for (at, line) in text.lines().enumerate() {
            let code = line.trim();
            if code.starts_with("#[") {
                derives.push_str(code);
                continue;
            }
            let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let declared = words.windows(2).find(|w| w[0] == "struct" || w[0] == "enum").map(|w| w[1]);
            if declared.is_some_and(|d| SECRETS.contains(&d)) && derives.contains("Debug") {
                found.push(format!("{name}:{}: {code}", at + 1));
            }
            if !code.starts_with("//") {
                derives.clear();
            }
        }
    }
    none("secrets with Debug", &found);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for (name, text) in sources(&["src", "tests", "benches"]) {
        for (at, line) in text.lines().enumerate() {
            if ["TO", "FIX", "X"].iter().zip(["DO", "ME", "XX"]).any(|(a, b)| line.contains(&format!("{a}{b}"))) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("left for later", &found);
}

#[test]
fn every_file_says_what_it_is() {
    let mut silent = Vec::new();
    for (name, text) in sources(&["src", "tests"]) {
        // A sibling file of tests says by its name what it is.
        let is_tests_of_a_module = name.starts_with("src/") && name.contains("tests");
        if !is_tests_of_a_module && !text.starts_with("//!") {
            silent.push(name);
        }
    }
    none("files without a first line that says what they are", &silent);
}

#[test]
fn the_readme_has_the_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for command in ["cargo run --release -- demo", "tests/run"] {
        assert!(readme.contains(command), "{command}");
    }
    for file in ["LICENSE", "CHANGELOG.md", ".ci/run", "tests/run", "config/keyward.toml", "config/keys.toml"] {
        assert!(root().join(file).is_file(), "{file}");
    }
}
