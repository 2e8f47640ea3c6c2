//! `crmirror export MODULE`: all records of a module, for other programs, as JSON Lines or CSV.
//!
//! The records go through one at a time, so that memory stays small however many there are. CSV
//! has to know its columns before the first row: the records are read twice, and a field that came
//! up in between is an error, not a column that is missing.

mod csv;
pub(in crate::cli) mod output;

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::record::Record;

use self::csv::Columns;
use self::output::{Output, SHARED};
use super::args::{Export, Format};
use super::print;
use super::progress::Progress;
use super::source::Source;

/// Why an export ends early.
enum Stop {
    /// Whoever reads it has gone away (`| head`): that is no failure.
    Unread,
    Failed(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::Unread;
        }
        Stop::Failed(Failure::failed(format!("the export cannot be written: {error}")))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Exports a module.
pub(super) fn run(config: &Config, options: &Export, json: bool) -> Result<(), Failure> {
    let source = Source::of_module(config, &options.module)?;
    let mut out = Output::open(options.output.as_deref(), options.force, SHARED)?;
    let written = match write(&source, options, &mut out) {
        Ok(written) => written,
        Err(Stop::Unread) => return Ok(()),
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    match out.finish() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::failed(format!("the export cannot be written: {error}")));
        }
        Ok(()) | Err(_) => {}
    }
    match &options.output {
        Some(file) if json => print(&format!("{}\n", json!({ "records": written, "file": file }))),
        Some(_) | None => {
            if std::io::stderr().is_terminal() {
                // A person is told; nobody fails for it.
                let _ = writeln!(io::stderr(), "{written} records of {}", options.module);
            }
            Ok(())
        }
    }
}

/// Writes all records; how many there were.
fn write(source: &Source, options: &Export, out: &mut Output) -> Result<u64, Stop> {
    match options.format {
        Format::JsonLines => each(source, options, "exporting", |record| {
            let text = match &options.fields {
                Some(fields) => {
                    record.select(fields).map_err(|error| Failure::failed(error.to_string()))?
                }
                None => record.json().to_owned(),
            };
            Ok(writeln!(out, "{}", on_one_line(text))?)
        }),
        Format::Csv { excel_safe } => {
            let mut columns = Columns::new(options.fields.as_deref(), excel_safe);
            each(source, options, "looking for columns", |record| Ok(columns.learn(record)?))?;
            out.write_all(columns.header().as_bytes())?;
            each(source, options, "exporting", |record| {
                let row = columns.row(record).ok_or_else(|| {
                    Failure::failed("a record got a new field while it was exported; try again")
                })?;
                Ok(out.write_all(row.as_bytes())?)
            })
        }
    }
}

/// Has `take` see each record that is wanted; how many it saw.
fn each(
    source: &Source,
    options: &Export,
    what: &'static str,
    mut take: impl FnMut(&Record) -> Result<(), Stop>,
) -> Result<u64, Stop> {
    let among_records = options.output.is_none() && io::stdout().is_terminal();
    let mut bar = Progress::of(what, source.count(&options.module)?, among_records);
    let (mut seen, mut stop) = (0, None);
    source.each(&options.module, &mut |record| {
        bar.advance(1);
        if options.criteria.as_ref().is_none_or(|criteria| criteria.matches(&record)) {
            match take(&record) {
                Ok(()) => seen += 1,
                Err(why) => stop = Some(why),
            }
        }
        stop.is_none()
    })?;
    stop.map_or(Ok(seen), Err)
}

/// Upstream may write a record over several lines: within JSON, only blanks between tokens can be
/// line ends.
fn on_one_line(text: String) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
}
