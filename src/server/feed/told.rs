//! How changes are told: as a document, as lines of JSON, or as server-sent events. Pure.

use std::fmt::Write as _;

use crate::mirror::record::ChangeKind;
use crate::store::Change;

/// Bytes after which an answer is full, whatever the reader's limit: records can be long, and
/// many read at once.
pub(super) const BYTES_LIMIT: usize = 1 << 20;

/// How long a browser waits before it connects again, in milliseconds: a restart takes that long.
const RETRY: u32 = 2_000;

/// How a reader is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// One JSON document.
    Document,
    /// A stream of JSON objects, one in each line.
    Lines,
    /// A stream of server-sent events.
    Events,
}

impl Form {
    /// The first of ours that `Accept` names; a document when it names none.
    pub(super) fn accepted(accept: &str) -> Form {
        let named = accept.split(',').find_map(|range| {
            let media_type = range.split(';').next().unwrap_or_default().trim();
            let forms = [Form::Document, Form::Lines, Form::Events];
            forms.into_iter().find(|form| media_type.eq_ignore_ascii_case(form.media_type()))
        });
        named.unwrap_or(Form::Document)
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Form::Document => "application/json",
            Form::Lines => "application/x-ndjson",
            Form::Events => "text/event-stream",
        }
    }
}

/// What is told in one answer.
pub(super) struct Page {
    form: Form,
    text: String,
    count: usize,
    since: u64,
    last: u64,
}

impl Page {
    /// Nothing yet, after this sequence.
    pub(super) fn new(form: Form, since: u64) -> Page {
        Page { form, text: String::new(), count: 0, since, last: since }
    }

    /// Through which sequence this is all there is.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// How many changes are told.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether no change is told.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether nothing more fits in.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= BYTES_LIMIT
    }

    /// Tells of a change, with its record when there is one.
    pub(super) fn push(&mut self, change: &Change, record: Option<&str>) {
        let json = to_json(change, record);
        let comma = if self.count > 0 { "," } else { "" };
        let _ = match self.form {
            Form::Document => write!(self.text, "{comma}{json}"),
            Form::Lines => writeln!(self.text, "{json}"),
            Form::Events => {
                let sequence = change.sequence;
                write!(self.text, "id: {sequence}\nevent: change\ndata: {json}\n\n")
            }
        };
        self.count += 1;
        self.pass_over(change);
    }

    /// Leaves out a change that is not wanted.
    pub(super) fn pass_over(&mut self, change: &Change) {
        self.last = change.sequence;
    }

    /// There is nothing more up to this sequence.
    pub(super) fn reach(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// All of it as a document.
    pub(super) fn document(&self) -> String {
        format!("{{\"changes\":[{}],\"last_sequence\":{}}}", self.text, self.last)
    }

    /// The beginning of a stream. A browser that loses it before the first change goes on from the
    /// id.
    pub(super) fn first_piece(self) -> String {
        match self.form {
            Form::Document | Form::Lines => self.text,
            Form::Events => format!("retry: {RETRY}\nid: {}\n\n{}", self.since, self.text),
        }
    }

    /// A piece of a stream.
    pub(super) fn into_piece(self) -> String {
        self.text
    }

    /// What a stream says that has nothing to tell: how far was looked, so that who connects again
    /// goes on from there. An event without data is none, but a browser keeps its id.
    pub(super) fn sign_of_life(&self) -> String {
        match self.form {
            Form::Document => self.document(),
            Form::Lines => format!("{{\"last_sequence\":{}}}\n", self.last),
            Form::Events => format!(": nothing new\nid: {}\n\n", self.last),
        }
    }
}

/// A change as `/changes` has it, in one line; with its record verbatim, when there is one.
pub fn to_json(change: &Change, record: Option<&str>) -> String {
    let kind = match change.kind {
        ChangeKind::Upsert => "upsert",
        ChangeKind::Delete => "delete",
    };
    let Change { sequence, module, id, time, .. } = change;
    let mut json = format!(
        "{{\"sequence\":{sequence},\"module\":\"{module}\",\"id\":\"{id}\",\"kind\":\"{kind}\",\
         \"time\":\"{time}\""
    );
    if let Some(record) = record {
        json.push_str(",\"record\":");
        // Between the words of a JSON text a blank is as good as the end of a line; within them
        // there is none.
        json.extend(record.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::record::{ModuleName, RecordId};
    use crate::mirror::time::UpstreamTime;

    fn change(sequence: u64, kind: ChangeKind) -> Change {
        let module = ModuleName::parse("Leads").unwrap();
        let time = UpstreamTime::from_unix(1_750_000_000);
        Change { sequence, module, id: RecordId::new(u64::MAX), kind, time }
    }

    fn page(form: Form) -> Page {
        let mut page = Page::new(form, 3);
        page.pass_over(&change(4, ChangeKind::Upsert));
        page.push(&change(5, ChangeKind::Upsert), Some("{\"a\": 1.50,\r\n\"b\":\"\\n\"}"));
        page.push(&change(6, ChangeKind::Delete), None);
        page.reach(9);
        page
    }

    const UPSERT: &str = "{\"sequence\":5,\"module\":\"Leads\",\"id\":\"18446744073709551615\",\
        \"kind\":\"upsert\",\"time\":\"2025-06-15T15:06:40+00:00\",\
        \"record\":{\"a\": 1.50,  \"b\":\"\\n\"}}";
    const DELETE: &str = "{\"sequence\":6,\"module\":\"Leads\",\"id\":\"18446744073709551615\",\
        \"kind\":\"delete\",\"time\":\"2025-06-15T15:06:40+00:00\"}";

    #[test]
    fn each_form_tells_the_same() {
        let document = format!("{{\"changes\":[{UPSERT},{DELETE}],\"last_sequence\":9}}");
        assert_eq!(page(Form::Document).document(), document);
        assert!(serde_json::from_str::<serde_json::Value>(&document).is_ok());
        assert_eq!(page(Form::Lines).into_piece(), format!("{UPSERT}\n{DELETE}\n"));
        let events = format!(
            "id: 5\nevent: change\ndata: {UPSERT}\n\nid: 6\nevent: change\ndata: {DELETE}\n\n"
        );
        assert_eq!(page(Form::Events).first_piece(), format!("retry: 2000\nid: 3\n\n{events}"));
        assert_eq!(page(Form::Events).into_piece(), events);
        assert_eq!(page(Form::Events).sign_of_life(), ": nothing new\nid: 9\n\n");
        assert_eq!(page(Form::Lines).sign_of_life(), "{\"last_sequence\":9}\n");
    }

    #[test]
    fn the_first_form_that_is_accepted_is_taken() {
        let check = |accept: &str, form: Form| assert_eq!(Form::accepted(accept), form, "{accept}");
        check("", Form::Document);
        check("*/*", Form::Document);
        check("text/html, application/json;q=0.9, text/event-stream", Form::Document);
        check("Text/Event-Stream", Form::Events);
        check("text/html,application/x-ndjson ; q=1", Form::Lines);
    }
}
