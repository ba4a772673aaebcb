//! The binary: reads the command line and hands over.

use std::process::ExitCode;

use keyward::cli::{Cli, Command};
use keyward::commands::console::on_stdio;
use keyward::commands::{check, demo, explain, health, init, key, run, usage, version};
use keyward::vocab::clock::Clock;

// Faster than the system's, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    let files = &cli.files;
    let code = match &cli.command {
        // These two write from several threads: they must not hold the standard streams.
        Command::Run(args) => run::run(args, files),
        Command::Demo(_) => demo::run(),
        Command::Check(args) => on_stdio(|console| {
            let checked = check::check(files, args, console.colour, &mut console.out);
            console.answered(checked)
        }),
        Command::Explain(args) => on_stdio(|console| explain::run(args, files, console, &Clock::system())),
        Command::Health(args) => on_stdio(|console| health::run(args, files, console)),
        Command::Init(args) => on_stdio(|console| {
            let written = init::init(&args.dir, &mut console.out);
            console.answered(written)
        }),
        Command::Key(command) => on_stdio(|console| key::run(command, files, console, &Clock::system())),
        Command::Usage(args) => on_stdio(|console| usage::run(args, files, console, &Clock::system())),
        Command::Version(args) => on_stdio(|console| version::run(args, console)),
    };
    ExitCode::from(code)
}
