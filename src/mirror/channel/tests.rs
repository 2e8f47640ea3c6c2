//! The life of a channel, from every end.

use super::*;

const EVERY: Duration = Duration::from_secs(900);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Tick {
    Tick::from_origin(secs(seconds))
}

fn granted(life: u64) -> ChannelOutcome {
    ChannelOutcome::Granted { expires: UpstreamTime::from_unix(1_000), life: secs(life) }
}

fn matches(left: u64) -> ChannelOutcome {
    let expires = UpstreamTime::from_unix(1_000);
    ChannelOutcome::Shown(Shown::Matches(expires), secs(left))
}

fn absent() -> ChannelOutcome {
    ChannelOutcome::Shown(Shown::Absent, Duration::ZERO)
}

/// Walks a plan through outcomes at the given seconds and compares the actions asked for.
fn check(plan: &mut ChannelPlan, walk: Vec<(u64, Option<ChannelAction>, ChannelOutcome)>) {
    let mut dice = fastrand::Rng::with_seed(1);
    for (second, expected, outcome) in walk {
        assert_eq!(plan.next(at(second)), expected, "at {second} before {outcome:?}");
        plan.learn(outcome, at(second), &mut dice);
    }
}

#[test]
fn it_is_opened_verified_and_renewed_before_half_of_the_granted_life() {
    use ChannelAction::{Open, Renew, Show};
    let mut plan = ChannelPlan::new(None, EVERY);
    check(
        &mut plan,
        vec![(0, Some(Show), absent()), (0, Some(Open), granted(4)), (0, Some(Show), matches(4))],
    );
    assert_eq!(plan.next(at(1)), None);
    assert!(plan.wake(at(1)).unwrap() <= at(2));
    check(&mut plan, vec![(2, Some(Renew), granted(4)), (2, Some(Show), matches(4))]);
    assert!(matches!(plan.standing(), Standing::Open { .. }));
}

#[test]
fn after_a_restart_a_channel_past_half_of_its_life_is_renewed_at_once() {
    let mut plan = ChannelPlan::new(Some(secs(86_400)), EVERY);
    check(&mut plan, vec![(0, Some(ChannelAction::Show), matches(40_000))]);
    assert_eq!(plan.next(at(1)), Some(ChannelAction::Renew));
}

#[test]
fn a_channel_that_is_gone_is_opened_again_and_the_gap_is_told() {
    use ChannelAction::{Open, Renew, Show};
    let mut plan = ChannelPlan::new(None, EVERY);
    check(&mut plan, vec![(0, Some(Show), matches(86_400)), (900, Some(Show), absent())]);
    assert!(plan.take_interruption() && !plan.take_interruption());
    check(&mut plan, vec![(900, Some(Open), granted(86_400)), (900, Some(Show), matches(86_400))]);
    let renewal = plan.wake(at(900)).unwrap().since_origin().as_secs();
    assert_eq!(renewal, 1_800, "looked at before it is renewed");
    plan.learn(matches(86_400), at(1_800), &mut fastrand::Rng::with_seed(1));
    check(&mut plan, vec![(60_000, Some(Renew), ChannelOutcome::NotSubscribed)]);
    assert!(plan.take_interruption());
    assert_eq!(plan.next(at(60_000)), Some(Open));
}

#[test]
fn an_upstream_that_contradicts_itself_is_asked_ever_more_rarely() {
    let mut plan = ChannelPlan::new(None, EVERY);
    let mut dice = fastrand::Rng::with_seed(1);
    let (mut now, mut actions) = (at(0), 0);
    while now < at(3_600) {
        match plan.next(now) {
            Some(ChannelAction::Show) => plan.learn(absent(), now, &mut dice),
            Some(ChannelAction::Open) => plan.learn(ChannelOutcome::AlreadyUsed, now, &mut dice),
            Some(ChannelAction::Renew) => plan.learn(ChannelOutcome::NotSubscribed, now, &mut dice),
            Some(ChannelAction::Close) | None => now = plan.wake(now).unwrap(),
        }
        actions += 1;
        assert!(actions < 100);
    }
}

#[test]
fn a_life_of_nothing_makes_no_storm() {
    let mut plan = ChannelPlan::new(None, EVERY);
    check(&mut plan, vec![(0, Some(ChannelAction::Show), absent())]);
    check(&mut plan, vec![(0, Some(ChannelAction::Open), granted(0))]);
    assert_eq!(plan.next(at(0)), None, "it pauses");
}

#[test]
fn it_stays_closed_until_a_person_asks() {
    use ChannelAction::{Close, Open, Show};
    let mut plan = ChannelPlan::new(None, EVERY);
    check(&mut plan, vec![(0, Some(Show), matches(86_400))]);
    plan.ask_close();
    check(&mut plan, vec![(1, Some(Close), ChannelOutcome::Closed)]);
    assert_eq!((plan.next(at(99_999)), plan.standing()), (None, Standing::Closed));
    plan.ask_renewal();
    assert_eq!(plan.next(at(99_999)), Some(Open));
}

#[test]
fn upstreams_rows_are_held_against_what_is_desired() {
    let desired = Desired {
        id: ChannelId::new(7),
        notify_url: "https://a.example/x".into(),
        events: ["Deals.edit", "Leads.create", "Leads.edit"].map(String::from).into(),
        related_actions: false,
        lifetime: secs(86_400),
    };
    let row = |module: &str, events: &[&str], expires: i64| Row {
        channel: ChannelId::new(7),
        module: ModuleName::parse(module).ok(),
        events: events.iter().map(|event| event.to_string()).collect(),
        notify_url: Some("https://a.example/x".into()),
        token: Some(Some(Secret::new("t".into()))),
        related_actions: Some(false),
        expires: Some(UpstreamTime::from_unix(expires)),
    };
    let ours = [Secret::new("t".into())];
    let rows =
        vec![row("Leads", &["Leads.edit", "Leads.create"], 20), row("Deals", &["Deals.edit"], 10)];
    let shown = |rows: &[Row]| desired.compare(rows, &ours);
    assert_eq!(shown(&rows), Shown::Matches(UpstreamTime::from_unix(10)), "the earliest end");
    assert_eq!(shown(&[]), Shown::Absent);
    let other = Row { channel: ChannelId::new(8), ..rows[0].clone() };
    assert_eq!(shown(&[other]), Shown::Absent);
    for spoil in [
        |row: &mut Row| row.notify_url = Some("https://b.example/x".into()),
        |row: &mut Row| row.token = Some(None),
        |row: &mut Row| row.token = Some(Some(Secret::new("u".into()))),
        |row: &mut Row| row.related_actions = Some(true),
        |row: &mut Row| row.events.push("Leads.delete".into()),
        |row: &mut Row| row.events.clear(),
    ] {
        let mut rows = rows.clone();
        spoil(&mut rows[0]);
        assert!(matches!(shown(&rows), Shown::Differs(_)), "{rows:?}");
    }
}
