//! The command line: what `keyward --help` shows. Doc comments here are the help texts.

pub mod when;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use http::Method;

use self::when::When;
use crate::config::gateway::{ListenAddress, check_method, check_path};
use crate::config::mask::typed;
use crate::vocab::network::{NetworkError, parse_network};
use crate::vocab::period::{Quota, parse_quota};
use crate::vocab::units::{Rate, parse_duration, parse_rate};

/// Exit code of wrong usage, as clap's.
pub const USAGE: u8 = 2;
/// The name of standard input.
pub const STDIN: &str = "-";

/// An API-key gateway: hashed keys, per-key limits, one JSON line per decision.
#[derive(Clone, Parser)]
#[command(name = "keyward", version, arg_required_else_help = true)]
pub struct Cli {
    /// Which files.
    #[command(flatten)]
    pub files: Files,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The two files, for every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// The configuration; without it ./keyward.toml, ./config/keyward.toml or /etc/keyward/keyward.toml
    #[arg(short, long, value_name = "FILE", global = true, env = "KEYWARD_CONFIG")]
    pub config: Option<PathBuf>,
    /// The keys; without it the file that the configuration names
    #[arg(long, value_name = "FILE", global = true, env = "KEYWARD_KEYS")]
    pub keys: Option<PathBuf>,
}

/// One command each.
#[derive(Clone, Subcommand)]
pub enum Command {
    /// Serve
    Run(RunArgs),
    /// Try everything at once: a gateway with an upstream, a certificate and a key of its own
    Demo(DemoArgs),
    /// Read everything that `run` would read, open nothing, and report every problem
    Check(CheckArgs),
    /// Say what would become of a request, and why: the route, each check in order, the limits, the answer
    Explain(Box<ExplainArgs>),
    /// Ask a running gateway whether it is ready; exits with 0 if it is
    Health(HealthArgs),
    /// Write a commented keyward.toml and an empty keys.toml
    Init(InitArgs),
    /// Make, show and change keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print how keys were used, from the state file
    Usage(UsageArgs),
    /// Print version, commit, compiler and features
    Version(VersionArgs),
}

/// `keyward run`
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Forward to this server, as http://HOST:PORT
    #[arg(long, value_name = "URL", env = "KEYWARD_UPSTREAM")]
    pub upstream: Option<String>,
    /// Listen here, as IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", env = "KEYWARD_LISTEN")]
    pub listen: Option<String>,
}

/// `keyward demo`
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArgs {}

/// `keyward check`
#[derive(Args, Clone, Debug, Default)]
pub struct CheckArgs {
    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward explain`
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// As GET
    #[arg(value_parser = method)]
    pub method: Method,
    /// As https://api.example.com/v1/orders, or only /v1/orders
    pub url: String,
    /// As if the key with this id had been sent
    #[arg(long, value_name = "ID")]
    pub key_id: Option<String>,
    /// With the key on stdin
    #[arg(long, conflicts_with = "key_id")]
    pub key_stdin: bool,
    /// From this client
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// Then, as 2027-01-01T12:00:00Z, 2027-01-01, or 90d from now
    #[arg(long, value_name = "TIME", value_parser = When::parse_instant)]
    pub at: Option<When>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward health`
#[derive(Args, Clone, Debug, Default)]
pub struct HealthArgs {
    /// Ask here, as IP:PORT or unix:PATH; without it where the configuration says
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub address: Option<ListenAddress>,
    /// Print all that it says, as JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward init`
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Where to
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `keyward usage`
#[derive(Args, Clone, Debug)]
pub struct UsageArgs {
    /// One key, with why it was refused; without it all that were used
    pub id: Option<String>,
    /// As 7d, 12h, 2027-01-01 or 2027-01-01T12:00:00Z; hours are kept for 90 days
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = When::parse_instant)]
    pub since: When,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward version`
#[derive(Args, Clone, Debug, Default)]
pub struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward key …`
#[derive(Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key, print it once on stdout, and store its hash
    New(Box<NewArgs>),
    /// Print all keys, never a hash
    List(ListArgs),
    /// Print one key, never its hash
    Show(ShowArgs),
    /// Refuse a key for good
    Revoke(ChangeArgs),
    /// Refuse a key until it is enabled again
    Disable(ChangeArgs),
    /// Take a disabled key again
    Enable(EnableArgs),
    /// Refuse a key for good, because somebody else has it
    Compromised(ChangeArgs),
    /// Give a key a new expiry, and take it again if it was disabled
    Renew(RenewArgs),
    /// Make a new secret for a key and print it once on stdout; the old one works until the grace ends
    Rotate(RotateArgs),
    /// Print the hash of the key on stdin, as it stands in the key file
    Hash(SecretArgs),
    /// Print which key the one on stdin is, and its state
    Identify(SecretArgs),
    /// Bring keys over from elsewhere; of each only its hash is stored
    Import(ImportArgs),
}

