//! The local token service: Zoho's SDKs ask for no record before they were given an access token,
//! so they are given one.
//!
//! It is no login. Without `local.token_file` whoever may ask may read, and the token that he gets
//! opens nothing. With it a client shows the reader's token in the place of its refresh token, its
//! grant code or its client secret, and gets it back as its access token: nothing that it did not
//! know. Whatever else a client shows may be a true secret of upstream's: it is neither looked at
//! nor kept, logged or repeated.

use serde_json::json;

use crate::mirror::origin::Origin;
use crate::secret::Secret;

use super::asked::{Asked, Peer};
use super::query::{BadParameter, Parameters};
use super::reply::Reply;

/// Where tokens are asked for.
const PATH: &str = "/oauth/v2/token";
/// What is given out where no token is asked for.
const OPEN: &str = "no-token-is-needed-here";
/// Seconds after which an SDK asks again, as upstream has it (facts §3.2). The token does not end.
const LIFE: u32 = 3_600;
/// Parts that a form may have: a request for a token has five.
const PARTS_LIMIT: usize = 32;

/// Whether a token is asked for. That request carries its token, if one is needed, in its body.
pub(super) fn is_asked_for_token(asked: &Asked) -> bool {
    asked.method == "POST" && asked.target.split('?').next() == Some(PATH)
}

/// Answers a request for a token; `needed` is the one that opens this interface, if one does.
pub(super) fn grant(
    asked: &Asked,
    mut given: Parameters,
    needed: Option<&Secret>,
) -> Result<Reply, BadParameter> {
    read_form(asked, &mut given)?;
    // What else is given is passed over, as OAuth demands of a token service (RFC 6749, 3.2).
    let mut take = |name: &str| given.take(name).filter(|value| !value.is_empty());
    let (client, secret) = (take("client_id"), take("client_secret"));
    let shown = match take("grant_type").as_deref() {
        Some("refresh_token") => Some((take("refresh_token"), false)),
        Some("authorization_code") => Some((take("code"), true)),
        Some(_) | None => None,
    };
    Ok(match (client, secret, shown) {
        (None, ..) => failure("invalid_client"),
        (_, None, _) => failure("invalid_client_secret"),
        (.., None) => failure("unsupported_grant_type"),
        (.., Some((None, _))) => failure("invalid_code"),
        (Some(_), Some(secret), Some((Some(shown), is_first))) => {
            let opens = |token: &&Secret| token.is(&shown) || token.is(&secret);
            match needed.filter(|_| asked.peer != Peer::Unix) {
                None => granted(asked, OPEN, is_first),
                Some(token) if opens(&token) => granted(asked, token.reveal(), is_first),
                Some(_) => failure("invalid_code"),
            }
        }
    })
}

/// The token, and where it is good: the address by which we were reached. With a grant code an
/// SDK expects a refresh token too.
fn granted(asked: &Asked, token: &str, is_first: bool) -> Reply {
    let scheme = if asked.secure { "https" } else { "http" };
    let host = asked.header("host").unwrap_or_default();
    let Ok(origin) = Origin::parse(&format!("{scheme}://{host}")) else {
        return Reply::error(400, "INVALID_REQUEST", "the Host of the request is no address");
    };
    let mut body = json!({
        "access_token": token,
        "api_domain": origin.to_string(),
        "token_type": "Bearer",
        "expires_in": LIFE,
    });
    if is_first {
        body["refresh_token"] = json!(token);
    }
    Reply::json(200, body.to_string()).with("Cache-Control", "no-store")
}

/// An error as upstream's accounts have it: with status 200 (facts §3.3).
fn failure(error: &str) -> Reply {
    Reply::json(200, json!({ "error": error }).to_string())
}

/// Takes in the fields of the body: a form in one of the two manners that HTTP has.
fn read_form(asked: &Asked, given: &mut Parameters) -> Result<(), BadParameter> {
    let media = asked.header("content-type").unwrap_or_default();
    if !media.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        return given.add_form(&asked.body);
    }
    let unreadable = || BadParameter::new("body", "is a form that cannot be read");
    let boundary = media.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary.map(|text| text.trim_matches('"')).filter(|text| !text.is_empty());
    let text = std::str::from_utf8(&asked.body).map_err(|_| unreadable())?;
    let parts = boundary.and_then(|boundary| parts(text, boundary)).ok_or_else(unreadable)?;
    parts.into_iter().try_for_each(|(name, value)| given.add(name, value))
}

