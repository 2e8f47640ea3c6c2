//! Webhooks as Books' API has them: creating, listing, updating, showing, deleting (facts §5.1).
//!
//! What a person wants to send is read by the documented keys and limits before it is sent, since
//! upstream's own errors do not say which key was wrong.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::BooksApi;
use super::histories::{PageContext, ROWS};
use super::verdict::unreadable;
use crate::mirror::books::entity::Entity;
use crate::mirror::books::webhooks::{Declared, METHOD, Row};
use crate::mirror::record::RecordId;
use crate::mirror::trouble::Trouble;
use crate::secret::Secret;
use crate::upstream::api::Query;
use crate::upstream::transport::{Body, Method, Request};

const PATH: &str = "settings/webhooks";

/// Longest texts (facts §5.1), in characters.
const LIMITS: [(&str, usize); 4] =
    [("webhook_name", 50), ("description", 100), ("url", 5_000), ("raw_data", 100_000)];
/// The other keys that may be sent.
const KEYS: [&str; 18] = [
    "entity",
    "method",
    "entity_parameters",
    "additional_parameters",
    "headers",
    "user_defined_format_name",
    "user_defined_format_value",
    "secret",
    "body_type",
    "form_data",
    "query_parameters",
    "connection_link_name",
    "events",
    "is_new_response_format",
    "placeholder",
    "is_hidden",
    "lock_type",
    "lock_reason",
];
/// Without these there is no webhook.
const REQUIRED: [&str; 4] = ["webhook_name", "entity", "method", "url"];
/// The lengths of a secret, which has letters and digits (facts §5.1).
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 12..=50;
const METHODS: [&str; 3] = ["POST", "PUT", "DELETE"];

/// Which webhooks are listed, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Only those of this entity.
    pub entity: Option<Entity>,
    /// In which order.
    pub sort: Option<Column>,
}

/// What a list of webhooks can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// Its name.
    WebhookName,
    /// When it was created.
    CreatedTime,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 2] = [Column::WebhookName, Column::CreatedTime];

    /// As upstream writes it.
    pub fn name(self) -> &'static str {
        match self {
            Column::WebhookName => "webhook_name",
            Column::CreatedTime => "created_time",
        }
    }
}

/// What is to be sent to create or update a webhook.
#[derive(Clone, Debug)]
pub struct Draft {
    json: Secret,
    has_secret: bool,
}

impl Draft {
    /// What makes a webhook as it is declared, signed with this secret.
    pub fn of(declared: &Declared, secret: Option<&Secret>) -> Draft {
        let mut body = json!({
            "webhook_name": declared.name,
            "entity": declared.entity.singular(),
            "method": METHOD,
            "url": declared.url,
        });
        if let Some(secret) = secret {
            body["secret"] = secret.reveal().into();
        }
        Draft { json: Secret::new(body.to_string()), has_secret: secret.is_some() }
    }

    /// Reads what a person wrote, as JSON; `whole` when nothing may be missing. The error says what
    /// is wrong and repeats no value.
    pub fn parse(json: &str, whole: bool) -> Result<Draft, String> {
        let keys: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
            format!("not a JSON object, at line {} column {}", error.line(), error.column())
        })?;
        for (key, value) in &keys {
            check(key, value)?;
        }
        let missing = REQUIRED.iter().find(|key| whole && !keys.contains_key(**key));
        if let Some(missing) = missing {
            return Err(format!("the key '{missing}' is missing"));
        }
        let has_secret = keys.contains_key("secret");
        Ok(Draft { json: Secret::new(json.to_owned()), has_secret })
    }

    /// Whether it sets the secret.
    pub fn has_secret(&self) -> bool {
        self.has_secret
    }

    fn body(&self) -> Body {
        Body::Json(self.json.clone())
    }
}

fn check(key: &str, value: &Value) -> Result<(), String> {
    let text = value.as_str();
    let limit = LIMITS.iter().find(|(name, _)| *name == key).map(|(_, limit)| *limit);
    match (key, limit) {
        (_, Some(limit)) => match text.map(|text| text.chars().count()) {
            Some(length) if length <= limit => Ok(()),
            _ => Err(format!("'{key}' takes a text of at most {limit} characters")),
        },
        ("secret", _) => {
            let fits = |text: &str| {
                let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                plain && SECRET_LENGTHS.contains(&text.len())
            };
            let why = "'secret' takes 12 to 50 letters and digits";
            if text.is_some_and(fits) { Ok(()) } else { Err(why.to_owned()) }
        }
        ("method", _) if text.is_some_and(|text| METHODS.contains(&text)) => Ok(()),
        ("method", _) => Err(format!("'method' is one of {}", METHODS.join(" "))),
        _ if KEYS.contains(&key) => Ok(()),
        _ => {
            let shown: String = key.chars().filter(|c| !c.is_control()).take(60).collect();
            Err(format!("'{shown}' is no key of a webhook"))
        }
    }
}

