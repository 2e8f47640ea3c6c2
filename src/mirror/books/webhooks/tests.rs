//! What is done about webhooks, step by step.

use super::*;
use crate::mirror::trouble::Scope;

const URL: &str = "https://kiosk.example/books/invoice/91c2";

fn declared() -> Declared {
    Declared {
        name: "kiosk".into(),
        entity: Entity::parse("invoice").unwrap(),
        url: URL.into(),
        is_signed: true,
    }
}

fn row(id: u64, name: &str, url: &str) -> Row {
    let (name, url) = (name.to_owned(), url.to_owned());
    let id = RecordId::new(id);
    Row { id, name, url, entity: "Invoice".into(), method: None, is_active: Some(true) }
}

fn known(id: u64) -> Before {
    Before { id: Some(RecordId::new(id)), is_secret_known: true }
}

#[test]
fn a_webhook_is_ours_by_its_id_or_by_name_and_address() {
    let check = |before: Before, row: Row, shown: Shown| {
        assert_eq!(declared().compare(before, std::slice::from_ref(&row)), shown, "{row:?}");
    };
    let id = RecordId::new(7);
    check(known(7), row(7, "kiosk", URL), Shown::Matches(id));
    check(known(9), row(7, "kiosk", URL), Shown::Matches(id));
    check(known(7), row(7, "renamed", URL), Shown::Differs(id, "its name is another"));
    check(known(7), row(7, "kiosk", "https://b.example/"), {
        Shown::Differs(id, "its address is another")
    });
    let bill = Row { entity: "bill".into(), ..row(7, "kiosk", URL) };
    check(known(7), bill, Shown::Differs(id, "its entity is another"));
    let put = Row { method: Some("PUT".into()), ..row(7, "kiosk", URL) };
    check(known(7), put, Shown::Differs(id, "its method is another"));
    let unsure = Before { is_secret_known: false, ..known(7) };
    check(unsure, row(7, "kiosk", URL), Shown::Differs(id, "its secret may be another"));
    let unsigned = Declared { is_signed: false, ..declared() };
    assert_eq!(unsigned.compare(unsure, &[row(7, "kiosk", URL)]), Shown::Matches(id));
    // Another device's, and another's of the same address.
    check(Before::default(), row(7, "kiosk", "https://kiosk-8.example/"), Shown::Absent);
    check(Before::default(), row(7, "kiosk-8", URL), Shown::Absent);
}

/// A plan of two webhooks, and what is asked of it.
struct Story {
    plan: WebhooksPlan,
    now: Tick,
    dice: fastrand::Rng,
}

