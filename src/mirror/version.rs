//! The versions of upstream's REST API, and what differs between them for us.
//!
//! Only what this program asks or answers differently is here; it is no history of the API.

use std::fmt;
use std::time::Duration;

/// A version of upstream's REST API. One is used for every call (`upstream.api_version`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ApiVersion {
    /// `v2`
    V2,
    /// `v2.1`
    V2_1,
    /// `v3`
    V3,
    /// `v4`
    V4,
    /// `v5`
    V5,
    /// `v6`
    V6,
    /// `v7`
    V7,
    /// `v8`
    V8,
}

impl ApiVersion {
    /// Every version, the oldest first.
    pub const ALL: [ApiVersion; 8] = [
        ApiVersion::V2,
        ApiVersion::V2_1,
        ApiVersion::V3,
        ApiVersion::V4,
        ApiVersion::V5,
        ApiVersion::V6,
        ApiVersion::V7,
        ApiVersion::V8,
    ];

    /// Reads `v2` to `v8` (and `v2.1`) as they stand in a path; `None` for any other text.
    pub fn parse(text: &str) -> Option<ApiVersion> {
        ApiVersion::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The version as it stands in a path.
    pub const fn as_str(self) -> &'static str {
        match self {
            ApiVersion::V2 => "v2",
            ApiVersion::V2_1 => "v2.1",
            ApiVersion::V3 => "v3",
            ApiVersion::V4 => "v4",
            ApiVersion::V5 => "v5",
            ApiVersion::V6 => "v6",
            ApiVersion::V7 => "v7",
            ApiVersion::V8 => "v8",
        }
    }

    /// The longest life that a channel may be asked for: a day up to v3, a week from v4 on (facts
    /// §1.1). Whoever asks for more is silently given one hour (facts §1.3).
    pub const fn longest_channel_life(self) -> Duration {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        match self {
            ApiVersion::V2 | ApiVersion::V2_1 | ApiVersion::V3 => DAY,
            ApiVersion::V4 | ApiVersion::V5 | ApiVersion::V6 | ApiVersion::V7 | ApiVersion::V8 => {
                WEEK
            }
        }
    }

    /// Whether the fields must be named when records are read (facts §4.2).
    pub const fn needs_fields(self) -> bool {
        match self {
            ApiVersion::V2 | ApiVersion::V2_1 => false,
            ApiVersion::V3
            | ApiVersion::V4
            | ApiVersion::V5
            | ApiVersion::V6
            | ApiVersion::V7
            | ApiVersion::V8 => true,
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        for version in ApiVersion::ALL {
            assert_eq!(ApiVersion::parse(version.as_str()), Some(version));
        }
        for bad in ["", "2", "v1", "v9", "V2", "v2.0", "v2.10", " v2", "v02"] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_week_comes_with_v4_and_fields_with_v3() {
        let days = ApiVersion::ALL.map(|v| v.longest_channel_life().as_secs() / (24 * 60 * 60));
        assert_eq!(days, [1, 1, 1, 7, 7, 7, 7, 7]);
        let fields = ApiVersion::ALL.map(ApiVersion::needs_fields);
        assert_eq!(fields, [false, false, true, true, true, true, true, true]);
    }
}
