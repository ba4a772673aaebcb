//! `[log]`

use super::{Level, Log, OnFull, Output};
use crate::config::problems::Wrong;
use crate::config::reader::{Neutral, Table};
use crate::config::source::SourceFile;

pub(super) fn log(file: &mut Table<'_>) -> Log {
    let mut log = Log { level: Level::Info, output: Output::Stdout, on_full: OnFull::Wait };
    if let Some(mut table) = file.table("log") {
        let source = table.problems().source();
        let levels = [
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ];
        log.level = table.one_of("level", &levels, log.level);
        log.output = table.parsed("output", |text| output(text, source)).unwrap_or(log.output);
        let ways = [("wait", OnFull::Wait), ("drop", OnFull::Drop)];
        log.on_full = table.one_of("on_full", &ways, log.on_full);
        table.later("rotate", &[Neutral::EmptyTable]);
        table.later("skip", &[Neutral::EmptyArray]);
        table.finish();
    }
    log
}

fn output(text: &str, source: &SourceFile) -> Result<Output, Wrong> {
    match (text, text.strip_prefix("file:")) {
        ("stdout", _) => Ok(Output::Stdout),
        ("stderr", _) => Ok(Output::Stderr),
        (_, Some(path)) if !path.is_empty() && !path.contains(char::is_control) => {
            Ok(Output::File(source.resolve(path)))
        }
        _ => Err(Wrong::value("expected \"stdout\", \"stderr\" or \"file:PATH\"")),
    }
}
