//! The points on which upstream may behave in more than one way, or differently in a test. Every
//! default is what the facts page holds for most likely; where it has no answer, the harsher one.

use std::time::Duration;

/// How this upstream behaves. Fields may be changed at any time.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Where `/oauth/…` is asked for, in process; set by the loopback server to its own origin.
    pub accounts_origin: String,
    /// Where `/crm/…` is asked for; the `api_domain` of token replies and the start of every
    /// `resource_uri`.
    pub api_origin: String,
    /// The account's offset from UTC, in minutes; every stamp is written in it (facts §1.3).
    pub offset_minutes: i32,
    /// Whether replies carry a `Date`.
    pub date_header: bool,
    /// Whether v2 and v2.1 know page tokens.
    pub page_tokens_in_v2: bool,
    /// Whether a page token keeps a count, not a place: rows then shift when earlier ones go, as
    /// they always do with `page`.
    pub page_tokens_shift: bool,
    /// Whether `If-Modified-Since` leaves out the second it names (facts §4.3 says it does not).
    pub modified_since_exclusive: bool,
    /// Whether POST on a live channel is `ALREADY_USED` instead of a renewal (facts §1.4).
    pub post_on_live_refused: bool,
    /// No channel lives longer than this, whatever was asked.
    pub grant_at_most: Option<Duration>,
    /// How many channels the user may have; one more is `LIMIT_REACHED`.
    pub channels_at_most: usize,
    /// The status of a POST to watch in which an item went wrong (facts §1.5 saw 202).
    pub watch_error_status: u16,
    /// Life of access tokens.
    pub token_life: Duration,
    /// Whether token replies carry `expires_in_sec` and `expires_in` in milliseconds (facts §3.1).
    pub old_token_reply: bool,
    /// Whether the natural limit of 10 tokens in 10 minutes applies (facts §3.2).
    pub throttle_tokens: bool,
    /// The status of "Access Denied": 200 or 400, sources disagree (facts §3.3).
    pub throttled_status: u16,
    /// Whether a restore moves `Modified_Time`. Not documented.
    pub restore_moves_modified: bool,
    /// Whether a restore is called back as an insert. Not documented.
    pub restore_notifies: bool,
    /// How long lists lag behind the records: so long they show what is deleted, and show neither
    /// what is new nor, by time, what was modified. Not documented; records asked for by name are
    /// always as they are.
    pub lists_lag: Duration,
    /// How many ids one callback of a mass change carries at most. Not documented.
    pub ids_per_callback: usize,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            accounts_origin: "https://accounts.zoho.com".to_owned(),
            api_origin: "https://www.zohoapis.com".to_owned(),
            offset_minutes: 330,
            date_header: true,
            page_tokens_in_v2: true,
            page_tokens_shift: false,
            modified_since_exclusive: false,
            post_on_live_refused: false,
            grant_at_most: None,
            channels_at_most: 100,
            watch_error_status: 202,
            token_life: Duration::from_secs(3_600),
            old_token_reply: false,
            throttle_tokens: false,
            throttled_status: 200,
            restore_moves_modified: false,
            restore_notifies: false,
            lists_lag: Duration::ZERO,
            ids_per_callback: 100,
        }
    }
}
