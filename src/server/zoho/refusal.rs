//! Why a read gives no content, said as upstream says it (facts §4.10).

use serde_json::{Value, json};

use super::super::query::BadParameter;
use super::super::reply::Reply;
use super::page::NUMBERED_LIMIT;
use crate::mirror::criteria::CriteriaError;
use crate::store::StoreError;

/// The methods by which something is read.
pub(in crate::server) const READS: &str = "GET, HEAD";

/// Why a read gives no content.
pub(in crate::server) enum NoRead {
    /// A parameter cannot be accepted.
    Bad(BadParameter),
    /// Of these parameters one is needed.
    Missing(&'static [&'static str]),
    /// These parameters exclude each other.
    Ambiguous(Vec<&'static str>),
    /// A page of a list that page numbers do not reach.
    TooFar,
    /// A page of a search that is not reached at all.
    TooMany,
    /// A page token of another list, or of none.
    WrongToken,
    /// The criteria are none.
    Criteria(CriteriaError),
    /// As many look through a module as may.
    Busy,
    /// Looking through the module takes too long.
    TooLong,
    /// The store cannot be read.
    Store(StoreError),
}

impl From<BadParameter> for NoRead {
    fn from(bad: BadParameter) -> NoRead {
        NoRead::Bad(bad)
    }
}

impl From<StoreError> for NoRead {
    fn from(error: StoreError) -> NoRead {
        NoRead::Store(error)
    }
}

impl From<NoRead> for Reply {
    fn from(no: NoRead) -> Reply {
        match no {
            NoRead::Bad(bad) => bad_parameter(&bad),
            NoRead::Missing(names) => refuse(
                "EXPECTED_PARAM_MISSING",
                json!({ "expected_params": names }),
                &format!("mandatory param missing: give one of {}", names.join(", ")),
            ),
            NoRead::Ambiguous(names) => {
                let due: Vec<Value> = names.iter().map(|name| json!({ "param": name })).collect();
                let message = format!("{} cannot be given together", names.join(" and "));
                let details = json!({ "ambiguity_due_to": due });
                refuse("AMBIGUITY_DURING_PROCESSING", details, &message)
            }
            NoRead::TooFar => refuse(
                "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
                json!({ "limit": NUMBERED_LIMIT }),
                "You can only get the first 2000 records without using page_token param",
            ),
            NoRead::TooMany => refuse(
                "LIMIT_REACHED",
                json!({ "limit": NUMBERED_LIMIT }),
                "Maximum response iteration limit reached: search for less",
            ),
            NoRead::WrongToken => refuse(
                "TOKEN_BOUND_DATA_MISMATCH",
                json!({ "param_name": "page_token" }),
                "The page_token given seems to be invalid or input param is added or altered or \
                 deleted",
            ),
            NoRead::Criteria(error) => refuse(
                "INVALID_QUERY",
                json!({
                    "api_name": "criteria",
                    "position": error.character(),
                    "reason": error.message(),
                }),
                &error.to_string(),
            ),
            NoRead::Busy => {
                let message = "as many requests look through a whole module as may; ask again";
                Reply::error(503, "NOT_NOW", message).with("Retry-After", "1")
            }
            NoRead::TooLong => {
                let message = "looking through the module takes too long: search by a field that \
                               its 'index' names, or list by id";
                Reply::error(503, "SCAN_TOO_LONG", message).with("Retry-After", "60")
            }
            NoRead::Store(error) => {
                log::error!("a read failed: {error}");
                Reply::error(500, "INTERNAL_ERROR", "the mirror cannot be read; see the log")
            }
        }
    }
}

/// The answer to a path that leads nowhere.
pub(in crate::server) fn nothing_here() -> Reply {
    Reply::error(404, "INVALID_URL_PATTERN", "nothing is here; README has the list")
}

/// The refusal of a module that the configuration does not name.
pub(in crate::server) fn not_mirrored() -> Reply {
    let message = "the module is not mirrored here; the configuration lists those that are";
    Reply::error(400, "INVALID_MODULE", message)
}

/// The refusal of a parameter, with its name.
pub(in crate::server) fn bad_parameter(bad: &BadParameter) -> Reply {
    let message = format!("the parameter '{}' {}", bad.name, bad.why);
    refuse("INVALID_DATA", json!({ "api_name": bad.name }), &message)
}

fn refuse(code: &str, details: Value, message: &str) -> Reply {
    Reply::detailed(400, code, details, message)
}

/// Something there is that is not asked for so: `allowed` are the methods that it takes.
pub(in crate::server) fn method_not_allowed(allowed: &'static str) -> Reply {
    let message = match allowed {
        "POST" => "this is asked for by POST",
        READS => "the mirror is read-only: write to upstream",
        _ => "this is asked for by another method",
    };
    Reply::error(405, "INVALID_REQUEST_METHOD", message).with("Allow", allowed)
}
