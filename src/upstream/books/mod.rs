//! Talking to Zoho Books: the same accounts and the same token as CRM's, another API behind the
//! same origin, with an organization in every call, numbers for codes and limits of its own
//! (facts §5.5).
//!
//! `records` asks for lists and records, `webhooks` and `histories` for what they are called, and
//! all read the replies · `verdict` says what a reply means.

pub mod histories;
pub mod records;
pub mod verdict;
pub mod webhooks;

use super::api::{Api, Query};
use super::transport::{Body, Method, Request};

/// Books' API as it is called: every call names the organization.
#[derive(Clone, Debug)]
pub struct BooksApi {
    /// Where it is, and the token.
    pub api: Api,
    /// The organization's id.
    pub organization: String,
}

impl BooksApi {
    /// A read of `{origin}/books/v3/{path}?organization_id=…`.
    fn get(&self, path: &str, query: Query) -> Request {
        self.request(Method::Get, path, query, Body::Empty)
    }

    /// A call of the same.
    fn request(&self, method: Method, path: &str, query: Query, body: Body) -> Request {
        let query = query.with("organization_id", &self.organization);
        let url = self.api.root_url(&format!("books/v3/{path}"), &query);
        self.api.request(method, url, body)
    }
}
