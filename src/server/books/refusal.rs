//! Why a read of Books gives no content, said as Books says it: a number and a sentence.
//!
//! Books documents 1002 and 1000; 2 and 5 are what it is seen to say of a parameter and of a path.

use serde_json::json;

use crate::mirror::books::entity::Entity;
use crate::server::query::BadParameter;
use crate::server::reply::Reply;
use crate::server::zoho::NoRead;

/// A parameter cannot be accepted.
const BAD_PARAMETER: u32 = 2;
/// The path leads nowhere.
const BAD_PATH: u32 = 5;
/// It is not our asker's fault.
const INTERNAL: u32 = 1000;
/// The record is not there.
const UNKNOWN: u32 = 1002;

/// The answer to a path that leads nowhere, an entity that is not mirrored among them.
pub(in crate::server) fn nothing_here() -> Reply {
    refuse(404, BAD_PATH, "nothing is here; [books] of the configuration lists what is mirrored")
}

/// The mirror takes no writes.
pub(in crate::server) fn method_not_allowed() -> Reply {
    refuse(405, BAD_PATH, "the mirror is read-only: write to upstream").with("Allow", "GET, HEAD")
}

/// The refusal of a parameter, with its name.
pub(in crate::server) fn bad_parameter(bad: &BadParameter) -> Reply {
    let message = format!("the parameter '{}' {}", bad.name, bad.why);
    refuse(400, BAD_PARAMETER, &message)
}

/// The record is not in the mirror, or was deleted.
pub(super) fn unknown(entity: Entity) -> Reply {
    refuse(404, UNKNOWN, &format!("the {entity} does not exist, as far as the mirror knows"))
}

/// Why a read gives no content.
pub(super) fn no_read(no: NoRead) -> Reply {
    match no {
        NoRead::Bad(bad) => bad_parameter(&bad),
        NoRead::Busy | NoRead::TooLong => {
            let message =
                "looking through all records takes too long now; list by id, or ask again";
            refuse(503, INTERNAL, message).with("Retry-After", "10")
        }
        NoRead::Store(error) => {
            log::error!("a read failed: {error}");
            refuse(500, INTERNAL, "the mirror cannot be read; see the log")
        }
        // What only CRM's reads know.
        NoRead::Missing(_)
        | NoRead::Ambiguous(_)
        | NoRead::TooFar
        | NoRead::TooMany
        | NoRead::WrongToken
        | NoRead::Criteria(_) => refuse(400, BAD_PARAMETER, "this is not asked of Books"),
    }
}

fn refuse(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, json!({ "code": code, "message": message }).to_string())
}
