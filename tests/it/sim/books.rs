//! Zoho Books as far as a mirror meets it: lists by page number, records by id, numeric codes, and
//! its own limits (facts §5.5).
//!
//! Its records are modules of the one model, under their names in paths, so that people change
//! them like any other. Only how they are shown differs.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use crmirror::mirror::books::entity::{Entity, Recent};
use crmirror::mirror::time::UpstreamTime;
use serde_json::json;

use super::Upstream;
use super::clock::Moment;
use super::model::{Module, Row};
use super::wire::{Answer, Asked};

/// The organization that there is.
pub const ORGANIZATION: &str = "10234695";

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// How Books behaves where it may behave in more than one way, and what it remembers of its calls.
pub struct Books {
    /// What becomes of `sort_column=last_modified_time` where it is documented.
    pub documented_sort: Manner,
    /// The same where it is not.
    pub undocumented_sort: Manner,
    /// What becomes of the filter `last_modified_time` where it is documented.
    pub filter: Manner,
    /// Rows of a page, whatever is asked for beyond.
    pub page_rows: u64,
    /// Whether `page_context` is a list of one, as in some of the documentation.
    pub context_in_list: bool,
    /// Calls that are answered in a minute.
    pub a_minute: usize,
    /// Calls that are answered in a day.
    pub a_day: usize,
    /// So many calls are refused with this code, as by a limit that others have used up.
    pub refusals: (u32, i64),
    answered: VecDeque<Moment>,
}

/// What becomes of a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// What is asked for.
    Obeys,
    /// Nothing.
    Ignores,
    /// An error.
    Denies,
    /// Something else: a filter by time shows that very second alone.
    Mistakes,
}

impl Books {
    pub(super) fn new() -> Books {
        Books {
            documented_sort: Manner::Obeys,
            undocumented_sort: Manner::Denies,
            filter: Manner::Obeys,
            page_rows: 200,
            context_in_list: false,
            a_minute: 100,
            a_day: 10_000,
            refusals: (0, 0),
            answered: VecDeque::new(),
        }
    }

    /// Counts a call against the limits.
    pub(super) fn admit(&mut self, now: Moment) -> Result<(), Answer> {
        if self.refusals.0 > 0 {
            self.refusals.0 -= 1;
            return Err(error(429, self.refusals.1, "a limit is reached"));
        }
        while self.answered.front().is_some_and(|at| now.since(*at) >= DAY) {
            self.answered.pop_front();
        }
        let lately = self.answered.iter().rev().take_while(|at| now.since(**at) < MINUTE).count();
        if lately >= self.a_minute {
            let why = "For security reasons you have been blocked as you have exceeded the maximum \
                       number of requests per minute";
            return Err(error(429, 44, why));
        }
        if self.answered.len() >= self.a_day {
            return Err(error(429, 45, "You have reached the maximum of API calls for today"));
        }
        self.answered.push_back(now);
        Ok(())
    }
}

impl Upstream {
    /// Adds an entity of Books, such as `invoices`, or finds it. Only a single record shows its
    /// line items.
    pub fn add_entity(&mut self, plural: &str) -> &mut Module {
        let entity = Entity::of_plural(plural).expect("an entity of Books");
        let module = self.model.add(plural);
        module.entity = Some(entity);
        module.with_whole_only("line_items")
    }

    /// Answers `/books/v3/{path}`.
    pub(super) fn of_books(
        &mut self,
        path: &str,
        asked: &Asked,
        now: Moment,
    ) -> Result<Answer, Answer> {
        let parts: Vec<&str> = path.split('/').collect();
        let entity = Entity::of_plural(parts[0]);
        let entity =
            entity.filter(|entity| self.model.modules().any(|m| m.entity == Some(*entity)));
        let Some(entity) = entity else {
            return Err(error(404, 5, "Invalid URL Passed"));
        };
        self.accounts.authorise(asked, scope(entity), now).map_err(|refusal| {
            let is_token = refusal.text().contains("INVALID_TOKEN");
            let not = "You are not authorized to perform this operation";
            if is_token { error(401, 14, "Invalid OAuth token") } else { error(401, 57, not) }
        })?;
        self.books.admit(now)?;
        match asked.param("organization_id") {
            Some(ORGANIZATION) => {}
            Some(_) => return Err(error(401, 6041, "This user is not of the organization")),
            None => return Err(error(400, 6024, "CompanyID/CompanyName is not there")),
        }
        match (parts.as_slice(), asked.method.as_str()) {
            ([_], "GET") => self.list_of_books(entity, asked, now),
            ([_, id], "GET") => self.one_of_books(entity, id, asked),
            _ => Err(error(404, 5, "Invalid URL Passed")),
        }
    }

