//! `crmirror`: arguments, logging, one match over the commands, error → exit code.

use std::process::ExitCode;

use crmirror::cli::{self, args};
use crmirror::error::Exit;

fn main() -> ExitCode {
    crmirror::wear::open_account();
    crmirror::secret::keep_out_of_dumps();
    crmirror::memory::give_back_large_pieces();
    crmirror::logger::start(std::env::var("RUST_LOG").ok().as_deref());
    let result = args::parse(std::env::args_os().skip(1)).and_then(cli::run);
    match result {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            crmirror::logger::end(&failure);
            failure.exit.into()
        }
    }
}
