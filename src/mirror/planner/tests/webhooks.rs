//! When something is done about webhooks, among everything else.

use super::books::{Both, MINUTE};
use super::*;
use crate::mirror::books::webhooks::{
    Shown as WebhookShown, WebhookAction, WebhookOutcome, WebhooksPlan,
};

/// What an upstream answers that has all webhooks, and no failed executions.
pub(super) fn quiet(action: &WebhookAction) -> WebhookOutcome {
    match action {
        WebhookAction::Look => {
            WebhookOutcome::Shown(vec![("a".into(), WebhookShown::Matches(RecordId::new(4)))])
        }
        WebhookAction::Create(_) | WebhookAction::Update(..) => WebhookOutcome::Settled,
        WebhookAction::LookBack => WebhookOutcome::Failed(Vec::new()),
        WebhookAction::Resend(_) => WebhookOutcome::Resent,
    }
}

pub(super) fn word(action: &WebhookAction) -> String {
    match action {
        WebhookAction::Look => "webhooks".into(),
        WebhookAction::Create(name) => format!("create {name}"),
        WebhookAction::Update(name, _) => format!("update {name}"),
        WebhookAction::LookBack => "histories".into(),
        WebhookAction::Resend(batch) => format!("resend {}", batch.len()),
    }
}

/// A planner of CRM's module and of one entity of Books, which a webhook announces.
fn both() -> Both {
    let mut both = Both::of(Talk::new(true, &["Leads"]), 10_000);
    let plan = WebhooksPlan::new(["a".to_owned()]);
    both.talk.planner.webhooks = Some(plan);
    both
}

/// Does all that is to be done at first.
fn run(both: &mut Both) -> Vec<String> {
    both.live(MINUTE, |_| None)
}

#[test]
fn they_are_had_first_and_what_they_missed_is_looked_for_behind_the_scans() {
    let mut both = both();
    let done = run(&mut both);
    let place = |word: &str| done.iter().position(|done| done == word).expect(word);
    assert!(place("webhooks") < place("books invoice"), "{done:?}");
    assert_eq!(place("histories"), done.len() - 1, "{done:?}");
    let done = both.live(49 * HOUR, |_| None);
    let times = |word: &str| done.iter().filter(|done| *done == word).count();
    assert_eq!(times("webhooks"), 2, "once a day");
    assert_eq!(times("histories"), 8, "every six hours");
}

#[test]
fn a_look_at_what_they_missed_waits_for_so_many_calls_and_no_longer() {
    let mut both = both();
    run(&mut both);
    both.live(HOUR / 2, |_| None);
    // A bootstrap of hours: there is always another to be fetched.
    both.talk.arrive("invoices", 1_000..5_000);
    both.talk.planner.hear(Input::TurnedAway, both.talk.now);
    let done = both.live(HOUR / 4, |_| None);
    let looks: Vec<usize> = (0..done.len()).filter(|at| done[*at] == "histories").collect();
    assert_eq!(looks.len(), 1, "once, with nothing found");
    let fetched = |done: &[String]| done.iter().filter(|word| word.starts_with("fetch i")).count();
    let before = fetched(&done[..looks[0]]);
    assert!((600..900).contains(&before), "{before} of {}", fetched(&done));
}

#[test]
fn a_look_that_is_due_waits_for_calls_to_be_allowed() {
    let mut both = Both::of(Talk::new(true, &["Leads"]), 50);
    both.talk.planner.webhooks = Some(WebhooksPlan::new(["a".to_owned()]));
    run(&mut both);
    both.talk.arrive("invoices", 1_000..1_060);
    both.live(2 * MINUTE, |_| None);
    let now = both.talk.now;
    both.talk.planner.may_have_missed(now);
    let mut waits = 0;
    while both.talk.now < now.after(10 * MINUTE) {
        match both.next() {
            Next::Do(action) => both.answer(&action),
            Next::WaitUntil(tick) => (both.talk.now, waits) = (tick, waits + 1),
        }
    }
    assert!(waits < 20, "{waits}");
}

#[test]
fn what_is_wrong_with_them_stops_nothing_else() {
    let troubles = [
        Trouble::Unreachable { why: "no route".into() },
        Trouble::Throttled { after: Some(24 * HOUR), why: "code 45".into() },
        Trouble::TokenRefused { why: "code 57".into() },
        Trouble::Failed { after: None, why: "status 500".into() },
        Trouble::Denied { scope: Scope::Module, why: "code 57".into() },
    ];
    for trouble in troubles {
        let mut both = both();
        let is_webhook = |action: &Action| matches!(action, Action::BooksWebhooks(_));
        let of = |action: &Action| is_webhook(action).then(|| trouble.clone());
        let done = both.live(10 * MINUTE, of);
        assert!(done.len() < 100, "it never rests: {done:?}");
        assert!(done.contains(&"finish Leads".into()), "{trouble:?}: {done:?}");
        both.talk.arrive("Leads", 0..1);
        let done = both.live(5 * MINUTE, of);
        assert!(done.contains(&"fetch Leads 1".into()), "{trouble:?}: {done:?}");
        assert!(both.talk.planner.trouble().is_some(), "{trouble:?}");
        let tokens = done.iter().filter(|word| *word == "token").count();
        assert!(tokens <= 2, "{trouble:?}: {done:?}");
    }
}

#[test]
fn an_outage_of_the_line_is_a_reason_to_look_for_what_was_missed() {
    let mut both = both();
    run(&mut both);
    both.live(HOUR / 2, |_| None);
    both.talk.arrive("Leads", 0..1);
    loop {
        match both.next() {
            Next::Do(Action::Fetch(_)) => break,
            Next::Do(action) => both.answer(&action),
            Next::WaitUntil(tick) => both.talk.now = tick,
        }
    }
    both.talk.answer(Outcome::Trouble(Trouble::Unreachable { why: "no route".into() }));
    let done = both.live(2 * MINUTE, |_| None);
    assert_eq!(done.first().map(String::as_str), Some("fetch Leads 1"));
    assert_eq!(done.last().map(String::as_str), Some("histories"), "{done:?}");
}
