//! Records that meet a condition: criteria, or an e-mail address, a phone number, words.
//!
//! Upstream's search sees a change some time after its lists do, and finds 2,000 records at most;
//! ours sees what the mirror holds, and ends at the same number so that nobody relies on more.

use std::ops::ControlFlow;

use super::super::query::{BadParameter, Parameters};
use super::super::reply::Reply;
use super::page::{Order, Place};
use super::pick::Candidates;
use super::refusal::NoRead;
use super::{Reads, body, take_converted, take_fields};
use crate::mirror::criteria::Criteria;
use crate::mirror::record::ModuleName;
use crate::mirror::search::{Address, Number, Search, Unsearchable, Words};
use crate::store::{Sight, StoreError};

/// Records that are read one by one, since an index names them. Beyond this number it is no quicker
/// than a look through the module.
const CANDIDATES_LIMIT: usize = 10_000;

/// The parameters of which a search takes one.
const QUESTIONS: [&str; 4] = ["criteria", "email", "phone", "word"];

impl Reads<'_> {
    /// `GET /crm/v2/{Module}/search`: 204 when there are none.
    pub(super) fn search(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
    ) -> Result<Reply, NoRead> {
        let fields = take_fields(&mut parameters)?;
        take_converted(&mut parameters)?;
        let order = Order::take(&mut parameters, self.is_unstamped(module))?;
        let place = Place::take_numbered(&mut parameters, order)?;
        let search = self.take_search(module, &mut parameters)?;
        let search = search.ok_or(NoRead::Missing(&QUESTIONS))?;
        parameters.finish()?;

        let candidates = self.candidates(module, &search)?;
        let judge = search.judge();
        let picked = self.pick(module, &candidates, &place, &|_, json| judge(json))?;
        if picked.rows.is_empty() {
            return Ok(told(Reply::empty(204), &candidates));
        }
        let mut records = Vec::with_capacity(picked.rows.len());
        for rank in picked.rows {
            // It may have changed since it was looked at.
            let record = self.live(module, order.id(rank))?;
            records.extend(record.filter(|record| search.matches(record.json())));
        }
        let info = place.numbered_info(records.len(), picked.more);
        let reply = Reply::json(200, body(&records, fields.as_deref(), Some(info)));
        Ok(told(reply, &candidates))
    }

    /// How many records meet a condition, and how they were found.
    pub(super) fn count_found(
        &self,
        module: &ModuleName,
        search: &Search,
    ) -> Result<Reply, NoRead> {
        let candidates = self.candidates(module, search)?;
        let count = match &candidates {
            Candidates::Ids(ids) => {
                let mut count = 0_u64;
                self.look_at(module, ids, &mut |record| {
                    count += u64::from(search.matches(record.json()));
                })?;
                count
            }
            Candidates::All => {
                let judge = search.judge();
                let look = |count: &mut u64, _, sight: Sight<'_>| {
                    if let Sight::Live { json, .. } = sight {
                        *count += u64::from(judge(json));
                    }
                    ControlFlow::Continue(())
                };
                self.look_through(module, None, || 0, &look, |count, more| *count += more)?
            }
        };
        Ok(told(Reply::json(200, format!("{{\"count\":{count}}}")), &candidates))
    }

    /// Which records can meet the condition, by what is known without looking at them.
    fn candidates(&self, module: &ModuleName, search: &Search) -> Result<Candidates, StoreError> {
        if let Some(id) = search.only() {
            return Ok(Candidates::Ids(vec![id]));
        }
        let lookup = search.lookup(|field| self.store.is_indexed(module, field));
        let Some(lookup) = lookup else { return Ok(Candidates::All) };
        let found = self.store.candidates(module, &lookup, None, CANDIDATES_LIMIT + 1)?;
        Ok(match found.filter(|ids| ids.len() <= CANDIDATES_LIMIT) {
            Some(ids) => Candidates::Ids(ids),
            None => Candidates::All,
        })
    }

    /// Takes the one question that is asked; `None` when there is none.
    pub(super) fn take_search(
        &self,
        module: &ModuleName,
        parameters: &mut Parameters,
    ) -> Result<Option<Search>, NoRead> {
        let asked = QUESTIONS.map(|name| (name, parameters.take(name)));
        let mut given = asked.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let Some((name, text)) = given.next() else { return Ok(None) };
        let others: Vec<&'static str> = given.map(|(name, _)| name).collect();
        if !others.is_empty() {
            return Err(NoRead::Ambiguous([vec![name], others].concat()));
        }
        let bad = |why: Unsearchable| NoRead::Bad(BadParameter::new(name, why.to_string()));
        let kinds = || self.kinds.of(self.store, module);
        Ok(Some(match name {
            "email" => Search::Email(Address::parse(&text).map_err(bad)?, kinds()?.emails.clone()),
            "phone" => Search::Phone(Number::parse(&text).map_err(bad)?, kinds()?.phones.clone()),
            "word" => Search::Words(Words::parse(&text).map_err(bad)?),
            _ => Search::Criteria(Criteria::parse(&text).map_err(NoRead::Criteria)?),
        }))
    }
}

/// Says how the records were found.
fn told(reply: Reply, candidates: &Candidates) -> Reply {
    let how = match candidates {
        Candidates::All => "scan",
        Candidates::Ids(_) => "index",
    };
    reply.with("Mirror-Search", how)
}
