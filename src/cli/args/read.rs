//! `list` and `changes`: what is to be read.

use super::{Changes, Command, List, Words, field_name, module_name, usage};
use crate::error::Failure;
use crate::mirror::record::ModuleName;

impl Words {
    /// `list MODULE`
    pub(super) fn list(&mut self, module: &str) -> Result<Command, Failure> {
        let criteria = self.take_criteria()?;
        let fields = self.take_fields()?;
        let sort = self.sort.take().map(|text| field_name(&text)).transpose()?;
        let limit = self.take_limit()?.unwrap_or(usize::MAX);
        let module = module_name(module)?;
        Ok(Command::List(List { module, criteria, fields, sort, limit }))
    }

    /// `--limit N`, of several commands.
    pub(super) fn take_limit(&mut self) -> Result<Option<usize>, Failure> {
        let limit = self.limit.take().map(|text| text.parse()).transpose();
        limit.map_err(|_| usage("--limit takes a whole number"))
    }

    /// `changes`
    pub(super) fn changes(&mut self) -> Result<Command, Failure> {
        let since = self.since.take().map(|text| text.parse()).transpose();
        let since = since.map_err(|_| usage("--since takes a sequence: a whole number"))?;
        let of_ours = |name: String| ModuleName::of_ours(&name);
        let module = self.module.take().map(of_ours).transpose();
        let module = module.map_err(|error| usage(&format!("module {error}")))?;
        let follow = std::mem::take(&mut self.follow);
        Ok(Command::Changes(Changes { since, module, follow }))
    }
}
