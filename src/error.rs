//! How a command ends: an exit code and one line for a person.
//!
//! This file is not a catalogue of errors. Each part of the program keeps its own, with what it
//! knows of them; only when an error is about to end the process does it become a [`Failure`].

use std::fmt;
use std::process::ExitCode;

/// The exit codes of every command. 69 and 78 are those of `sysexits.h`, so that a service
/// manager can tell what a restart may cure from what only a person can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No daemon answers, or upstream cannot be reached: later it may work.
    Unavailable = 69,
    /// The configuration or the credentials are wrong: only a person can help.
    Configuration = 78,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command ends early: the exit code, and what is printed on stderr.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The code that the process ends with.
    pub exit: Exit,
    /// What went wrong and what to do next: one line, save for a configuration with several
    /// problems, which has a line for each.
    pub message: String,
}

impl Failure {
    /// The command did not achieve what it was asked for.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, message: message.into() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// Somebody who has to answer does not.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Unavailable, message: message.into() }
    }

    /// The configuration or the credentials are wrong.
    pub fn configuration(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Configuration, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
