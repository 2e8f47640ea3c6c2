//! The arguments of `export` and `import`.

use std::path::PathBuf;

use crate::error::Failure;
use crate::mirror::criteria::Criteria;
use crate::mirror::record::{FieldName, ModuleName};

use super::{Command, Words, module_name, usage};

/// Which records to write, how, and where to.
#[derive(Debug)]
pub struct Export {
    /// The module.
    pub module: ModuleName,
    /// In which form.
    pub format: Format,
    /// Only those that match.
    pub criteria: Option<Criteria>,
    /// Only these fields.
    pub fields: Option<Vec<FieldName>>,
    /// The file; without one, stdout.
    pub output: Option<PathBuf>,
    /// Replace the file.
    pub force: bool,
}

/// The form of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A record a line, as upstream wrote it.
    JsonLines,
    /// Comma-separated values.
    Csv {
        /// Whether texts that a spreadsheet would take for a formula are made harmless.
        excel_safe: bool,
    },
}

impl Words {
    /// `export --all FILE`
    pub(super) fn export_all(&mut self) -> Result<Command, Failure> {
        match self.all.take() {
            Some(file) => Ok(Command::ExportAll { file, force: std::mem::take(&mut self.force) }),
            None => Err(usage("export needs a module, or --all FILE")),
        }
    }

    /// `export MODULE`
    pub(super) fn export(&mut self, module: &str) -> Result<Command, Failure> {
        let excel_safe = std::mem::take(&mut self.excel_safe);
        let format = match (self.format.take().as_deref(), excel_safe) {
            (None | Some("jsonl"), false) => Format::JsonLines,
            (Some("csv"), excel_safe) => Format::Csv { excel_safe },
            (None | Some("jsonl"), true) => return Err(usage("--excel-safe goes with csv only")),
            (Some(_), _) => return Err(usage("--format is jsonl or csv")),
        };
        let output = self.output.take();
        if output.is_none() && self.json && format != Format::JsonLines {
            return Err(usage("--json does not go with csv on stdout; add --output FILE"));
        }
        if output.is_none() && self.force {
            return Err(usage("--force goes with --output FILE"));
        }
        Ok(Command::Export(Export {
            module: module_name(module)?,
            format,
            criteria: self.take_criteria()?,
            fields: self.take_fields()?,
            output,
            force: std::mem::take(&mut self.force),
        }))
    }
}