impl Cli {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// The exit code, once help or what is wrong was printed. clap repeats what it does not understand, and that may be
    /// a key: it is shown masked.
    pub fn read() -> Result<Self, u8> {
        Self::try_parse().map_err(|error| {
            let text = error.render().to_string();
            // With the stream gone the exit code says it.
            let _ = if error.use_stderr() {
                io::stderr().write_all(typed(&text).as_bytes())
            } else {
                io::stdout().write_all(text.as_bytes())
            };
            u8::try_from(error.exit_code()).unwrap_or(USAGE)
        })
    }
}

/// `keyward key new`
#[derive(Args, Clone, Default)]
pub struct NewArgs {
    /// The stable name in logs, metrics and headers
    #[arg(value_parser = key_id)]
    pub id: String,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// Anything
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// A [plan.NAME] of the configuration
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// As 100/s, 600/5m or "5000/h burst 200"; may be repeated
    #[arg(long = "limit", value_name = "RATE", value_parser = parse_rate)]
    pub limits: Vec<Rate>,
    /// As 1000000/month
    #[arg(long, value_name = "QUOTA", value_parser = parse_quota)]
    pub quota: Option<Quota>,
    /// Requests at the same time
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub concurrency: Option<u32>,
    /// As 90d, 2027-01-01, 2027-01-01T12:00:00Z or never; without it keys.expires_default
    #[arg(long, value_name = "WHEN", value_parser = When::parse_expiry)]
    pub expires: Option<When>,
    /// As 7d, 2027-01-01 or 2027-01-01T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = When::parse_instant)]
    pub not_before: Option<When>,
    /// Where clients must be, as 10.0.0.0/8; may be repeated
    #[arg(long = "network", value_name = "CIDR", value_parser = network)]
    pub networks: Vec<String>,
    /// A route by its name; may be repeated
    #[arg(long = "route", value_name = "NAME")]
    pub routes: Vec<String>,
    /// A method; may be repeated
    #[arg(long = "method", value_name = "METHOD", value_parser = check_method)]
    pub methods: Vec<Method>,
    /// A path, exact or ending in /*; may be repeated
    #[arg(long = "path", value_name = "PATH", value_parser = check_path)]
    pub paths: Vec<String>,
    /// A free pair; may be repeated
    #[arg(long = "meta", value_name = "K=V", value_parser = pair)]
    pub meta: Vec<(String, String)>,
}

/// `keyward key list`
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward key show`
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Which key
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keyward key revoke`, `disable`, `compromised`
#[derive(Args, Clone, Debug)]
pub struct ChangeArgs {
    /// Which key
    pub id: String,
    /// Why, for the key file
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `keyward key enable`
#[derive(Args, Clone, Debug)]
pub struct EnableArgs {
    /// Which key
    pub id: String,
}

/// `keyward key renew`
#[derive(Args, Clone, Debug)]
pub struct RenewArgs {
    /// Which key
    pub id: String,
    /// As 90d, 2027-01-01, 2027-01-01T12:00:00Z or never; without it keys.expires_default
    #[arg(long, value_name = "WHEN", value_parser = When::parse_expiry)]
    pub expires: Option<When>,
}

/// `keyward key rotate`
#[derive(Args, Clone, Debug)]
pub struct RotateArgs {
    /// Which key
    pub id: String,
    /// How long the old secret still works, as 24h; 0 = not at all
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub grace: Duration,
}

/// `keyward key hash`, `identify`
#[derive(Args, Clone, Default)]
pub struct SecretArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// A secret in the wrong place. It is taken here to be refused without being repeated, as clap would.
    #[arg(hide = true)]
    pub misplaced: Vec<OsString>,
}