/// The fields of a form in parts (RFC 7578).
fn parts<'a>(text: &'a str, boundary: &str) -> Option<Vec<(&'a str, &'a str)>> {
    let delimiter = format!("--{boundary}");
    let mut pieces = text.split(delimiter.as_str()).skip(1);
    let mut parts = Vec::new();
    loop {
        let piece = pieces.next()?;
        if piece.starts_with("--") {
            return Some(parts);
        }
        let (head, value) = piece.split_once("\r\n\r\n")?;
        let (_, name) = head.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        if parts.len() == PARTS_LIMIT {
            return None;
        }
        parts.push((name, value.strip_suffix("\r\n")?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::query::Target;

    const TOKEN: &str = "a-token-of-32-visible-characters";

    fn asked(media: &str, body: &str) -> Asked {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Asked {
            method: "POST".into(),
            target: PATH.into(),
            headers: vec![header("host", "LOCALHOST:8687"), header("content-type", media)],
            body: body.as_bytes().to_vec(),
            peer: Peer::Tcp("127.0.0.1:9".parse().unwrap()),
            secure: false,
        }
    }

    fn text(asked: &Asked, query: &str, needed: Option<&Secret>) -> String {
        let target = Target::parse(&format!("{PATH}{query}")).unwrap();
        let reply = grant(asked, target.parameters, needed).unwrap();
        assert_eq!(reply.status(), 200);
        String::from_utf8(reply.body().to_vec()).unwrap()
    }

    #[test]
    fn whoever_shows_what_upstream_wants_is_given_a_token() {
        const FORM: &str = "application/x-www-form-urlencoded";
        let check = |body: &str, expected: &str| {
            let told = text(&asked(FORM, body), "", None);
            assert!(told.contains(expected), "{body}: {told}");
            // The same in the query.
            assert_eq!(text(&asked("", ""), &format!("?{body}"), None), told);
        };
        let client = "client_id=1000.A&client_secret=b";
        let refresh = format!("{client}&grant_type=refresh_token&refresh_token=c");
        check(&refresh, "\"api_domain\":\"http://localhost:8687\"");
        check(&refresh, "\"access_token\":\"no-token-is-needed-here\"");
        check(&format!("{refresh}&scope=x&redirect_uri=http://y"), "\"expires_in\":3600");
        let code = format!("{client}&grant_type=authorization_code&code=c");
        check(&code, "\"refresh_token\":\"no-token-is-needed-here\"");
        check("client_secret=b&grant_type=refresh_token", r#"{"error":"invalid_client"}"#);
        check("client_id=a&client_secret=", r#"{"error":"invalid_client_secret"}"#);
        check(client, r#"{"error":"unsupported_grant_type"}"#);
        check(&format!("{client}&grant_type=password"), r#"{"error":"unsupported_grant_type"}"#);
        check(&format!("{client}&grant_type=refresh_token"), r#"{"error":"invalid_code"}"#);
        check(&format!("{client}&grant_type=authorization_code&refresh_token=c"), "invalid_code");
        let twice = asked(FORM, "code=1&code=2");
        assert_eq!(grant(&twice, Parameters::default(), None).unwrap_err().name, "code");
    }

    #[test]
    fn where_a_token_is_needed_it_is_shown_in_the_place_of_a_secret() {
        let needed = Secret::new(TOKEN.to_owned());
        let check = |secret: &str, refresh: &str, is_given: bool| {
            let body = format!(
                "client_id={TOKEN}&client_secret={secret}&grant_type=refresh_token\
                 &refresh_token={refresh}"
            );
            let told = text(&asked("", &body), "", Some(&needed));
            assert_eq!(told.contains(TOKEN), is_given, "{told}");
            assert_eq!(told == r#"{"error":"invalid_code"}"#, !is_given, "{told}");
            let over_socket = Asked { peer: Peer::Unix, ..asked("", &body) };
            assert!(text(&over_socket, "", Some(&needed)).contains(OPEN));
        };
        check("b", TOKEN, true);
        check(TOKEN, "c", true);
        check("b", "c", false);
        check("b", OPEN, false);
        check("b", &TOKEN[1..], false);
    }

    #[test]
    fn a_form_in_parts_is_read_and_what_is_none_is_refused() {
        let part = |name: &str, value: &str| {
            format!("--xY\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = [
            part("client_id", "a"),
            part("client_secret", "b\r\n--x"),
            part("grant_type", "refresh_token"),
            part("refresh_token", "c"),
        ]
        .concat();
        let media = "Multipart/form-data; boundary=xY";
        let whole = format!("{body}--xY--\r\n");
        assert!(text(&asked(media, &whole), "", None).contains("access_token"));
        let refused = |media: &str, body: &str| {
            let refused = grant(&asked(media, body), Parameters::default(), None);
            assert_eq!(refused.unwrap_err().name, "body", "{media} {body}");
        };
        refused(media, &body);
        refused("multipart/form-data", &whole);
        refused("multipart/form-data; boundary=", &whole);
        refused(media, "--xY\r\nno name\r\n\r\n\r\n--xY--");
        refused(media, &format!("{}--xY--", part("n", "v").repeat(PARTS_LIMIT + 1)));
    }
}
