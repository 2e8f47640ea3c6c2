//! The plan against setbacks of every kind.

use super::*;
use crate::mirror::credits::Spending;

fn name(text: &str) -> FunctionName {
    FunctionName::parse(text).unwrap()
}

fn front(function: &str, number: u64) -> Front {
    Front { function: name(function), number, since: None }
}

fn at(seconds: u64) -> Tick {
    Tick::from_origin(Duration::from_secs(seconds))
}

/// A plan for `a` and `b` by key and `o` by token.
fn plan() -> Plan {
    let functions = [("a", Auth::ApiKey), ("b", Auth::ApiKey), ("o", Auth::OAuth)];
    let functions = functions.map(|(function, auth)| (name(function), auth)).into();
    Plan::new(Settings { functions, max_age: Duration::from_secs(3_600), seed: 7 })
}

fn next(plan: &mut Plan, fronts: &[Front], now: Tick) -> Next {
    plan.next(fronts, now, None, &Credits::new(100, Spending::default()))
}

/// What is sent, or after how many seconds something is.
fn check(plan: &mut Plan, fronts: &[Front], seconds: u64, expected: &str) {
    let said = match next(plan, fronts, at(seconds)) {
        Next::Do(Action::Send(front)) => format!("{}{}", front.function, front.number),
        Next::Do(Action::Expire(front)) => format!("old {}{}", front.function, front.number),
        Next::WaitUntil(tick) => format!("+{}", tick.since(at(seconds)).as_secs()),
    };
    assert_eq!(said, expected, "at {seconds}");
}

#[test]
fn functions_take_turns() {
    let mut plan = plan();
    let fronts = [front("a", 1), front("b", 2)];
    for expected in ["a1", "b2", "a1", "b2"] {
        check(&mut plan, &fronts, 0, expected);
        let Next::Do(Action::Send(front)) = next(&mut plan, &fronts, at(0)) else { panic!() };
        plan.answered(&front);
    }
    check(&mut plan, &[], 0, "+60");
    check(&mut plan, &[front("unknown", 1)], 0, "+60");
}

#[test]
fn a_function_that_fails_holds_up_only_itself() {
    let mut plan = plan();
    let (a, b) = (front("a", 1), front("b", 2));
    let failed = || Setback::Failed(None, "status 500".into());
    plan.set_back(&a, &failed(), at(0));
    check(&mut plan, &[a.clone(), b.clone()], 0, "b2");
    plan.answered(&b);
    check(&mut plan, std::slice::from_ref(&a), 0, "+2");
    check(&mut plan, std::slice::from_ref(&a), 2, "a1");
    let mut last = 0;
    for _ in 0..40 {
        plan.set_back(&a, &failed(), at(100));
        let Next::WaitUntil(tick) = next(&mut plan, std::slice::from_ref(&a), at(100)) else {
            panic!("it pauses")
        };
        last = tick.since(at(100)).as_secs();
        assert!((1..=60).contains(&last), "a look around at least each minute: {last}");
    }
    assert_eq!(last, 60);
    assert_eq!(plan.trouble().as_deref(), Some("a: status 500"));
    // Whoever comes in its place does not wait for it.
    check(&mut plan, &[front("a", 3)], 100, "a3");
    plan.hurry();
    check(&mut plan, &[a], 100, "a1");
}

#[test]
fn without_a_line_nothing_is_sent() {
    let mut plan = plan();
    let fronts = [front("a", 1), front("b", 2)];
    plan.set_back(&fronts[0], &Setback::Unreachable("no route".into()), at(0));
    check(&mut plan, &fronts, 0, "+1");
    plan.set_back(&fronts[0], &Setback::Throttled(Some(Duration::MAX), "429".into()), at(1));
    check(&mut plan, &fronts, 1, "+900");
    plan.line_is_back();
    check(&mut plan, &fronts, 1, "b2");
}

#[test]
fn a_key_that_is_refused_holds_up_those_that_need_it() {
    let mut plan = plan();
    let (a, o) = (front("a", 1), front("o", 2));
    check(&mut plan, std::slice::from_ref(&o), 0, "+60");
    assert!(
        plan.wants_token(std::slice::from_ref(&o)) && !plan.wants_token(std::slice::from_ref(&a))
    );
    plan.token(true, true);
    let refused = || Setback::KeyRefused("status 401".into());
    plan.set_back(&o, &refused(), at(0));
    check(&mut plan, &[a.clone(), o.clone()], 0, "a1");
    // A new token is tried at once, but only the first.
    plan.token(true, true);
    check(&mut plan, std::slice::from_ref(&o), 0, "o2");
    plan.set_back(&o, &refused(), at(0));
    plan.token(true, true);
    let Next::WaitUntil(tick) = next(&mut plan, std::slice::from_ref(&o), at(0)) else {
        panic!("it pauses")
    };
    assert!(tick >= at(60));
    check(&mut plan, &[o], 120, "o2");
    plan.set_back(&a, &refused(), at(200));
    check(&mut plan, &[a, front("b", 3)], 200, "+60");
}

#[test]
fn a_call_is_denied_three_times() {
    let denied = || Setback::Denied("status 400".into(), Answer::of(400, &[], b""));
    assert_eq!([0, 1, 2, 3].map(|before| denied().ends(before)), [false, false, true, true]);
    assert!(!Setback::Failed(None, String::new()).ends(u32::MAX - 1));
    assert!(!Setback::KeyRefused(String::new()).ends(u32::MAX - 1));
}

#[test]
fn what_has_waited_too_long_is_set_aside_whatever_else_is_the_matter() {
    let mut plan = plan();
    let since = UpstreamTime::from_unix(1_000_000);
    let old = Front { since: Some(since), ..front("gone", 1) };
    plan.set_back(&front("a", 9), &Setback::Unreachable(String::new()), at(0));
    let credits = Credits::new(0, Spending::default());
    let late = |seconds| Some(since.after(Duration::from_secs(seconds)));
    let mut ask = |time| plan.next(std::slice::from_ref(&old), at(0), time, &credits);
    assert!(matches!(ask(None), Next::WaitUntil(_)));
    assert!(matches!(ask(late(3_600)), Next::WaitUntil(_)));
    assert_eq!(ask(late(3_601)), Next::Do(Action::Expire(old.clone())));
}

#[test]
fn without_credits_nothing_is_sent() {
    let mut plan = plan();
    let mut credits = Credits::new(2, Spending::default());
    let fronts = [front("a", 1)];
    let time = Some(UpstreamTime::from_unix(1_800_000_000));
    assert!(matches!(plan.next(&fronts, at(0), time, &credits), Next::Do(_)));
    credits.spend(2, time);
    assert_eq!(plan.next(&fronts, at(0), time, &credits), Next::WaitUntil(at(300)));
    assert!(plan.is_starved());
}
