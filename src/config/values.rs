//! One text of the file → one value, or what is wrong with it and what to write.
//!
//! Each function sees a value alone. What two values must be to each other is said in
//! `sections.rs`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Operation;
use crate::mirror::origin::{Origin, Scheme};
use crate::mirror::record::ChannelId;
use crate::mirror::span::shown;
use crate::mirror::version::ApiVersion;

/// Data centre, its accounts address, its API address (facts §3.4).
const DATA_CENTRES: [(&str, &str, &str); 10] = [
    ("us", "https://accounts.zoho.com", "https://www.zohoapis.com"),
    ("eu", "https://accounts.zoho.eu", "https://www.zohoapis.eu"),
    ("in", "https://accounts.zoho.in", "https://www.zohoapis.in"),
    ("au", "https://accounts.zoho.com.au", "https://www.zohoapis.com.au"),
    ("jp", "https://accounts.zoho.jp", "https://www.zohoapis.jp"),
    ("ca", "https://accounts.zohocloud.ca", "https://www.zohoapis.ca"),
    ("sa", "https://accounts.zoho.sa", "https://www.zohoapis.sa"),
    ("cn", "https://accounts.zoho.com.cn", "https://www.zohoapis.com.cn"),
    ("uk", "https://accounts.zoho.uk", "https://www.zohoapis.uk"),
    ("ae", "https://accounts.zoho.ae", "https://www.zohoapis.ae"),
];

/// The accounts and the API address of a data centre.
pub(super) fn data_centre(text: &str) -> Result<(Origin, Origin), String> {
    let (_, accounts, api) = DATA_CENTRES
        .into_iter()
        .find(|(name, _, _)| *name == text)
        .ok_or_else(|| format!("{} is not a data centre; {}", shown(text), any_data_centre()))?;
    let known = |address| Origin::parse(address).expect("the table holds origins");
    Ok((known(accounts), known(api)))
}

/// `write one of us, eu, …`
pub(super) fn any_data_centre() -> String {
    format!("write one of {}", DATA_CENTRES.map(|(name, _, _)| name).join(", "))
}

/// An address that secrets are sent to.
pub(super) fn upstream_origin(text: &str) -> Result<Origin, String> {
    let origin = origin(text, "https://www.zohoapis.com")?;
    refuse_clear_text(&origin)?;
    Ok(origin)
}

/// The origin of a web page.
pub(super) fn page_origin(text: &str) -> Result<Origin, String> {
    origin(text, "http://kiosk.local")
}

fn origin(text: &str, example: &str) -> Result<Origin, String> {
    Origin::parse(text).map_err(|error| format!("{error}; write for example {example}"))
}

/// Refuses `http://` but on this device itself, where nobody can listen in.
pub(super) fn refuse_clear_text(origin: &Origin) -> Result<(), String> {
    match origin.scheme() {
        Scheme::Http if !origin.is_loopback() => {
            Err("http:// is accepted on loopback addresses only; write https://".to_owned())
        }
        Scheme::Http | Scheme::Https => Ok(()),
    }
}

/// A version of the API.
pub(super) fn api_version(text: &str) -> Result<ApiVersion, String> {
    ApiVersion::parse(text).ok_or_else(|| {
        let known = ApiVersion::ALL.map(ApiVersion::as_str).join(", ");
        format!("{} is not a version of the API; write one of {known}", shown(text))
    })
}

/// What a channel reports of a module.
pub(super) fn operation(text: &str) -> Result<Operation, String> {
    Operation::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
        let known = Operation::ALL.map(Operation::as_str).join(", ");
        format!("{} is not an operation; write any of {known}", shown(text))
    })
}

/// The id of a channel, as one is chosen: a positive number that every version of the API takes
/// as a string (facts §1.2).
pub(super) fn channel_id(text: &str) -> Result<ChannelId, String> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| text.parse::<i64>().ok())
        .flatten()
        .map(|number| ChannelId::new(number.unsigned_abs()))
        .ok_or_else(|| {
            format!("{} is not an id; write a whole number from 1 to {}", shown(text), i64::MAX)
        })
}

/// An address to listen on, with its port. No name: what a name means changes behind our back.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not an IP address with a port; write for example 127.0.0.1:8686 or [::1]:8686",
            shown(text)
        )
    })
}

/// A path; a relative one lies in `directory`, that of the configuration file.
pub(super) fn path(text: &str, directory: &Path) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("{} is not a path", shown(text)));
    }
    Ok(directory.join(text))
}

/// A path that means the same from wherever the program is started.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = path(text, Path::new(""))?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{} is not an absolute path; begin it with /", shown(text)))
    }
}

/// Permissions as `chmod` takes them: three octal digits, perhaps with a zero before them.
pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().ok_or_else(|| {
        format!("{} is not a file's permissions; write for example 0660", shown(text))
    })
}

/// The name of a group, or its number. Whether there is one is found out when it is used.
pub(super) fn group(text: &str) -> Result<String, String> {
    let right = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b',' | b'/');
    if text.is_empty() || !text.bytes().all(right) {
        return Err(format!("{} is not the name of a group", shown(text)));
    }
    Ok(text.to_owned())
}