/// `keyward key import`
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// What FILE is
    #[arg(value_enum)]
    pub format: ImportFormat,
    /// The file with the keys; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Change nothing, and print what would be imported
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What keys are imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// A header line with the columns id and key, and perhaps owner and expires
    Csv,
    /// Lines of NAME:KEY
    Htpasswd,
    /// Kong: decK's declarative file, YAML or JSON
    Kong,
    /// APISIX: apisix.yaml of its standalone mode
    Apisix,
    /// Envoy: a configuration with api_key_auth filters, YAML or JSON, or their credentials alone
    Envoy,
    /// nginx: maps of keys to names, or their lines alone
    NginxMap,
    /// fastapi_simple_security: its SQLite file, or lines of NAME;KEY;DATE
    FastapiSimpleSecurity,
}

impl ImportFormat {
    /// As typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Htpasswd => "htpasswd",
            Self::Kong => "kong",
            Self::Apisix => "apisix",
            Self::Envoy => "envoy",
            Self::NginxMap => "nginx-map",
            Self::FastapiSimpleSecurity => "fastapi-simple-security",
        }
    }
}

/// `[a-z0-9][a-z0-9._-]{0,62}`
fn key_id(text: &str) -> Result<String, &'static str> {
    let mut letters = text.bytes();
    let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = text.len() <= 63 && letters.next().is_some_and(word) && letters.all(|c| word(c) || b"._-".contains(&c));
    if good {
        Ok(text.to_owned())
    } else {
        Err("an id is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit")
    }
}

fn listen_address(text: &str) -> Result<ListenAddress, &'static str> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(ListenAddress::Unix(path.into())),
        _ => text.parse().map(ListenAddress::Ip).map_err(|_| "an address is as 127.0.0.1:9901 or unix:/run/admin.sock"),
    }
}

fn method(text: &str) -> Result<Method, &'static str> {
    Method::from_bytes(text.as_bytes()).map_err(|_| "a method is as GET or POST")
}

/// A network, as it was typed.
fn network(text: &str) -> Result<String, NetworkError> {
    parse_network(text).map(|_| text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a pair is NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, i32> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.exit_code())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_files_may_stand_anywhere() {
        for line in [
            "keyward -c a.toml --keys k.toml key list",
            "keyward key -c a.toml --keys k.toml list",
            "keyward key list --config a.toml --keys=k.toml",
            "keyward -c a.toml run --keys k.toml",
            "keyward check --keys k.toml -c a.toml --json",
        ] {
            let files = parse(line).ok().map(|cli| cli.files).unwrap_or_default();
            assert_eq!(files.config, Some("a.toml".into()), "{line}");
            assert_eq!(files.keys, Some("k.toml".into()), "{line}");
        }
    }

    #[test]
    fn run_takes_a_sidecar_from_flags() {
        let Ok(Command::Run(run)) =
            parse("keyward run --upstream http://x --listen 127.0.0.1:1").map(|cli| cli.command)
        else {
            panic!("it is good usage")
        };
        assert_eq!(run.upstream.as_deref(), Some("http://x"));
        assert_eq!(run.listen.as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn every_format_is_typed_as_it_is_named() {
        for format in ImportFormat::value_variants() {
            let name = format.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(name.as_deref(), Some(format.as_str()));
        }
    }

    #[test]
    fn wrong_usage_is_2_and_help_is_0() {
        for line in [
            "keyward",
            "keyward key",
            "keyward frobnicate",
            "keyward key new",
            "keyward key new a b",
            "keyward key revoke",
            "keyward key list x",
            "keyward key list --upstream http://x",
            "keyward run --json",
            "keyward key import",
            "keyward key import csv",
            "keyward key import xls keys.xls",
            "keyward usage a b",
            "keyward usage --since never",
        ] {
            assert_eq!(parse(line).err(), Some(2), "{line}");
        }
        for line in ["keyward --help", "keyward key new --help", "keyward --version"] {
            assert_eq!(parse(line).err(), Some(0), "{line}");
        }
    }
}
