//! From the text of criteria to an expression: one pass, as deep as the brackets and no deeper.
//!
//! What cannot be understood is refused with its place. Nothing is guessed: a comma or bracket that
//! stands bare in a value is more often a forgotten escape than a wish.

use std::ops::Bound;

use super::compare::{Folded, Test, Values};
use super::measure::Measure;
use super::{CONDITION_LIMIT, DEPTH_LIMIT, TEXT_LIMIT, VALUE_LIMIT};
use super::{Criteria, CriteriaError, Expression, FieldName};

/// Reads a whole text.
pub(super) fn criteria(text: &str) -> Result<Criteria, CriteriaError> {
    if text.len() > TEXT_LIMIT {
        let message = format!("criteria are longer than {TEXT_LIMIT} bytes; split the search");
        return Err(CriteriaError::new(text, TEXT_LIMIT, message));
    }
    let mut parser = Parser { text, at: 0, depth: 0, conditions: 0, fields: Vec::new() };
    let expression = parser.any()?;
    match parser.rest().chars().next() {
        None => Ok(Criteria { fields: parser.fields, expression }),
        Some(')') => Err(parser.refuse("this bracket closes nothing; in a value write \\)")),
        Some(_) => Err(parser.refuse("expected 'and' or 'or'")),
    }
}

struct Parser<'t> {
    text: &'t str,
    /// How far the text has been read, in bytes.
    at: usize,
    /// How many brackets are open.
    depth: usize,
    conditions: usize,
    fields: Vec<FieldName>,
}

/// A value of a condition and where it starts.
struct Value {
    at: usize,
    text: String,
}

impl<'t> Parser<'t> {
    /// Parts with `or` between them.
    fn any(&mut self) -> Result<Expression, CriteriaError> {
        let first = self.all()?;
        if !self.eat_word("or") {
            return Ok(first);
        }
        let mut parts = vec![first, self.all()?];
        while self.eat_word("or") {
            parts.push(self.all()?);
        }
        Ok(Expression::Any(parts))
    }

    /// Parts with `and` between them.
    fn all(&mut self) -> Result<Expression, CriteriaError> {
        let first = self.part()?;
        if !self.eat_word("and") {
            return Ok(first);
        }
        let mut parts = vec![first, self.part()?];
        while self.eat_word("and") {
            parts.push(self.part()?);
        }
        Ok(Expression::All(parts))
    }