/// Asks for a page of webhooks.
pub fn list(api: &BooksApi, listing: Listing, page: u32) -> Request {
    let mut query = Query::default().with("page", page).with("per_page", ROWS);
    if let Some(entity) = listing.entity {
        query = query.with("filter_by", format!("Entity.{}", capitalised(entity.singular())));
    }
    if let Some(column) = listing.sort {
        query = query.with("sort_column", column.name());
    }
    api.get(PATH, query)
}

fn capitalised(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

/// Asks for all that is known of one.
pub fn show(api: &BooksApi, id: RecordId) -> Request {
    api.get(&one(id), Query::default())
}

/// Asks for what a page that edits webhooks has to know: entities, their fields, connections.
pub fn edit_page(api: &BooksApi) -> Request {
    api.get(&format!("{PATH}/editpage"), Query::default())
}

/// Asks for one to be created.
pub fn create(api: &BooksApi, draft: &Draft) -> Request {
    api.request(Method::Post, PATH, Query::default(), draft.body())
}

/// Asks for one to be changed.
pub fn update(api: &BooksApi, id: RecordId, draft: &Draft) -> Request {
    api.request(Method::Put, &one(id), Query::default(), draft.body())
}

/// Asks for one to be deleted.
pub fn delete(api: &BooksApi, id: RecordId) -> Request {
    api.request(Method::Delete, &one(id), Query::default(), Body::Empty)
}

fn one(id: RecordId) -> String {
    format!("{PATH}/{id}")
}

/// Reads a page of webhooks, and whether more follow.
pub fn parse_rows(text: &str) -> Result<(Vec<Row>, bool), Trouble> {
    #[derive(Deserialize)]
    struct List {
        // Required: of an answer without a list, that all are gone does not follow.
        webhooks: Vec<RowBody>,
        #[serde(default)]
        page_context: PageContext,
    }
    #[derive(Deserialize)]
    struct RowBody {
        webhook_id: RecordId,
        #[serde(default)]
        webhook_name: String,
        #[serde(default)]
        url: String,
        #[serde(default)]
        entity: String,
        method: Option<String>,
        is_active: Option<bool>,
    }
    let list: List = serde_json::from_str(text).map_err(|error| unreadable("webhooks", &error))?;
    let row = |row: RowBody| Row {
        id: row.webhook_id,
        name: row.webhook_name,
        url: row.url,
        entity: row.entity,
        method: row.method,
        is_active: row.is_active,
    };
    Ok((list.webhooks.into_iter().map(row).collect(), list.page_context.has_more_page))
}

/// Reads the id of the webhook that was created or updated.
pub fn parse_id(text: &str) -> Result<RecordId, Trouble> {
    #[derive(Deserialize)]
    struct Answer {
        webhook: Id,
    }
    #[derive(Deserialize)]
    struct Id {
        webhook_id: RecordId,
    }
    let answer: Answer =
        serde_json::from_str(text).map_err(|error| unreadable("webhook", &error))?;
    Ok(answer.webhook.webhook_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::origin::Origin;
    use crate::mirror::version::ApiVersion;
    use crate::upstream::api::Api;

    fn api() -> BooksApi {
        let api = Api {
            origin: Origin::parse("https://www.zohoapis.com").unwrap(),
            version: ApiVersion::parse("v2").unwrap(),
            token: Secret::new("access".into()),
        };
        BooksApi { api, organization: "10234695".to_owned() }
    }

    #[test]
    fn the_addresses_are_those_of_the_documentation() {
        let root = "https://www.zohoapis.com/books/v3/settings/webhooks";
        let id = RecordId::new(460_000_000_040_001);
        let bill = Entity::parse("bill");
        let check = |request: Request, method: Method, path: &str, rest: &str| {
            let url = format!("{root}{path}?{rest}organization_id=10234695");
            assert_eq!((request.method, request.url), (method, url));
        };
        let draft = Draft::parse("{}", false).unwrap();
        check(create(&api(), &draft), Method::Post, "", "");
        check(update(&api(), id, &draft), Method::Put, "/460000000040001", "");
        check(show(&api(), id), Method::Get, "/460000000040001", "");
        check(delete(&api(), id), Method::Delete, "/460000000040001", "");
        check(edit_page(&api()), Method::Get, "/editpage", "");
        let all = Listing::default();
        check(list(&api(), all, 1), Method::Get, "", "page=1&per_page=200&");
        let some = Listing { entity: bill, sort: Some(Column::CreatedTime) };
        let rest = "page=2&per_page=200&filter_by=Entity.Bill&sort_column=created_time&";
        check(list(&api(), some, 2), Method::Get, "", rest);
        use crate::upstream::books::histories;
        let rest = "page=3&per_page=200&sort_column=event_time&sort_order=D&";
        check(
            histories::list(&api(), histories::Column::EventTime, 3),
            Method::Get,
            "/histories",
            rest,
        );
        check(histories::show(&api(), id), Method::Get, "/histories/460000000040001", "");
        let resend = histories::resend(&api(), id);
        check(resend, Method::Post, "/histories/460000000040001/resend", "");
        let some = histories::resend_all(&api(), &[1, 2].map(RecordId::new));
        check(some, Method::Post, "/histories/bulkresend", "history_ids=1,2&");
    }

    #[test]
    fn what_a_person_writes_is_held_to_the_documented_keys_and_limits() {
        let whole =
            r#""webhook_name":"a","entity":"invoice","method":"PUT","url":"https://a.example""#;
        assert!(Draft::parse(&format!("{{{whole}}}"), true).is_ok());
        let with = |more: &str| Draft::parse(&format!("{{{whole},{more}}}"), true);
        for more in [
            r#""secret":"abcdefgh1234""#,
            r#""headers":[{"param_name":"a","param_value":"b"}]"#,
            r#""is_new_response_format":true,"raw_data":"""#,
        ] {
            assert!(with(more).is_ok(), "{more}");
        }
        let long = |key: &str, length: usize| format!(r#""{key}":"{}""#, "é".repeat(length));
        for (key, limit) in LIMITS {
            assert!(Draft::parse(&format!("{{{}}}", long(key, limit)), false).is_ok(), "{key}");
            let error = Draft::parse(&format!("{{{}}}", long(key, limit + 1)), false).unwrap_err();
            assert!(error.contains(key) && error.contains(&limit.to_string()), "{error}");
        }
        for (more, told) in [
            (r#""secret":"hunter2""#, "12 to 50"),
            (r#""secret":"hunter2hunter2!""#, "12 to 50"),
            (r#""secret":7"#, "12 to 50"),
            (r#""method":"GET""#, "POST PUT DELETE"),
            (r#""description":7"#, "at most 100"),
            (r#""colour":"hunter2""#, "'colour' is no key"),
        ] {
            let error = Draft::parse(&format!("{{{more}}}"), false).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
        for key in REQUIRED {
            let less = whole.replace(key, "placeholder");
            let error = Draft::parse(&format!("{{{less}}}"), true).unwrap_err();
            assert!(error.contains(&format!("'{key}' is missing")), "{error}");
        }
        assert!(Draft::parse("[]", true).is_err());
    }

    #[test]
    fn a_declared_webhook_is_sent_whole_and_its_secret_is_not_shown() {
        let declared = Declared {
            name: "kiosk-invoices".into(),
            entity: Entity::parse("invoice").unwrap(),
            url: "https://kiosk-7.example.com/books/invoice/91c2".into(),
            is_signed: true,
        };
        let draft = Draft::of(&declared, Some(&Secret::new("abcdefgh1234".into())));
        assert!(Draft::parse(draft.json.reveal(), true).is_ok(), "it keeps to the same limits");
        let sent: Value = serde_json::from_str(draft.json.reveal()).unwrap();
        assert_eq!((&sent["method"], &sent["secret"]), (&"POST".into(), &"abcdefgh1234".into()));
        assert!(!format!("{:?}", create(&api(), &draft)).contains("abcdefgh1234"));
    }

    #[test]
    fn rows_are_read_as_upstream_shows_them() {
        let text = r#"{"code":0,"message":"success","webhooks":[{"webhook_id":"460000000040001",
            "webhook_name":"Invoice Webhook","is_active":true,"url":"https://example.com/webhook",
            "entity":"invoice","method":"POST","related_rules":[{}]},{"webhook_id":"7"}]}"#;
        let (rows, more) = parse_rows(text).unwrap();
        assert!(!more && rows.len() == 2);
        assert_eq!((rows[0].name.as_str(), rows[0].is_active), ("Invoice Webhook", Some(true)));
        assert_eq!((rows[1].id, rows[1].method.as_ref()), (RecordId::new(7), None));
        let created = r#"{"code":0,"message":"success","webhook":{"webhook_id":"7","url":"x"}}"#;
        assert_eq!(parse_id(created), Ok(RecordId::new(7)));
        assert!(parse_id(r#"{"code":0}"#).is_err() && parse_rows(r#"{"code":0}"#).is_err());
    }
}
