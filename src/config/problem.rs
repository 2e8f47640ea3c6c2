//! What is wrong with a configuration: file, line, key, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use crate::error::Failure;

/// One thing that is wrong, or that the operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, from 1; `None` where there is none, as for a section that is missing.
    pub line: Option<usize>,
    /// The key with its section (`upstream.data_centre`); empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to write.
    pub what: String,
}

/// `crmirror.toml:12: upstream.data_centre: 'usa' is not a data centre; write one of …`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Everything that is wrong with a configuration, in the order of its lines; at least one problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Takes the problems, of which there is at least one.
    pub(super) fn new(problems: Vec<Problem>) -> ConfigErrors {
        ConfigErrors { problems }
    }

    /// The problems, in the order of their lines; those without a line first.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// A line for each problem.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure::configuration(errors.to_string())
    }
}
