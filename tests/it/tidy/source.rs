//! The source as the rules see it: each file with its code, its comments and its texts told apart.
//!
//! This is no parser of Rust. It knows where comments, texts and characters begin and end, so that
//! a rule about code is not broken by a word in a comment.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// One file.
pub(crate) struct Source {
    /// Its path from the top of the repository.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// The same, with comments and the insides of texts blanked out, byte for byte.
    pub(crate) code: String,
    /// The same, with everything but comments blanked out.
    pub(crate) comments: String,
    /// Its texts.
    pub(crate) texts: Vec<Text>,
}

/// A text in quotes.
pub(crate) struct Text {
    /// What lies between its quotes.
    pub(crate) place: Range<usize>,
    /// What it says; escapes other than of quotes and line ends are left as they are written.
    pub(crate) says: String,
    /// Whether it is a raw one, whose lines cannot be broken.
    raw: bool,
}

/// The files below `directory` whose names end in `.rs`, in the order of their paths.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    let mut directories = vec![top.join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.strip_prefix(top).unwrap().to_str().unwrap();
        Source::new(name, fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Source {
        let mut source = Source {
            path: path.to_owned(),
            code: String::new(),
            comments: String::new(),
            texts: Vec::new(),
            text,
        };
        let mut code = source.text.clone().into_bytes();
        let mut comments = code.clone();
        let mut at = 0;
        let mut last = 0;
        while at < code.len() {
            let (kind, end) = piece(&source.text, at);
            match kind {
                Kind::Code => {}
                Kind::Comment => {
                    blank(&mut code[at..end]);
                    blank(&mut comments[last..at]);
                    last = end;
                }
                Kind::Character => blank(&mut code[at + 1..end - 1]),
                Kind::Text { raw } => {
                    let literal = &source.text[at..end];
                    let marks = literal.bytes().rev().take_while(|byte| *byte == b'#').count();
                    let start = at + literal.find('"').unwrap() + 1;
                    let place = start..end - 1 - marks;
                    blank(&mut code[place.clone()]);
                    let says = meaning(&source.text[place.clone()], raw);
                    source.texts.push(Text { place, says, raw });
                }
            }
            at = end;
        }
        blank(&mut comments[last..]);
        source.code = String::from_utf8(code).unwrap();
        source.comments = String::from_utf8(comments).unwrap();
        source
    }

    /// The number of the line that holds this byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// `path:line`, as editors and terminals understand it.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.line(at))
    }

    /// Whether all of it is for tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs")
    }

    /// Where the tests begin that stand at the end of a file of the program.
    pub(crate) fn tests_at(&self) -> Option<usize> {
        let mut from = 0;
        while let Some(found) = self.code[from..].find("#[cfg(test)]") {
            let at = from + found;
            match self.code[at..].find(['{', ';']) {
                Some(end) if self.code.as_bytes()[at + end] == b'{' => return Some(at),
                Some(_) | None => from = at + 1,
            }
        }
        None
    }

    /// The code that is not for tests.
    pub(crate) fn program(&self) -> &str {
        if self.is_test() {
            return "";
        }
        &self.code[..self.tests_at().unwrap_or(self.code.len())]
    }

    /// The lines that are longer than this, counted in characters. What a raw text says is left
    /// out: it is data, and there is no way to break its lines.
    pub(crate) fn lines_longer_than(&self, limit: usize) -> Vec<usize> {
        let mut start = 0;
        let mut long = Vec::new();
        for line in self.text.split_inclusive('\n') {
            let end = start + line.len();
            let raw: usize = self
                .texts
                .iter()
                .filter(|text| text.raw)
                .map(|text| text.place.start.max(start)..text.place.end.min(end))
                .filter(|shared| shared.start < shared.end)
                .map(|shared| self.text[shared].chars().count())
                .sum();
            if line.trim_end_matches('\n').chars().count().saturating_sub(raw) > limit {
                long.push(start);
            }
            start = end;
        }
        long
    }
}

