//! Which part of a list is wanted: in which order, which page, and from where on.
//!
//! A page token is the place behind the last row of the page before, with the request that it was
//! given for. It holds for as long as that request is asked: nothing here remembers it, and rows
//! that come and go move nobody else's place.

use serde_json::{Value, json};

use super::super::query::{BadParameter, Parameters};
use super::refusal::NoRead;
use crate::mirror::record::{FieldName, Record, RecordId};
use crate::mirror::search::moment;
use crate::mirror::time::UpstreamTime;
use crate::store::Order as Direction;

/// Records of a page, as upstream has it (facts §4.2).
pub(super) const PAGE_LIMIT: usize = 200;
/// Records that page numbers reach, as upstream has it; beyond them there are page tokens.
pub(super) const NUMBERED_LIMIT: usize = 2_000;

/// The key of a record without the stamp that its list is ordered by: below every moment.
const NO_STAMP: i64 = i64::MIN;

/// By what a list is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum SortBy {
    Id,
    Created,
    Modified,
}

impl SortBy {
    /// The field as upstream names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            SortBy::Id => "id",
            SortBy::Created => "Created_Time",
            SortBy::Modified => "Modified_Time",
        }
    }

    /// The field.
    pub(super) fn field(self) -> FieldName {
        FieldName::parse(self.name()).expect("it is an API name")
    }
}

/// In which order a list is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) struct Order {
    pub(in crate::server) by: SortBy,
    pub(in crate::server) descending: bool,
}

/// The place of a row in its list: rows come in the order of their ranks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::server) struct Rank {
    key: i64,
    id: u64,
}

impl Order {
    /// Upstream lists by id, the newest first, unless asked otherwise (facts §4.2).
    pub(super) fn take(
        parameters: &mut Parameters,
        unstamped: bool,
    ) -> Result<Order, BadParameter> {
        let by = match parameters.take("sort_by").as_deref() {
            None | Some("id") => SortBy::Id,
            Some("Created_Time") => SortBy::Created,
            Some("Modified_Time") if unstamped => {
                let why = "is id or Created_Time: records of this module have no Modified_Time";
                return Err(BadParameter::new("sort_by", why));
            }
            Some("Modified_Time") => SortBy::Modified,
            Some(_) => {
                let why = "is one of id, Created_Time, Modified_Time";
                return Err(BadParameter::new("sort_by", why));
            }
        };
        let descending = match parameters.take("sort_order").as_deref() {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(BadParameter::new("sort_order", "is asc or desc")),
        };
        Ok(Order { by, descending })
    }

    /// The place of a row with this key, which is 0 in an order by id.
    pub(super) fn rank(self, key: i64, id: RecordId) -> Rank {
        // The complement of a number falls as the number rises.
        match self.descending {
            true => Rank { key: !key, id: !id.number() },
            false => Rank { key, id: id.number() },
        }
    }

    /// The place of a record.
    pub(super) fn rank_of(self, record: &Record) -> Rank {
        self.rank_by(record.id(), record.modified(), record.json())
    }

    /// The same, by what a place can depend on.
    pub(super) fn rank_by(self, id: RecordId, modified: Option<UpstreamTime>, json: &str) -> Rank {
        let key = match self.by {
            SortBy::Id => return self.rank(0, id),
            SortBy::Modified => modified,
            SortBy::Created => moment(json, &self.by.field()),
        };
        self.rank(key.map_or(NO_STAMP, UpstreamTime::unix), id)
    }

    /// The stamp and the id of the row in this place, in an order by time.
    pub(super) fn moment(self, rank: Rank) -> (Option<UpstreamTime>, RecordId) {
        let key = if self.descending { !rank.key } else { rank.key };
        ((key != NO_STAMP).then(|| UpstreamTime::from_unix(key)), self.id(rank))
    }

    /// The direction in which an index is read for it.
    pub(super) fn direction(self) -> Direction {
        if self.descending { Direction::NewestFirst } else { Direction::OldestFirst }
    }

    /// The id of the row in this place.
    pub(super) fn id(self, rank: Rank) -> RecordId {
        RecordId::new(if self.descending { !rank.id } else { rank.id })
    }

    fn show(self, info: &mut Value) {
        info["sort_by"] = json!(self.by.name());
        info["sort_order"] = json!(if self.descending { "desc" } else { "asc" });
    }
}

/// Which part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::server) struct Place {
    pub(super) order: Order,
    pub(super) per_page: usize,
    /// The last row of the page before, when a token says so.
    pub(super) after: Option<Rank>,
    page: usize,
    /// What tokens of this list are marked with.
    seal: u64,
}

impl Place {
    /// Takes what belongs to a place; `request` is all that a token is bound to.
    pub(super) fn take(
        parameters: &mut Parameters,
        request: &str,
        order: Order,
    ) -> Result<Place, NoRead> {
        let per_page = take_per_page(parameters)?;
        let page = parameters.take_number("page", 1..=usize::MAX)?;
        let seal = fingerprint(request);
        let token = parameters.take("page_token");
        let (page, after) = match (page, token) {
            (Some(_), Some(_)) => return Err(NoRead::Ambiguous(vec!["page", "page_token"])),
            (None, Some(token)) => {
                let (page, after) = read_token(&token, seal).ok_or(NoRead::WrongToken)?;
                (page, Some(after))
            }
            (page, None) => (page.unwrap_or(1), None),
        };
        let place = Place { order, per_page, after, page, seal };
        if after.is_none() && place.page.saturating_mul(per_page) > NUMBERED_LIMIT {
            return Err(NoRead::TooFar);
        }
        Ok(place)
    }

