//! A call that Desk makes for us, with the rights that a customer gave the extension.
//!
//! What is hashed is not encoded, its order matters, and parts that are empty are left out
//! (facts §6). Here are the words; who sends them is `upstream/desk.rs`.

use serde_json::Value;

use super::proof;
use crate::mirror::gather::Gather;
use crate::secret::Secret;

/// What Desk is to call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Invocation {
    /// The address; `{{installationId}}` in it is for Desk to fill in.
    pub url: String,
    /// The method.
    pub method: String,
    /// The query, if it does not stand in the address.
    pub query: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The connection of the extension whose rights are used; Desk's own without one.
    pub connection: String,
}

impl Invocation {
    /// The parts that are hashed, in their order and without those that are empty.
    pub fn parts(&self) -> Vec<(&'static str, String)> {
        let parts = [
            ("requestURL", self.url.clone()),
            ("requestType", self.method.clone()),
            ("queryParams", object(&self.query)),
            ("postBody", self.body.clone()),
            ("headers", object(&self.headers)),
            ("connectionLinkName", self.connection.clone()),
        ];
        parts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    /// The `HASH` that goes with it.
    pub fn hash(&self, secret: &Secret) -> String {
        let parts: Vec<String> =
            self.parts().iter().map(|(name, text)| format!("{name}={text}")).collect();
        proof::hash(secret, &parts.join("&"))
    }
}

/// The pairs as the text of a JSON object; empty when there are none.
fn object(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let member = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    Value::Object(pairs.iter().map(member).gather()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_an_order_and_empty_ones_are_left_out() {
        let names = |invocation: &Invocation| -> Vec<&str> {
            invocation.parts().into_iter().map(|(name, _)| name).collect()
        };
        let mut call = Invocation {
            url: "https://desk.zoho.com/api/v1/tickets".into(),
            method: "GET".into(),
            ..Invocation::default()
        };
        assert_eq!(names(&call), ["requestURL", "requestType"]);
        let secret = Secret::new("manifest".into());
        let plain = "requestURL=https://desk.zoho.com/api/v1/tickets&requestType=GET";
        assert_eq!(call.hash(&secret), proof::hash(&secret, plain));
        call.connection = "for_tickets".into();
        call.body = "{\"a\":1}".into();
        call.headers = vec![("orgId".into(), "7".into())];
        call.query = vec![("from".into(), "0".into())];
        let all = ["requestURL", "requestType", "queryParams", "postBody", "headers"];
        assert_eq!(names(&call)[..5], all);
        let whole = format!(
            "{plain}&queryParams={{\"from\":\"0\"}}&postBody={{\"a\":1}}\
             &headers={{\"orgId\":\"7\"}}&connectionLinkName=for_tickets"
        );
        assert_eq!(call.hash(&secret), proof::hash(&secret, &whole));
    }
}