impl Story {
    fn new() -> Story {
        let plan = WebhooksPlan::new(["a", "b"].map(str::to_owned));
        Story { plan, now: Tick::ORIGIN, dice: fastrand::Rng::with_seed(7) }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn next(&self) -> Option<WebhookAction> {
        self.plan.next(self.now)
    }

    fn back(&self) -> Option<WebhookAction> {
        self.plan.look_back(self.now)
    }

    fn brings(&mut self, outcome: WebhookOutcome) {
        let action = self.next().or_else(|| self.back()).expect("something is to be done");
        self.plan.learn(&action, outcome, self.now);
    }

    fn fails(&mut self, trouble: &Trouble) {
        let action = self.next().or_else(|| self.back()).expect("something is to be done");
        self.plan.learn_trouble(&action, trouble, self.now, &mut self.dice);
    }

    fn words(&self) -> Vec<&str> {
        self.plan.standings().values().map(|standing| standing.word()).collect()
    }
}

fn shown(a: Shown, b: Shown) -> WebhookOutcome {
    WebhookOutcome::Shown(vec![("a".into(), a), ("b".into(), b)])
}

fn denied() -> Trouble {
    Trouble::Denied { scope: Scope::Request, why: "status 400".into() }
}

#[test]
fn they_are_brought_to_what_is_declared_and_looked_at_once_a_day() {
    let mut story = Story::new();
    let id = RecordId::new(4);
    assert_eq!((story.next(), story.back()), (Some(WebhookAction::Look), None));
    story.brings(shown(Shown::Absent, Shown::Differs(id, "how")));
    assert_eq!(story.words(), ["pending", "pending"]);
    assert_eq!(story.next(), Some(WebhookAction::Create("a".into())));
    story.brings(WebhookOutcome::Settled);
    assert_eq!(story.next(), Some(WebhookAction::Update("b".into(), id)));
    story.brings(WebhookOutcome::Settled);
    assert_eq!((story.next(), story.words()), (None, vec!["ready", "ready"]));
    story.brings(WebhookOutcome::Failed(Vec::new()));
    assert_eq!((story.next(), story.back()), (None, None));
    assert_eq!(story.plan.wake(), story.now.after(LOOKS_BACK_EVERY));
    story.pass(24 * 3_600);
    assert_eq!(story.next(), Some(WebhookAction::Look));
}

#[test]
fn one_that_is_denied_does_not_hold_up_the_others() {
    let mut story = Story::new();
    story.brings(shown(Shown::Absent, Shown::Absent));
    story.fails(&denied());
    assert_eq!(story.next(), Some(WebhookAction::Create("b".into())));
    story.brings(WebhookOutcome::Settled);
    assert_eq!(story.words(), ["denied", "ready"]);
    assert_eq!(story.plan.trouble(), Some("Books: status 400"));
    assert_eq!(story.next(), None);
    story.pass(3_600);
    assert_eq!(story.next(), Some(WebhookAction::Look));
    let ready = || Shown::Matches(RecordId::new(4));
    story.brings(shown(ready(), ready()));
    assert_eq!((story.plan.trouble(), story.words()), (None, vec!["ready", "ready"]));
}

#[test]
fn trouble_pauses_and_everything_is_looked_at_anew() {
    let mut story = Story::new();
    let broken = Trouble::Unreachable { why: "no route".into() };
    for _ in 0..20 {
        story.fails(&broken);
        assert_eq!((story.next(), story.back()), (None, None));
        let pause = story.plan.wake().since(story.now);
        assert!(pause >= PAUSES.first && pause <= PAUSES.longest, "{pause:?}");
        story.now = story.plan.wake();
    }
    story.brings(shown(Shown::Absent, Shown::Absent));
    story.fails(&broken);
    assert_eq!(story.next(), None);
    story.pass(3_600);
    assert_eq!(story.next(), Some(WebhookAction::Look), "it may have taken effect");
}

#[test]
fn what_failed_is_asked_for_batch_by_batch_until_nothing_is_left() {
    let mut story = Story::new();
    let ready = || Shown::Matches(RecordId::new(4));
    story.brings(shown(ready(), ready()));
    assert_eq!(story.back(), Some(WebhookAction::LookBack), "at the start");
    let batches = [vec![RecordId::new(1)], vec![RecordId::new(2)]];
    story.brings(WebhookOutcome::Failed(batches.to_vec()));
    assert_eq!(story.back(), Some(WebhookAction::Resend(batches[0].clone())));
    story.brings(WebhookOutcome::Resent);
    assert_eq!(story.back(), Some(WebhookAction::Resend(batches[1].clone())));
    story.fails(&denied());
    assert_eq!(story.back(), Some(WebhookAction::LookBack), "more may be there");
    story.brings(WebhookOutcome::Failed(Vec::new()));
    // A reason to look comes at once, the look itself no sooner than it may.
    story.pass(60);
    story.plan.missed(story.now);
    assert_eq!(story.back(), None);
    story.pass(14 * 60);
    assert_eq!(story.back(), Some(WebhookAction::LookBack));
    story.fails(&Trouble::Failed { after: None, why: "status 500".into() });
    assert_eq!((story.back(), story.plan.trouble()), (None, Some("Books: status 500")));
    story.now = story.plan.wake();
    assert_eq!(story.back(), Some(WebhookAction::LookBack));
    story.brings(WebhookOutcome::Failed(Vec::new()));
    assert_eq!(story.plan.trouble(), None);
}
