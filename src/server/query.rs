//! The target of a request, taken apart: path segments and parameters, decoded.
//!
//! A parameter that nobody reads is an error, not a wish ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Longest value of a parameter: a list of a hundred ids is below 2,000 bytes.
const VALUE_LIMIT: usize = 8 << 10;
/// Most parameters of a request.
const PARAMETERS_LIMIT: usize = 32;

/// A target taken apart.
#[derive(Debug)]
pub(super) struct Target {
    /// The segments of the path.
    pub(super) segments: Vec<String>,
    /// The parameters.
    pub(super) parameters: Parameters,
}

/// The parameters of a request. Each is taken by who understands it; what is left over is refused.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

/// A parameter that cannot be accepted, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadParameter {
    /// Its name.
    pub(super) name: String,
    /// What is wrong, and what to write instead.
    pub(super) why: String,
}

impl BadParameter {
    /// Says what is wrong with a parameter.
    pub(super) fn new(name: impl Into<String>, why: impl Into<String>) -> BadParameter {
        let name: String = name.into().chars().filter(|c| !c.is_control()).take(60).collect();
        BadParameter { name, why: why.into() }
    }
}

impl Target {
    /// Takes a target in origin form apart.
    pub(super) fn parse(target: &str) -> Result<Target, BadParameter> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments = path.split('/').skip(1).map(decode).collect();
        let mut parameters = Parameters::default();
        parameters.add_form(query.as_bytes())?;
        Ok(Target { segments, parameters })
    }
}

/// Decodes a segment. A slash that was hidden in it stays in the segment, where no name has one.
fn decode(segment: &str) -> String {
    let plain = segment.replace('+', "%2B");
    let mut decoded = form_urlencoded::parse(plain.as_bytes());
    decoded.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// The fields of a form in the order in which they stand, doubled ones too; `None` if they are more
/// than so many.
pub(super) fn pairs(form: &[u8], most: usize) -> Option<Vec<(String, String)>> {
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(form).into_owned().take(most + 1).collect();
    (pairs.len() <= most).then_some(pairs)
}

impl Parameters {
    /// Adds the fields of a form: of a query, or of a body that is written like one.
    pub(super) fn add_form(&mut self, form: &[u8]) -> Result<(), BadParameter> {
        form_urlencoded::parse(form).try_for_each(|(name, value)| self.add(&name, &value))
    }

    /// Adds a parameter that was not given yet.
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), BadParameter> {
        if value.len() > VALUE_LIMIT {
            return Err(BadParameter::new(name, format!("is longer than {VALUE_LIMIT} bytes")));
        }
        if self.0.len() == PARAMETERS_LIMIT {
            return Err(BadParameter::new(name, "is one parameter too many"));
        }
        match self.0.insert(name.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(BadParameter::new(name, "is given twice")),
        }
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a whole number out, between two bounds.
    pub(super) fn take_number(
        &mut self,
        name: &str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, BadParameter> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = whole_number(&text).filter(|number| bounds.contains(number));
        let why = || format!("is a whole number from {} to {}", bounds.start(), bounds.end());
        number.map(Some).ok_or_else(|| BadParameter::new(name, why()))
    }

    /// Takes a list joined by commas out, each item parsed.
    pub(super) fn take_list<T>(
        &mut self,
        name: &str,
        most: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, BadParameter> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let mut items = Vec::new();
        for (number, item) in text.split(',').map(str::trim).enumerate() {
            if number == most {
                return Err(BadParameter::new(name, format!("takes at most {most} values")));
            }
            // Which it is, and not what it says: that may be anything.
            let why = || format!("has a value that cannot be read, number {}", number + 1);
            items.push(parse(item).ok_or_else(|| BadParameter::new(name, why()))?);
        }
        Ok(Some(items))
    }

    /// All parameters but these as one text, which is the same for the same request.
    pub(super) fn text_without(&self, names: &[&str]) -> String {
        let others = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish()
    }

    /// Whether all parameters were taken; else one that nobody understands.
    pub(super) fn finish(self) -> Result<(), BadParameter> {
        match self.0.into_keys().next() {
            Some(name) => Err(BadParameter::new(name, "is not supported here")),
            None => Ok(()),
        }
    }
}

/// A whole number as its digits alone: Rust would read a plus sign before them too.
pub(super) fn whole_number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart() {
        let mut target = Target::parse("/crm/v2/Le%61ds?page=2&fields=A,B").unwrap();
        assert_eq!(target.segments, ["crm", "v2", "Leads"]);
        assert_eq!(target.parameters.take_number("page", 1..=10), Ok(Some(2)));
        let list = target.parameters.take_list("fields", 5, |item| Some(item.to_owned()));
        assert_eq!(list.unwrap().unwrap(), ["A", "B"]);
        assert_eq!(target.parameters.finish(), Ok(()));
    }

    #[test]
    fn the_same_request_has_the_same_text() {
        let text = |target: &str| Target::parse(target).unwrap().parameters.text_without(&["page"]);
        assert_eq!(text("/?b=2&page=7&a=1%262"), text("/?page=8&a=1%262&b=2"));
        assert_eq!(text("/?b=2&a=1%262"), "a=1%262&b=2");
        assert_ne!(text("/?a=1"), text("/?a=2"));
    }

    #[test]
    fn tricks_stay_in_their_segment() {
        let segments = |target: &str| Target::parse(target).unwrap().segments;
        assert_eq!(segments("/crm/v2/a%2F..%2Fb"), ["crm", "v2", "a/../b"]);
        assert_eq!(segments("/a+b//"), ["a+b", "", ""]);
        assert_eq!(segments("/a&b=c"), ["a"]);
    }

    #[test]
    fn what_cannot_be_accepted_is_named() {
        let check = |target: &str| Target::parse(target).map(|t| t.parameters.finish());
        assert_eq!(check("/?a=1&a=2").unwrap_err().name, "a");
        assert_eq!(
            check("/?x=1").unwrap().unwrap_err(),
            BadParameter::new("x", "is not supported here")
        );
        assert!(check(&format!("/?x={}", "y".repeat(10_000))).is_err());
        assert!(
            check(&format!("/?{}", (0..40).map(|n| format!("{n}=1&")).collect::<String>()))
                .is_err()
        );
        for bad in ["0", "11", "", "x", "-1", "1.0", "%2B5", " 5", "5e0"] {
            let mut target = Target::parse(&format!("/?page={bad}")).unwrap();
            assert!(target.parameters.take_number("page", 1..=10).is_err(), "{bad}");
        }
    }
}
