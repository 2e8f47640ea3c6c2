//! How many records there are: all of a module, which its ledger knows, or those that meet a
//! condition.

use super::super::query::Parameters;
use super::super::reply::Reply;
use super::Reads;
use super::refusal::NoRead;
use crate::mirror::record::ModuleName;

impl Reads<'_> {
    /// `GET /crm/v2/{Module}/actions/count`, perhaps with what a search takes (facts §4.5).
    pub(super) fn count(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
    ) -> Result<Reply, NoRead> {
        let search = self.take_search(module, &mut parameters)?;
        parameters.finish()?;
        match search {
            Some(search) => self.count_found(module, &search),
            None => {
                let records = self.store.ledger(module)?.records;
                Ok(Reply::json(200, format!("{{\"count\":{records}}}")))
            }
        }
    }
}
