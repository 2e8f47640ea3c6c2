//! When documents are asked for: once a day, after everything else, and in nobody's way.

use super::*;
use crate::mirror::document;

const DAY: Duration = document::EVERY;

impl Talk {
    fn with_documents(self, documents: &[DocumentName]) -> Talk {
        let documents = documents.iter().map(|name| (name.clone(), None));
        let planner = Planner { documents: Documents::new(documents.collect()), ..self.planner };
        Talk { planner, ..self }
    }

    /// Lets time pass until then; the words of what was done and when.
    fn live(&mut self, span: Duration) -> Vec<(Duration, String)> {
        let mut done = Vec::new();
        let (begin, end) = (self.now, self.now.after(span));
        while self.now < end {
            let words = self.run();
            done.extend(words.into_iter().map(|word| (self.now.since(begin), word)));
            assert!(self.wait() >= SHORTEST_WAIT);
        }
        done
    }
}

fn documents(done: &[(Duration, String)]) -> Vec<(u64, &str)> {
    let read =
        |(at, word): &'_ (Duration, String)| (at.as_secs() / 3_600, word.starts_with("document"));
    done.iter().filter(|one| read(one).1).map(|one| (read(one).0, one.1.as_str())).collect()
}

#[test]
fn each_document_is_read_last_and_then_once_a_day() {
    let all = DocumentName::all(&[name("Leads")]);
    let mut talk = Talk::new(true, &["Leads"]).with_documents(&all);
    let words = [
        "document the list of the fields of Leads",
        "document the list of modules",
        "document the organisation",
        "document the current user",
    ];
    let first = talk.run();
    assert_eq!(first[..4], ["token", "show", "page Leads", "finish Leads"]);
    assert_eq!(first[4..], words);
    let done = talk.live(3 * DAY);
    let expected: Vec<_> =
        [24, 48].into_iter().flat_map(|at| words.map(|word| (at, word))).collect();
    assert_eq!(documents(&done), expected);
}

#[test]
fn one_that_was_read_yesterday_is_not_read_again_at_a_start() {
    let mut talk = Talk::new(false, &["Leads"]);
    let read = upstream(Tick::ORIGIN).before(DAY - HOUR);
    talk.planner.documents = Documents::new(vec![(DocumentName::Org, Some(read))]);
    assert_eq!(documents(&talk.live(DAY)), [(1, "document the organisation")]);
}

#[test]
fn nothing_is_read_before_upstreams_time_is_known() {
    let talk = Talk::new(false, &[]).with_documents(&[DocumentName::Org]);
    assert_eq!(talk.planner.document(talk.now, None), None);
    assert_eq!(talk.planner.document_wake(talk.now, None), None);
    assert!(talk.planner.document(talk.now, Some(upstream(talk.now))).is_some());
}

#[test]
fn one_that_fails_waits_longer_each_time_and_holds_up_nobody() {
    let failures = [
        Trouble::Failed { after: None, why: "odd".into() },
        Trouble::Denied { scope: Scope::Request, why: "by a proxy".into() },
    ];
    for trouble in failures {
        let all = [DocumentName::Modules, DocumentName::Org];
        let mut talk = Talk::new(false, &["Leads"]).with_documents(&all);
        talk.action();
        talk.answer(Outcome::Trouble(Trouble::Unreachable { why: "not yet".into() }));
        let mut tried = Vec::new();
        let end = talk.now.after(DAY);
        while talk.now < end {
            if talk.wait() > GATHERING {
                talk.arrive("Leads", 0..1);
            }
            while let Next::Do(action) = talk.next() {
                match &action {
                    Action::ReadDocument(DocumentName::Modules) => {
                        assert!(talk.planner.waiting().next(talk.now, 1, |_| true).is_none());
                        tried.push(talk.now);
                        talk.answer(Outcome::Trouble(trouble.clone()));
                    }
                    action => talk.answer_quietly(action),
                }
            }
        }
        assert!((25..=40).contains(&tried.len()), "{} times", tried.len());
        let pauses: Vec<_> = tried.windows(2).map(|two| two[1].since(two[0])).collect();
        assert!(pauses[0] >= Duration::from_secs(45) && pauses[pauses.len() - 1] <= HOUR);
        assert_eq!((talk.planner.trouble(), talk.planner.upstream()), (None, &Upstream::Online));
    }
}

#[test]
fn a_token_that_only_a_document_refuses_does_not_stop_the_records() {
    let mut talk = Talk::new(false, &["Leads"]).with_documents(&[DocumentName::Org]);
    let mut tokens = 0;
    let end = talk.now.after(HOUR);
    while talk.now < end {
        while let Next::Do(action) = talk.next() {
            tokens += u32::from(action == Action::RefreshToken);
            match &action {
                Action::ReadDocument(_) => talk.answer(refused()),
                action => talk.answer_quietly(action),
            }
        }
        talk.wait();
    }
    assert!(tokens <= 8, "{tokens} tokens in an hour");
    talk.arrive("Leads", 0..1);
    assert!(talk.run().contains(&"fetch Leads 1".to_owned()));
}

#[test]
fn a_sweep_that_waits_for_credits_does_not_hold_up_documents() {
    let mut talk = Talk::new(false, &["Deals"]).with_documents(&[DocumentName::Org]);
    talk.credits = Credits::new(100, Spending::default());
    talk.credits.spend(70, Some(upstream(talk.now)));
    let all = Input::SyncAsked { module: None, kind: ScanKind::Sweep };
    talk.planner.hear(all, talk.now);
    assert_eq!(talk.run(), ["token", "document the organisation"]);
    assert_eq!(talk.planner.starved(), Some(Purpose::Sweep));
    talk.credits.spend(10, Some(upstream(talk.now)));
    talk.now = talk.now.after(DAY);
    talk.credits.spend(80, Some(upstream(talk.now)));
    assert_eq!(talk.run(), ["token"; 0], "four fifths are spent: documents wait too");
}

#[test]
fn fields_that_the_module_itself_needs_are_read_once() {
    let fields = DocumentName::Fields(name("Leads"));
    let mut talk = Talk::new(false, &["Leads"]).with_documents(&[fields]);
    talk.of_module(|plan| plan.fields_known = false);
    let done = talk.run();
    assert_eq!(done[..2], ["token", "fields Leads"]);
    assert_eq!(documents(&talk.live(DAY - HOUR)), []);
    assert_eq!(documents(&talk.live(2 * HOUR)).len(), 1);

    let mut talk = Talk::new(false, &["Leads"]);
    talk = talk.with_documents(&[DocumentName::Fields(name("Leads"))]);
    talk.of_module(|plan| plan.fields_known = false);
    let token = talk.action();
    talk.answer_quietly(&token);
    assert_eq!(word(&talk.action()), "fields Leads");
    talk.answer(denied(Scope::Module));
    assert!(talk.wait() >= Duration::from_secs(1), "their absence is no reason to spin");
}
