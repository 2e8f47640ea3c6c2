//! What has an order: numbers, digit by digit and of any length, and times.
//!
//! No number passes through floating point, which would make 9007199254740993 equal to
//! 9007199254740992. This is not arithmetic: numbers are compared and nothing else.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::mirror::time::UpstreamTime;

/// A number or a time. The one has no order with the other.
#[derive(Clone, Debug)]
pub(super) enum Measure<'a> {
    Number(Decimal<'a>),
    Time(Time),
}

impl<'a> Measure<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Measure<'a>> {
        let number = Decimal::parse(text).map(Measure::Number);
        number.or_else(|| Time::parse(text).map(Measure::Time))
    }

    pub(super) fn into_owned(self) -> Measure<'static> {
        match self {
            Measure::Number(number) => Measure::Number(number.into_owned()),
            Measure::Time(time) => Measure::Time(time),
        }
    }
}

impl PartialOrd for Measure<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Measure::Number(one), Measure::Number(other)) => Some(one.compare(other)),
            (Measure::Time(one), Measure::Time(other)) => Some(one.compare(other)),
            (Measure::Number(_), Measure::Time(_)) | (Measure::Time(_), Measure::Number(_)) => None,
        }
    }
}

impl PartialEq for Measure<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

/// A decimal number as it is written: `-12.50`, `1e400`.
#[derive(Clone, Debug)]
pub(super) struct Decimal<'a> {
    negative: bool,
    whole: Cow<'a, str>,
    fraction: Cow<'a, str>,
    exponent: i32,
}

impl<'a> Decimal<'a> {
    /// Digits with or without sign, fraction and exponent. An exponent beyond 32 bits makes no
    /// number.
    pub(super) fn parse(text: &'a str) -> Option<Decimal<'a>> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
            None => (text, 0),
        };
        let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        if !are_digits(whole) || !fraction.is_none_or(are_digits) {
            return None;
        }
        let fraction = fraction.unwrap_or("").into();
        Some(Decimal {
            negative: mantissa.starts_with('-'),
            whole: whole.into(),
            fraction,
            exponent,
        })
    }

    fn into_owned(self) -> Decimal<'static> {
        Decimal {
            negative: self.negative,
            whole: self.whole.into_owned().into(),
            fraction: self.fraction.into_owned().into(),
            exponent: self.exponent,
        }
    }

    fn compare(&self, other: &Decimal<'_>) -> Ordering {
        match (self.is_below_zero(), other.is_below_zero()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.compare_sizes(other),
            (true, true) => other.compare_sizes(self),
        }
    }

    /// Compares regardless of sign: by the place of the first digit that counts, then by digits.
    fn compare_sizes(&self, other: &Decimal<'_>) -> Ordering {
        let by_magnitude = self.magnitude().cmp(&other.magnitude());
        let (mut mine, mut theirs) = (self.significant(), other.significant());
        by_magnitude.then_with(|| {
            loop {
                let (one, another) = match (mine.next(), theirs.next()) {
                    (None, None) => return Ordering::Equal,
                    (one, another) => (one.unwrap_or(b'0'), another.unwrap_or(b'0')),
                };
                if one != another {
                    return one.cmp(&another);
                }
            }
        })
    }

    fn is_below_zero(&self) -> bool {
        self.negative && self.magnitude().is_some()
    }

    /// How many digits stand before the point when the number is written out without leading
    /// zeros: 3 for 100, -1 for 0.01. `None`, the least, for zero.
    fn magnitude(&self) -> Option<i64> {
        let significant = self.significant().count() as i64;
        let fraction = self.fraction.len() as i64;
        (significant > 0).then(|| significant - fraction + i64::from(self.exponent))
    }

    /// Bytes that are the same for equal numbers, however they are written, and for no others.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let Some(magnitude) = self.magnitude() else { return Vec::new() };
        let mut bytes = vec![u8::from(self.negative)];
        bytes.extend_from_slice(&magnitude.to_be_bytes());
        bytes.extend(self.significant());
        // The first digit is not zero, so the loop ends there.
        while bytes.last() == Some(&b'0') {
            bytes.pop();
        }
        bytes
    }

    fn significant(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.bytes().chain(self.fraction.bytes()).skip_while(|digit| *digit == b'0')
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date, or a moment with the date that it is written with.
///
/// Two moments are compared as such, whatever their offsets. A moment and a date are compared by
/// the date that the moment is written with: upstream writes times in the zone of its user, and a
/// day means that user's day.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    Day(Day),
    Moment(UpstreamTime, Day),
}