/// The words of some code, each with its place: names, keywords and numbers.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut end = 0;
    std::iter::from_fn(move || {
        let start = end + code[end..].find(is_part)?;
        let length = code[start..].find(|letter| !is_part(letter));
        end = length.map_or(code.len(), |length| start + length);
        Some((start, &code[start..end]))
    })
}

/// The paths `first::second` that some code names by a first segment of this name. A path into a
/// module of our own that has the same name is none of them.
pub(crate) fn paths<'a>(
    code: &'a str,
    first: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
    let named = words(code).filter(move |(at, word)| {
        *word == first && !code[..*at].ends_with("::") && !code[..*at].ends_with('.')
    });
    named.filter_map(move |(at, word)| {
        let rest = code[at + word.len()..].strip_prefix("::")?;
        Some((at, words(rest).next().filter(|(at, _)| *at == 0).map_or("", |(_, second)| second)))
    })
}

enum Kind {
    Code,
    Comment,
    Character,
    Text { raw: bool },
}

/// What begins at this byte, and where it ends.
fn piece(text: &str, at: usize) -> (Kind, usize) {
    let rest = &text[at..];
    let follows_name =
        text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let plain = || (Kind::Code, at + rest.chars().next().map_or(1, char::len_utf8));
    if rest.starts_with("//") {
        return (Kind::Comment, at + rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, at + rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(body) =
        rest.strip_prefix('r').filter(|_| !follows_name || text[..at].ends_with('b'))
    {
        let marks = body.bytes().take_while(|byte| *byte == b'#').count();
        if body[marks..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(marks));
            let start = 1 + marks + 1;
            let end = rest[start..].find(&close).map(|end| start + end + close.len());
            return (Kind::Text { raw: true }, at + end.unwrap_or(rest.len()));
        }
        return plain();
    }
    match rest.as_bytes()[0] {
        b'"' => (Kind::Text { raw: false }, at + closing(rest, '"')),
        b'\'' => {
            let mut letters = rest[1..].chars();
            let (first, second) = (letters.next(), letters.next());
            // What else begins so is a lifetime.
            match (first, second) {
                (Some('\\'), _) | (Some(_), Some('\'')) => {
                    (Kind::Character, at + closing(rest, '\''))
                }
                _ => plain(),
            }
        }
        _ => plain(),
    }
}

/// The length of what begins with this mark and ends with the next that is not escaped.
fn closing(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == mark => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn meaning(inside: &str, raw: bool) -> String {
    if raw {
        return inside.to_owned();
    }
    let mut says = String::new();
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        says.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(next) = rest.strip_prefix('\n') {
            rest = next.trim_start();
        } else if let Some(quoted) = rest.chars().next() {
            if !matches!(quoted, '"' | '\\') {
                says.push('\\');
            }
            says.push(quoted);
            rest = &rest[quoted.len_utf8()..];
        }
    }
    says + rest
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

#[test]
fn code_comments_and_texts_are_told_apart() {
    let text = concat!(
        "//! top\nfn a<'x>(c: char) -> &'x str { // \"no text\"\n",
        "    let t = \"no // comment \\\" \\\n     more\"; let r = br#\"a\"b\"#;\n",
        "    if c == '\"' || c == '\\'' || c == 'é' { b::c::d() } else { self.b::<C>() }\n}\n",
        "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { b::z }\n",
    );
    let source = Source::new("src/a.rs", text.to_owned());
    assert_eq!(source.code.len(), text.len());
    let says: Vec<&str> = source.texts.iter().map(|text| text.says.as_str()).collect();
    assert_eq!(says, ["no // comment \" more", "a\"b"]);
    assert_eq!(source.comments.split_whitespace().collect::<Vec<_>>().join(" "), {
        "//! top // \"no text\""
    });
    assert!(source.program().ends_with("mod tests;\n"));
    let found: Vec<&str> = paths(&source.code, "b").map(|(_, second)| second).collect();
    assert_eq!(found, ["c", "z"]);
    assert_eq!(source.lines_longer_than(75), [source.text.find("    if").unwrap()]);
}
