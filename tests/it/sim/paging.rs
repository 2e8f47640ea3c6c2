//! The two walls of a list: page numbers end at 2,000 records, page tokens at 100,000 and after
//! a day (facts §4.2).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::clock::Moment;
use super::wire::{Answer, Asked};

/// Rows of one page.
pub(super) const PAGE_LIMIT: u64 = 200;
const NUMBERED_LIMIT: u64 = 2_000;
const TOKEN_LIMIT: u64 = 100_000;
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(86_400);
/// Tokens remembered; older ones are unknown. No limit of upstream's.
const TOKENS_KEPT: usize = 10_000;

/// Where a page begins.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// How many rows come before it.
    pub(super) skip: u64,
    /// The last row before it, as (sort key, id), when a token remembers it.
    pub(super) after: Option<(i64, u64)>,
}

/// The page tokens that were given out.
#[derive(Default)]
pub(super) struct PageTokens {
    given: BTreeMap<u64, Given>,
    last: u64,
}

struct Given {
    binding: String,
    place: Place,
    at: Moment,
}

impl PageTokens {
    /// Gives out a token for the rows behind `place`, good for requests like this one.
    pub(super) fn give(&mut self, asked: &Asked, place: Place, now: Moment) -> String {
        self.last += 1;
        let given = Given { binding: binding(asked), place, at: now };
        self.given.insert(self.last, given);
        if self.given.len() > TOKENS_KEPT {
            self.given.pop_first();
        }
        // An odd factor makes tokens look like nothing one could count on.
        format!("c8582{:016x}", self.last.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn place(&self, token: &str, asked: &Asked, now: Moment) -> Result<Place, Answer> {
        let refuse = |code: &str, message: &str| {
            Answer::refusal(400, code, json!({"param_name": "page_token"}), message)
        };
        let number = token
            .strip_prefix("c8582")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(|mixed| mixed.wrapping_mul(0xf1de_83e1_9937_733d));
        let given = number.and_then(|number| self.given.get(&number));
        // One that was never given is refused in the same words.
        let given = given.filter(|given| given.binding == binding(asked)).ok_or_else(|| {
            let message = "The page_token given seems to be invalid or input param is added or \
                           altered or deleted";
            refuse("TOKEN_BOUND_DATA_MISMATCH", message)
        })?;
        if now.since(given.at) >= TOKEN_LIFE {
            return Err(refuse("EXPIRED_VALUE", "the page_token has expired"));
        }
        if given.place.skip >= TOKEN_LIMIT {
            let message = "You can only get the first 100000 records";
            return Err(refuse("PAGINATION_LIMIT_EXCEEDED", message));
        }
        Ok(given.place.clone())
    }
}

/// Where the page that is asked for begins, by number or by token.
pub(super) fn place(
    asked: &Asked,
    per_page: u64,
    tokens: Option<&PageTokens>,
    now: Moment,
) -> Result<Place, Answer> {
    match (asked.param("page"), asked.param("page_token"), tokens) {
        (Some(_), Some(_), _) => Err(Answer::refusal(
            400,
            "AMBIGUITY_DURING_PROCESSING",
            json!({"ambiguity_due_to": [{"param": "page"}, {"param": "page_token"}]}),
            "page and page_token cannot be given together",
        )),
        (None, Some(_), None) => Err(Answer::invalid_param("page_token")),
        (None, Some(token), Some(tokens)) => tokens.place(token, asked, now),
        (_, None, _) => {
            let page = asked.count("page", 1, u64::MAX)?;
            if page.saturating_mul(per_page) > NUMBERED_LIMIT {
                return Err(Answer::refusal(
                    400,
                    "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
                    json!({"limit": NUMBERED_LIMIT}),
                    "You can only get the first 2000 records without using page_token param",
                ));
            }
            Ok(Place { skip: (page - 1) * per_page, after: None })
        }
    }
}

/// What a token is bound to: every parameter but the place, and `If-Modified-Since`.
fn binding(asked: &Asked) -> String {
    let mut params: Vec<&(String, String)> = asked
        .query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "page" | "page_token"))
        .collect();
    params.sort();
    format!("{} {params:?} {:?}", asked.path, asked.headers.get("if-modified-since"))
}
