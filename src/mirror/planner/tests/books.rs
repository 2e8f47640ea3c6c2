//! Books beside CRM: whose turn it is, and whose trouble.

use super::*;
use crate::mirror::books::entity::Entity;
use crate::mirror::books::plan::{BooksAction, BooksOutcome, BooksPlan};
use crate::mirror::books::scan::PageSeen;

/// A planner of one module of CRM and one entity, and an account of so many calls.
pub(super) struct Both {
    pub(super) talk: Talk,
    account: Account,
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

impl Both {
    fn new(ceiling: u64) -> Both {
        Both::of(Talk::new(false, &["Leads"]), ceiling)
    }

    /// The same beside this one of CRM.
    pub(super) fn of(mut talk: Talk, ceiling: u64) -> Both {
        let entity = Entity::parse("invoice").expect("it is known");
        let proved = Some(upstream(Tick::ORIGIN));
        let ledger = Ledger { complete_through: proved, last_sweep: proved, ..Ledger::default() };
        let plan = BooksPlan::new(vec![(entity, ledger)], HOUR, 24 * HOUR, Tick::ORIGIN);
        talk.planner.books = Some(plan);
        Both { talk, account: Account::new(ceiling, Spending::default(), Tick::ORIGIN) }
    }

    pub(super) fn next(&mut self) -> Next {
        let Talk { planner, credits, now } = &mut self.talk;
        planner.next(Input::Nothing, *now, Some(upstream(*now)), credits, Some(&self.account))
    }

    /// Answers as an upstream that has nothing new.
    pub(super) fn answer(&mut self, action: &Action) {
        let outcome = match action {
            Action::Books(BooksAction::ReadPage(_)) => {
                let seen = PageSeen { rows: Vec::new(), more: false, obeyed: true };
                BooksOutcome::Page(seen, Vec::new())
            }
            Action::Books(BooksAction::Compare { .. }) => BooksOutcome::Compared(None, Vec::new()),
            Action::Books(BooksAction::Finish { .. }) => BooksOutcome::Finished,
            other => return self.talk.answer_quietly(other),
        };
        self.talk.answer(Outcome::Books(outcome));
    }

