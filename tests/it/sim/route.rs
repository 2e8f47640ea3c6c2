//! Which of upstream's doors a path leads to, what it costs and which scope opens it.

/// A version of the API, in the path of every call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    major: u8,
    minor: u8,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        if text == "v2.1" {
            return Some(Version { major: 2, minor: 1 });
        }
        let major = text.strip_prefix('v')?.parse().ok().filter(|major| (2..=8).contains(major))?;
        (text.len() == 2).then_some(Version { major, minor: 0 })
    }

    pub(super) fn is_at_least(self, major: u8) -> bool {
        self.major >= major
    }
}

/// A door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route<'a> {
    Token,
    RevokeToken,
    Books(&'a str),
    Invoke,
    Crm(Version, Target<'a>),
}

/// A door of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target<'a> {
    Watch,
    Coql,
    Org,
    Users,
    Modules,
    Fields,
    List(&'a str),
    One(&'a str, &'a str),
    Deleted(&'a str),
    Search(&'a str),
    Count(&'a str),
    Function(&'a str),
}

impl Route<'_> {
    pub(super) fn of(path: &str) -> Option<Route<'_>> {
        match path {
            "/oauth/v2/token" => return Some(Route::Token),
            "/oauth/v2/token/revoke" => return Some(Route::RevokeToken),
            "/api/v1/invoke" => return Some(Route::Invoke),
            _ => {}
        }
        if let Some(path) = path.strip_prefix("/books/v3/") {
            return Some(Route::Books(path));
        }
        let parts: Vec<&str> = path.strip_prefix("/crm/")?.split('/').collect();
        let (version, rest) = parts.split_first()?;
        let version = Version::parse(version)?;
        let target = match *rest {
            ["actions", "watch"] => Target::Watch,
            ["coql"] => Target::Coql,
            ["org"] => Target::Org,
            ["users"] => Target::Users,
            ["settings", "modules"] => Target::Modules,
            ["settings", "fields"] => Target::Fields,
            ["functions", name, "actions", "execute"] if is_name(name) => Target::Function(name),
            ["settings" | "actions" | "functions", ..] => return None,
            [module] if is_name(module) => Target::List(module),
            [module, "deleted"] if is_name(module) => Target::Deleted(module),
            [module, "search"] if is_name(module) => Target::Search(module),
            [module, "actions", "count"] if is_name(module) => Target::Count(module),
            [module, id] if is_name(module) && is_number(id) => Target::One(module, id),
            _ => return None,
        };
        Some(Route::Crm(version, target))
    }
}

impl Target<'_> {
    /// The scope without which the call is `OAUTH_SCOPE_MISMATCH` (facts §3.5).
    pub(super) fn scope(self) -> &'static str {
        match self {
            Target::Watch => "ZohoCRM.notifications.ALL",
            Target::Coql => "ZohoCRM.coql.READ",
            Target::Org => "ZohoCRM.org.READ",
            Target::Users => "ZohoCRM.users.READ",
            Target::Modules => "ZohoCRM.settings.modules.READ",
            Target::Fields => "ZohoCRM.settings.fields.READ",
            Target::Search(_) | Target::Count(_) => "ZohoSearch.securesearch.READ",
            Target::List(_) | Target::One(..) | Target::Deleted(_) => "ZohoCRM.modules.READ",
            Target::Function(_) => "ZohoCRM.functions.execute.CREATE",
        }
    }

    pub(super) fn credits(self) -> u64 {
        match self {
            Target::Deleted(_) => 2,
            // Functions have credits of their own (facts §7).
            Target::Function(_) => 0,
            _ => 1,
        }
    }
}

/// What a call to this path costs (facts §4.8); tokens cost nothing.
pub(super) fn credits(path: &str) -> u64 {
    match Route::of(path) {
        Some(Route::Crm(_, target)) => target.credits(),
        // Books counts its calls by itself.
        Some(Route::Token | Route::RevokeToken | Route::Invoke | Route::Books(_)) | None => 0,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
