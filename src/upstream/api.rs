//! Where upstream's API is, and how its addresses are made.

use crate::mirror::origin::Origin;
use crate::mirror::record::ModuleName;
use crate::mirror::version::ApiVersion;
use crate::secret::Secret;

use super::transport::{Body, Method, Request};

/// The API as it is called: its origin, one version for every call, and the token that goes with
/// them. The token is sent to this origin and to nobody else.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it is.
    pub origin: Origin,
    /// The version in every path.
    pub version: ApiVersion,
    /// The access token.
    pub token: Secret,
}

impl Api {
    /// `{origin}/crm/{version}/{Module}{rest}`.
    pub(super) fn module_url(&self, module: &ModuleName, rest: &str, query: &Query) -> String {
        self.url(&format!("{module}{rest}"), query)
    }

    /// `{origin}/crm/{version}/{path}`.
    pub(super) fn url(&self, path: &str, query: &Query) -> String {
        self.root_url(&format!("crm/{}/{path}", self.version.as_str()), query)
    }

    /// `{origin}/{path}`.
    pub(super) fn root_url(&self, path: &str, query: &Query) -> String {
        let question = if query.0.is_empty() { "" } else { "?" };
        format!("{}/{path}{question}{}", self.origin, query.0)
    }

    /// A request with our token.
    pub(super) fn request(&self, method: Method, url: String, body: Body) -> Request {
        Request { method, url, token: Some(self.token.clone()), modified_since: None, body }
    }

    /// A read with our token.
    pub(super) fn get(&self, url: String) -> Request {
        self.request(Method::Get, url, Body::Empty)
    }
}

/// A query string in the making. Commas stay as they are: upstream's lists are joined by them.
#[derive(Clone, Default, Debug)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn with(mut self, key: &str, value: impl std::fmt::Display) -> Query {
        let encoded: String =
            form_urlencoded::byte_serialize(value.to_string().as_bytes()).collect();
        let separator = if self.0.is_empty() { "" } else { "&" };
        self.0 += &format!("{separator}{key}={}", encoded.replace("%2C", ","));
        self
    }

    /// The text, without the question mark.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn with_list<T: std::fmt::Display>(self, key: &str, values: &[T]) -> Query {
        let values: Vec<String> = values.iter().map(T::to_string).collect();
        self.with(key, values.join(","))
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