    /// An expression in brackets, or a condition.
    fn part(&mut self) -> Result<Expression, CriteriaError> {
        self.skip_blanks();
        if !self.eat('(') {
            return self.condition();
        }
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(self.refuse(format!("brackets are nested deeper than {DEPTH_LIMIT}")));
        }
        let inner = self.any()?;
        if !self.eat(')') {
            return Err(self.refuse("expected 'and', 'or' or ')'"));
        }
        self.depth -= 1;
        self.skip_blanks();
        Ok(inner)
    }

    /// `Field:operator:value`, up to the bracket that closes it or the end of the text.
    fn condition(&mut self) -> Result<Expression, CriteriaError> {
        self.conditions += 1;
        if self.conditions > CONDITION_LIMIT {
            return Err(self.refuse(format!("more than {CONDITION_LIMIT} conditions")));
        }
        let field_at = self.at;
        let name = self.name()?;
        let field = FieldName::parse(name)
            .map_err(|error| CriteriaError::new(self.text, field_at, error.to_string()))?;
        self.skip_blanks();
        let operator_at = self.at;
        let name = self.name()?;
        let operator = Operator::parse(name)
            .ok_or_else(|| CriteriaError::new(self.text, operator_at, Operator::unknown(name)))?;
        let values = self.values()?;
        let test = self.test(operator, values)?;
        Ok(Expression::One { field: self.place(field), test })
    }

    /// A name and the colon behind it.
    fn name(&mut self) -> Result<&'t str, CriteriaError> {
        let rest = self.rest();
        match rest.find([':', '(', ')', ',']) {
            Some(end) if rest[end..].starts_with(':') => {
                self.at += end + 1;
                Ok(rest[..end].trim())
            }
            Some(_) | None => Err(self.refuse("expected a condition: (Field:operator:value)")),
        }
    }

    /// Values with commas between them, their escapes resolved: `\` before a bracket, a comma or
    /// another `\` takes it as it is; before anything else it stands for itself.
    fn values(&mut self) -> Result<Vec<Value>, CriteriaError> {
        let mut values = vec![Value { at: self.at, text: String::new() }];
        while let Some(next) = self.rest().chars().next() {
            let escaped = self.rest()[next.len_utf8()..].chars().next();
            let value = values.last_mut().expect("there is a value from the start");
            match (next, escaped) {
                ('\\', Some(special @ ('(' | ')' | ',' | '\\'))) => {
                    value.text.push(special);
                    self.at += 1;
                }
                (')', _) => break,
                ('(', _) => return Err(self.refuse("a bracket in a value is written \\(")),
                (',', _) => values.push(Value { at: self.at + 1, text: String::new() }),
                (other, _) => value.text.push(other),
            }
            self.at += next.len_utf8();
        }
        if values.len() > VALUE_LIMIT {
            return Err(self.refuse(format!("more than {VALUE_LIMIT} values; use several 'in'")));
        }
        for value in &mut values {
            value.text = value.text.trim().to_owned();
            if value.text.is_empty() {
                let message = "no value; an empty field is written null";
                return Err(CriteriaError::new(self.text, value.at, message));
            }
        }
        Ok(values)
    }

    fn test(&self, operator: Operator, values: Vec<Value>) -> Result<Test, CriteriaError> {
        use Bound::{Excluded, Included, Unbounded};
        let within = |low, high| Ok(Test::Within(low, high));
        match operator {
            Operator::In => Ok(Test::OneOf(Values::new(values.into_iter().map(|v| v.text)))),
            Operator::Between => {
                let [low, high] = <[Value; 2]>::try_from(values).map_err(|values| {
                    let message = "'between' takes two values: (Amount:between:10,20)";
                    CriteriaError::new(self.text, values[0].at, message)
                })?;
                let (from, to) = (self.measure(&low)?, self.measure(&high)?);
                if from.partial_cmp(&to).is_none() {
                    let message = "'between' takes two numbers or two dates";
                    return Err(CriteriaError::new(self.text, high.at, message));
                }
                within(Included(from), Included(to))
            }
            Operator::Equals => self.only(values).map(|v| Test::OneOf(Values::new([v.text]))),
            Operator::NotEqual => self.only(values).map(|v| Test::NoneOf(Values::new([v.text]))),
            Operator::StartsWith => {
                self.only(values).map(|v| Test::StartsWith(Folded::new(&v.text)))
            }
            Operator::Contains => self.only(values).map(|v| Test::Contains(Folded::new(&v.text))),
            Operator::GreaterThan => within(Excluded(self.bound(values)?), Unbounded),
            Operator::GreaterEqual => within(Included(self.bound(values)?), Unbounded),
            Operator::LessThan => within(Unbounded, Excluded(self.bound(values)?)),
            Operator::LessEqual => within(Unbounded, Included(self.bound(values)?)),
        }
    }

    fn bound(&self, values: Vec<Value>) -> Result<Measure<'static>, CriteriaError> {
        self.measure(&self.only(values)?)
    }

    fn only(&self, values: Vec<Value>) -> Result<Value, CriteriaError> {
        let [value] = <[Value; 1]>::try_from(values).map_err(|values| {
            CriteriaError::new(self.text, values[1].at - 1, "a comma in a value is written \\,")
        })?;
        Ok(value)
    }

    fn measure(&self, value: &Value) -> Result<Measure<'static>, CriteriaError> {
        Measure::parse(&value.text).map(Measure::into_owned).ok_or_else(|| {
            let message = format!(
                "'{}' has no order; give a number, a date like 2026-01-31 or a time like \
                 2026-01-31T10:00:00+05:30 (in an address + is written %2B)",
                shortened(&value.text)
            );
            CriteriaError::new(self.text, value.at, message)
        })
    }

    fn place(&mut self, field: FieldName) -> usize {
        self.fields.iter().position(|known| *known == field).unwrap_or_else(|| {
            self.fields.push(field);
            self.fields.len() - 1
        })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    /// Takes the word, in any case, when it stands here as a whole.
    fn eat_word(&mut self, word: &str) -> bool {
        let Some((found, behind)) = self.rest().split_at_checked(word.len()) else {
            return false;
        };
        let goes_on = behind.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        let eaten = found.eq_ignore_ascii_case(word) && !goes_on;
        self.at += if eaten { word.len() } else { 0 };
        eaten
    }

    fn refuse(&self, message: impl Into<String>) -> CriteriaError {
        CriteriaError::new(self.text, self.at, message)
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Equals,
    NotEqual,
    In,
    StartsWith,
    Contains,
    GreaterThan,
    GreaterEqual,
    LessThan,
    LessEqual,
    Between,
}

impl Operator {
    /// All but `contains` are upstream's. It documents no `ends_with` and no `not_contains`.
    const NAMES: [(&str, Operator); 10] = [
        ("equals", Operator::Equals),
        ("not_equal", Operator::NotEqual),
        ("in", Operator::In),
        ("starts_with", Operator::StartsWith),
        ("contains", Operator::Contains),
        ("greater_than", Operator::GreaterThan),
        ("greater_equal", Operator::GreaterEqual),
        ("less_than", Operator::LessThan),
        ("less_equal", Operator::LessEqual),
        ("between", Operator::Between),
    ];

    fn parse(name: &str) -> Option<Operator> {
        let (_, operator) =
            Operator::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(*operator)
    }

    fn unknown(name: &str) -> String {
        let known: Vec<&str> = Operator::NAMES.iter().map(|(known, _)| *known).collect();
        format!("no operator '{}'; use one of {}", shortened(name), known.join(", "))
    }
}

/// The start of a text that a stranger wrote, fit for one line of a message.
fn shortened(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    start.escape_debug().to_string()
}