/// A date as it is written, `2026-01-31`, whose letters are in the order of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Day([u8; 10]);

impl Time {
    /// `2026-01-31`, or `2026-01-31T10:00:00+05:30`; a moment needs an offset.
    pub(super) fn parse(text: &str) -> Option<Time> {
        let day = Day::parse(text.get(..10)?)?;
        match text.as_bytes().get(10) {
            None => Some(Time::Day(day)),
            Some(b'T') => UpstreamTime::parse(text).map(|moment| Time::Moment(moment, day)),
            Some(_) => None,
        }
    }

    /// Whether both are the same moment, or the same day.
    pub(super) fn same(&self, other: &Time) -> bool {
        self.compare(other) == Ordering::Equal
    }

    fn compare(&self, other: &Time) -> Ordering {
        match (self, other) {
            (Time::Moment(one, _), Time::Moment(other, _)) => one.cmp(other),
            (Time::Day(one), Time::Day(other) | Time::Moment(_, other))
            | (Time::Moment(_, one), Time::Day(other)) => one.cmp(other),
        }
    }
}

impl Day {
    pub(super) fn letters(&self) -> &[u8] {
        &self.0
    }

    fn parse(text: &str) -> Option<Day> {
        let (year, month_and_day) = text.split_once('-')?;
        let (month, day) = month_and_day.split_once('-')?;
        let shaped = year.len() == 4 && [year, month, day].into_iter().all(are_digits);
        let dated = ("01"..="12").contains(&month) && ("01"..="31").contains(&day);
        let letters = <[u8; 10]>::try_from(text.as_bytes()).ok()?;
        (shaped && month.len() == 2 && dated).then_some(Day(letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_digit_by_digit() {
        let rising = [
            "-1e400",
            "-10",
            "-9.99",
            "-0.0001",
            "0",
            "1e-400",
            "0.00999",
            "0.01",
            "9.5",
            "1e1",
            "9007199254740992",
            "9007199254740993",
            "12345678901234567890123",
            "1e23",
            "1e400",
        ];
        for (place, one) in rising.iter().enumerate() {
            for (other_place, other) in rising.iter().enumerate() {
                let (left, right) = (Decimal::parse(one).unwrap(), Decimal::parse(other).unwrap());
                assert_eq!(left.compare(&right), place.cmp(&other_place), "{one} against {other}");
            }
        }
        for (one, same) in [("1.500", "+1.5"), ("100", "1E2"), ("-0.0", "0"), ("007", "70e-1")] {
            assert!(Decimal::parse(one) == Decimal::parse(same), "{one} and {same}");
        }
        for bad in ["", "-", ".5", "5.", "1e", "1e99999999999", "1,5", "١", "0x10", "--1", "NaN"] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn times_are_days_or_moments() {
        let same =
            |one: &str, other: &str| Time::parse(one).unwrap().same(&Time::parse(other).unwrap());
        assert!(same("2026-01-31T23:30:00+05:30", "2026-01-31T18:00:00Z"));
        assert!(same("2026-01-31T23:30:00+05:30", "2026-01-31"));
        assert!(!same("2026-02-01T00:30:00+05:30", "2026-01-31"));
        for bad in ["2026-13-01", "2026-1-01", "2026-01-00", "2026-01-31T10:00:00", "2026é01-31"] {
            assert!(Time::parse(bad).is_none(), "{bad}");
        }
    }
}