    /// Does everything for so long, trouble with Books as `trouble` says; what was done.
    pub(super) fn live(
        &mut self,
        span: Duration,
        trouble: impl Fn(&Action) -> Option<Trouble>,
    ) -> Vec<String> {
        let end = self.talk.now.after(span);
        let mut done = Vec::new();
        while self.talk.now < end {
            match self.next() {
                Next::WaitUntil(tick) => self.talk.now = tick,
                Next::Do(action) => {
                    done.push(word(&action));
                    assert!(done.len() < 5_000, "it never rests: {:?}", &done[..20]);
                    let of_books = self.talk.planner.module_of_books(&action).is_some()
                        || matches!(action, Action::BooksWebhooks(_));
                    let (now, account) = (self.talk.now, &mut self.account);
                    if of_books && !matches!(&action, Action::Books(a) if !a.is_call()) {
                        account.spend(now, Some(upstream(now)));
                    }
                    match trouble(&action).filter(|_| of_books) {
                        Some(trouble) => self.talk.answer(Outcome::Trouble(trouble)),
                        None => self.answer(&action),
                    }
                }
            }
        }
        done
    }
}

fn count(done: &[String], what: &str) -> usize {
    done.iter().filter(|word| word.starts_with(what)).count()
}

#[test]
fn a_list_is_read_as_often_as_a_module() {
    let done = Both::new(1_000).live(HOUR / 2, |_| None);
    // The page, and the end of the scan.
    assert_eq!(count(&done, "books invoice"), 2, "{done:?}");
    assert_eq!(count(&done, "page Leads"), 1, "{done:?}");
}

#[test]
fn neither_waits_for_the_other() {
    let mut both = Both::new(10_000);
    let drained = both.live(MINUTE, |_| None);
    assert!(count(&drained, "token") == 1);
    both.talk.arrive("Leads", 0..400);
    both.talk.arrive("invoices", 1_000..1_400);
    let done = both.live(MINUTE, |_| None);
    let of_books = count(&done, "fetch invoices");
    assert!((70..=95).contains(&of_books), "as many as its pace allows: {of_books}");
    assert_eq!(count(&done, "fetch Leads"), 8, "CRM does not wait for that: {done:?}");
}

#[test]
fn a_limit_of_books_pauses_books_and_one_of_crm_pauses_crm() {
    let throttled = |_: &Action| {
        let after = Some(MINUTE);
        Some(Trouble::Throttled { after, why: "code 44".into() })
    };
    let mut both = Both::new(1_000);
    let done = both.live(MINUTE / 2, throttled);
    assert_eq!((count(&done, "books"), count(&done, "finish Leads")), (1, 1), "{done:?}");
    assert_eq!(both.talk.planner.trouble().as_deref(), Some("code 44"));
    let done = both.live(2 * MINUTE, |_| None);
    assert_eq!(count(&done, "books"), 2, "a minute later it goes on: {done:?}");
    assert_eq!(both.talk.planner.trouble(), None);

    both.talk.planner.throttle.fail(both.talk.now, &learn::THROTTLE, Some(MINUTE), &mut dice());
    both.talk.arrive("Leads", 0..1);
    both.talk.arrive("invoices", 1_000..1_001);
    let done = both.live(MINUTE / 2, |_| None);
    assert_eq!((count(&done, "fetch invoices"), count(&done, "fetch Leads")), (1, 0), "{done:?}");
}

#[test]
fn the_ceiling_of_books_is_hard_and_its_own() {
    let mut both = Both::new(50);
    both.live(MINUTE, |_| None);
    both.talk.arrive("invoices", 1_000..1_200);
    let done = both.live(HOUR / 2, |_| None);
    assert_eq!(count(&done, "fetch invoices"), 48, "after a page; one is kept back: {done:?}");
    assert!(both.talk.planner.books().is_some_and(BooksPlan::is_starved));
    both.talk.arrive("Leads", 0..1);
    let done = both.live(MINUTE, |_| None);
    assert_eq!(count(&done, "fetch Leads"), 1, "CRM has credits: {done:?}");
    let done = both.live(24 * HOUR, |_| None);
    assert!(count(&done, "fetch invoices") > 30, "a day later there are calls again");
}

#[test]
fn an_outage_of_books_costs_few_calls() {
    let failed = |_: &Action| Some(Trouble::Failed { after: None, why: "status 500".into() });
    let mut both = Both::new(1_000);
    both.live(MINUTE, |_| None);
    both.talk.arrive("invoices", 1_000..1_200);
    let done = both.live(10 * HOUR, failed);
    let calls = count(&done, "fetch invoices") + count(&done, "books");
    assert!((10..80).contains(&calls), "{calls} calls");
    assert!(count(&done, "finish Leads") >= 10, "CRM goes on: {done:?}");
    let done = both.live(HOUR, |_| None);
    assert_eq!(count(&done, "fetch invoices"), 200, "{}", done.len());
}

#[test]
fn a_token_that_books_refuses_is_renewed_once() {
    let refuse = |_: &Action| Some(Trouble::TokenRefused { why: "code 57".into() });
    let mut both = Both::new(1_000);
    both.talk.planner.token = Token::Good { until: Tick::ORIGIN.after(48 * HOUR), proved: true };
    let done = both.live(10 * HOUR, refuse);
    assert_eq!(count(&done, "token"), 1, "{done:?}");
    assert!(count(&done, "books") < 30, "{done:?}");
    assert!(count(&done, "finish Leads") >= 10, "CRM goes on: {done:?}");
    let done = both.live(2 * HOUR, |_| None);
    assert!(count(&done, "books") >= 2, "{done:?}");
    // An old token is another matter.
    both.live(MINUTE, |_| None);
    both.talk.arrive("invoices", 1_000..1_001);
    let done = both.live(MINUTE, refuse);
    assert_eq!(count(&done, "token"), 1, "{done:?}");
}

#[test]
fn upstreams_time_is_asked_for_with_pauses() {
    let mut both = Both::new(1_000);
    both.talk.planner.modules.clear();
    both.talk.planner.token = Token::Good { until: Tick::ORIGIN.after(48 * HOUR), proved: true };
    let mut asked = 0;
    while both.talk.now < Tick::ORIGIN.after(HOUR) {
        let Talk { planner, credits, now } = &mut both.talk;
        match planner.next(Input::Nothing, *now, None, credits, Some(&both.account)) {
            Next::WaitUntil(tick) => *now = tick,
            Next::Do(action) => {
                assert_eq!((&action, asked < 20), (&Action::RefreshToken, true));
                asked += 1;
                let throttled = Trouble::Throttled { after: None, why: "too many".into() };
                both.talk.answer(Outcome::Trouble(throttled));
            }
        }
    }
    assert!(asked > 1);
}

fn dice() -> fastrand::Rng {
    fastrand::Rng::with_seed(1)
}