    fn one_of_books(&self, entity: Entity, id: &str, asked: &Asked) -> Result<Answer, Answer> {
        allow(asked, &["organization_id"])?;
        let id: u64 = id.parse().map_err(|_| error(400, 2, "Invalid value passed for the id"))?;
        self.permit_in_books(entity, &[id])?;
        let module = self.model.entity(entity);
        let Some((_, row)) = module.visible().find(|(known, _)| *known == id) else {
            return Err(error(404, 1002, &format!("The {entity} does not exist.")));
        };
        let record = module.json(id, row, true, None, self.knobs.offset_minutes);
        let around = entity.around_one();
        let body = format!(r#"{{"code":0,"message":"success","{around}":{record}}}"#);
        Ok(Answer::raw(200, body))
    }

    fn list_of_books(&self, entity: Entity, asked: &Asked, now: Moment) -> Result<Answer, Answer> {
        let known = [
            "organization_id",
            "page",
            "per_page",
            "filter_by",
            "sort_column",
            "sort_order",
            "last_modified_time",
        ];
        allow(asked, &known)?;
        self.permit_in_books(entity, &[])?;
        let bad = |name: &str| error(400, 2, &format!("Invalid value passed for {name}"));
        let page = asked.count("page", 1, u64::MAX).map_err(|_| bad("page"))?;
        let per_page = asked.count("per_page", 200, 200).map_err(|_| bad("per_page"))?;
        let per_page = per_page.min(self.books.page_rows);
        let module = self.model.entity(entity);
        let lag = self.knobs.lists_lag.as_secs() as i64;
        let mut rows: Vec<(u64, &Row)> = match lag {
            0 => module.visible().collect(),
            lag => module.listed(now.unix() - lag, 0).collect(),
        };
        if let Some(from) = asked.param("last_modified_time") {
            let from = UpstreamTime::parse(from).ok_or_else(|| bad("last_modified_time"))?.unix();
            match self.books.filter {
                _ if entity.recent() != Recent::Filtered => return Err(bad("last_modified_time")),
                Manner::Obeys => rows.retain(|(_, row)| row.modified >= from),
                Manner::Mistakes => rows.retain(|(_, row)| row.modified == from),
                Manner::Ignores => {}
                Manner::Denies => return Err(bad("last_modified_time")),
            }
        }
        let hides_inactive = ["contacts", "items"].contains(&entity.plural());
        if hides_inactive && asked.param("filter_by") != Some("Status.All") {
            let inactive = "\"inactive\"".to_owned();
            let inactive = Some(&inactive);
            rows.retain(|(_, row)| row.values.get("status") != inactive);
        }
        let mut column = "created_time";
        if asked.param("sort_column") == Some("last_modified_time") {
            let is_documented = entity.recent() != Recent::Undocumented;
            let books = &self.books;
            match if is_documented { books.documented_sort } else { books.undocumented_sort } {
                Manner::Obeys => column = "last_modified_time",
                Manner::Ignores | Manner::Mistakes => {}
                Manner::Denies => return Err(bad("sort_column")),
            }
        }
        rows.sort_by_key(|(id, row)| {
            let at = if column == "created_time" { row.created } else { row.modified };
            Reverse((at, *id))
        });
        let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let more = rows.len() > skip.saturating_add(per_page as usize);
        let offset = self.knobs.offset_minutes;
        let shown: Vec<String> = rows
            .into_iter()
            .skip(skip)
            .take(per_page as usize)
            .map(|(id, row)| module.json(id, row, false, None, offset))
            .collect();
        let context = json!({"page": page, "per_page": per_page, "has_more_page": more,
            "applied_filter": "Status.All", "sort_column": column, "sort_order": "D"});
        let context = if self.books.context_in_list { json!([context]) } else { context };
        let (plural, shown) = (entity.plural(), shown.join(","));
        let head = r#""code":0,"message":"success""#;
        Ok(Answer::raw(200, format!(r#"{{{head},"{plural}":[{shown}],"page_context":{context}}}"#)))
    }

    fn permit_in_books(&self, entity: Entity, ids: &[u64]) -> Result<(), Answer> {
        let permitted = self.faults.permit(entity.plural(), ids);
        permitted.map_err(|_| error(403, 4, "You may not see this"))
    }
}

/// The scope without which a call is refused.
fn scope(entity: Entity) -> &'static str {
    match entity.plural() {
        "invoices" => "ZohoBooks.invoices.READ",
        "contacts" => "ZohoBooks.contacts.READ",
        "bills" => "ZohoBooks.bills.READ",
        "items" => "ZohoBooks.settings.READ",
        _ => "ZohoBooks.fullaccess.all",
    }
}

fn allow(asked: &Asked, names: &[&str]) -> Result<(), Answer> {
    asked.allow(names).map_err(|_| error(400, 2, "Invalid parameter"))
}

/// An error as Books words it.
fn error(status: u16, code: i64, message: &str) -> Answer {
    Answer::json(status, &json!({"code": code, "message": message}))
}
