//! `[platform]`: what Zoho's platform tells of our extension, and what is done about it.

use super::notify_url::{NotifyUrl, Paths};
use super::section::{Findings, Section};
use super::values;
use crate::mirror::origin::Origin;
use crate::mirror::platform::{OnUninstall, OrgId};
use crate::mirror::span::shown;

/// `[platform]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// The address that `callbackListener` of plugin-manifest.json names for each event.
    pub notify_url: NotifyUrl,
    /// What is done with a callback that nothing proves to be the platform's.
    pub verify: Verify,
    /// What is done when the extension is removed.
    pub on_uninstall: OnUninstall,
    /// The organisation that may call; without it, the first that proves itself.
    pub org_id: Option<OrgId>,
    /// Where Desk is, if that is known.
    pub desk: Option<Origin>,
}

/// What is done with a callback whose `HASH` is missing or wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// It is refused.
    Enforce,
    /// It is accepted, and told in the log: what the platform hashes is not documented.
    Log,
}

impl Platform {
    /// Whether it is of no use without the manifest's secret.
    pub fn needs_secret(&self) -> bool {
        self.verify == Verify::Enforce
    }
}

impl Verify {
    /// Both.
    const ALL: [Verify; 2] = [Verify::Enforce, Verify::Log];

    /// What a configuration writes for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verify::Enforce => "enforce",
            Verify::Log => "log",
        }
    }
}

/// Reads `[platform]`. Nothing of the platform runs without that section.
pub(super) fn platform(
    document: &mut Section<'_>,
    accounts: Option<&Origin>,
    paths: &mut Paths,
    findings: &mut Findings,
) -> Option<Option<Platform>> {
    let is_there = document.has("platform");
    let mut section = document.section("platform");
    let platform =
        if is_there { read(&mut section, accounts, paths).map(Some) } else { Some(None) };
    section.finish(findings);
    platform
}

fn read(
    section: &mut Section<'_>,
    accounts: Option<&Origin>,
    paths: &mut Paths,
) -> Option<Platform> {
    let hint = "write the address that callbackListener of plugin-manifest.json names";
    let notify_url = section.required_text("notify_url", hint, NotifyUrl::parse);
    let verify = section.text_or("verify", Verify::Enforce, verify);
    let on_uninstall = section.text_or("on_uninstall", OnUninstall::Close, on_uninstall);
    let org_id = section.digits("org_id", org_id);
    let desk = section.text("desk", values::upstream_origin);
    if notify_url.as_ref().is_some_and(|url| !paths.take(url)) {
        section.wrong("notify_url", "another kind of callback has this path; choose another");
    }
    let (verify, on_uninstall) = (verify?, on_uninstall?);
    if (verify, on_uninstall) == (Verify::Log, OnUninstall::Wipe) {
        let what =
            "anybody who knows the address could have all erased; write verify = \"enforce\"";
        section.wrong("on_uninstall", what);
    }
    let desk = desk.or_else(|| accounts.and_then(beside));
    Some(Platform { notify_url: notify_url?, verify, on_uninstall, org_id, desk })
}

/// The address of Desk in the data centre of this accounts service (facts §6): `desk.` where that
/// has `accounts.`.
fn beside(accounts: &Origin) -> Option<Origin> {
    let zone = accounts.host().strip_prefix("accounts.").map(str::to_owned)?;
    Origin::parse(&format!("https://desk.{zone}")).ok()
}

fn verify(text: &str) -> Result<Verify, String> {
    let known = Verify::ALL.into_iter().find(|verify| verify.as_str() == text);
    known.ok_or_else(|| format!("{} is not known; write enforce or log", shown(text)))
}

fn on_uninstall(text: &str) -> Result<OnUninstall, String> {
    let known = OnUninstall::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("{} is not known; write close, wipe or ignore", shown(text)))
}

fn org_id(text: &str) -> Result<OrgId, String> {
    OrgId::parse(text)
        .ok_or_else(|| format!("{} is not an organisation's id; write its digits", shown(text)))
}
