//! `keyward version`

use super::console::{Console, Failure};
use crate::cli::VersionArgs;
use crate::vocab::build::{COMMIT, RUSTC, VERSION};

/// What it can do. Keyward has no cargo features: every build has all of these.
pub const FEATURES: [&str; 5] = ["http1", "http2", "tls1.2", "tls1.3", "post-quantum"];

/// Prints it.
pub fn run(args: &VersionArgs, console: &mut Console<'_>) -> u8 {
    let outcome = print(args, console);
    console.finish(outcome)
}

fn print(args: &VersionArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    if args.json {
        return console.line(serde_json::json!({
            "version": VERSION,
            "commit": COMMIT,
            "rustc": RUSTC,
            "features": FEATURES,
        }));
    }
    console.line(format_args!("keyward {VERSION}"))?;
    console.line(format_args!("commit: {COMMIT}"))?;
    console.line(format_args!("rustc: {RUSTC}"))?;
    console.line(format_args!("features: {}", FEATURES.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool) -> String {
        let mut out = Vec::new();
        let mut console = Console {
            input: &mut std::io::empty(),
            out: &mut out,
            err: &mut std::io::sink(),
            colour: false,
            colour_err: false,
            attended: false,
        };
        assert_eq!(run(&VersionArgs { json }, &mut console), 0);
        String::from_utf8(out).expect("it prints text")
    }

    #[test]
    fn it_says_what_it_is_in_words_and_in_json() {
        let text = printed(false);
        assert!(text.starts_with(&format!("keyward {VERSION}\ncommit: ")), "{text}");
        assert!(text.contains("\nrustc: rustc 1."), "{text}");
        let json: serde_json::Value = serde_json::from_str(&printed(true)).expect("JSON");
        assert_eq!(json["version"], VERSION);
        assert_eq!(json["features"][1], "http2");
    }
}