    /// The same for a search, which has no page tokens.
    pub(super) fn take_numbered(
        parameters: &mut Parameters,
        order: Order,
    ) -> Result<Place, NoRead> {
        let per_page = take_per_page(parameters)?;
        let page = parameters.take_number("page", 1..=usize::MAX)?.unwrap_or(1);
        if page.saturating_mul(per_page) > NUMBERED_LIMIT {
            return Err(NoRead::TooMany);
        }
        Ok(Place::numbered(order, page, per_page))
    }

    /// The place of a list that has page numbers alone, as far as its asker lets them reach.
    pub(in crate::server) fn numbered(order: Order, page: usize, per_page: usize) -> Place {
        Place { order, per_page, after: None, page, seal: 0 }
    }

    /// Rows that come before the page, from where the list begins or the token leads.
    pub(super) fn skipped(&self) -> usize {
        if self.after.is_some() { 0 } else { (self.page - 1) * self.per_page }
    }

    /// Rows that show the page, and whether there is one more.
    pub(super) fn needed(&self) -> usize {
        self.skipped() + self.per_page + 1
    }

    /// The `info` of a list, whose last row is in this place and has more behind it.
    pub(super) fn info(&self, count: usize, more_after: Option<Rank>) -> Value {
        let mut info = self.numbered_info(count, more_after.is_some());
        let token = more_after.map(|rank| write_token(self.page + 1, rank, self.seal));
        info["next_page_token"] = json!(token);
        info["previous_page_token"] = Value::Null;
        info["page_token_expiry"] = Value::Null;
        // In which of its rooms upstream has looked; it is part of each of its replies.
        info["call"] = json!(false);
        info["email"] = json!(false);
        info
    }

    /// The `info` of a search.
    pub(super) fn numbered_info(&self, count: usize, more: bool) -> Value {
        let mut info = page_info(self.page, self.per_page, count, more);
        self.order.show(&mut info);
        info
    }
}

/// Takes the number of rows of a page.
pub(super) fn take_per_page(parameters: &mut Parameters) -> Result<usize, BadParameter> {
    Ok(parameters.take_number("per_page", 1..=PAGE_LIMIT)?.unwrap_or(PAGE_LIMIT))
}

/// What every page says of itself.
pub(super) fn page_info(page: usize, per_page: usize, count: usize, more: bool) -> Value {
    json!({"per_page": per_page, "count": count, "page": page, "more_records": more})
}

fn write_token(page: usize, Rank { key, id }: Rank, seal: u64) -> String {
    format!("{page:x}-{key:x}-{id:x}-{seal:016x}")
}

fn read_token(token: &str, seal: u64) -> Option<(usize, Rank)> {
    let parts: Vec<u64> = token
        .split('-')
        .map(|part| u64::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let [page, key, id, _] = <[u64; 4]>::try_from(parts).ok()?;
    // Negative keys are written as hexadecimals are: without a sign.
    let (page, rank) = (usize::try_from(page).ok()?, Rank { key: key as i64, id });
    let is_ours = page > 1 && page < usize::MAX && write_token(page, rank, seal) == token;
    is_ours.then_some((page, rank))
}

/// FNV-1a: the same in every release, so that a token outlives an update. It guards against
/// mistakes, not against malice: a token shows nothing that its reader may not read anyway.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_the_list() {
        let rows = [(i64::MIN, 5), (-1, 7), (3, 1), (3, u64::MAX), (i64::MAX, 0)];
        for descending in [true, false] {
            let order = Order { by: SortBy::Modified, descending };
            let mut ranks = rows.map(|(key, id)| order.rank(key, RecordId::new(id)));
            ranks.sort_unstable();
            let mut shown = ranks.map(|rank| order.id(rank).number()).to_vec();
            if descending {
                shown.reverse();
            }
            assert_eq!(shown, rows.map(|(_, id)| id));
        }
    }

    #[test]
    fn a_token_leads_back_and_holds_for_its_request_alone() {
        let seal = fingerprint("Leads per_page=2");
        for (key, id) in [(0, 7), (-1, u64::MAX), (i64::MIN, 0)] {
            let rank = Rank { key, id };
            let token = write_token(2, rank, seal);
            assert_eq!(read_token(&token, seal), Some((2, rank)), "{token}");
            assert_eq!(read_token(&token, fingerprint("Leads per_page=3")), None);
            assert_eq!(read_token(&format!("{token}-0"), seal), None);
        }
        for bad in
            ["", "-", "1-0-7-", "d-2-7", "c8582", "2-0-+7-0", "1-0-7-0", "ffffffffffffffff-0-7-0"]
        {
            assert_eq!(read_token(bad, 0), None, "{bad}");
        }
    }
}
