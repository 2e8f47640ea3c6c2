//! What the platform tells: taken in before all else, and what it leads to.

use super::*;
use crate::mirror::platform::Consequence;

fn event(consequence: Consequence) -> Outcome {
    Outcome::Event { consequence, more: false }
}

impl Talk {
    /// The platform tells something that leads to this.
    fn tell(&mut self, consequence: Consequence) {
        self.planner.hear(Input::PlatformTold, self.now);
        assert_eq!(self.action(), Action::TakeEvent);
        self.answer(event(consequence));
    }
}

#[test]
fn it_is_taken_in_without_upstream_and_only_once() {
    let mut talk = Talk::new(true, &["Leads"]);
    let token = talk.action();
    assert_eq!(token, Action::RefreshToken);
    talk.answer(unreachable());
    talk.tell(Consequence::Nothing);
    assert!(matches!(talk.next(), Next::WaitUntil(_)), "the line still pauses");
}

#[test]
fn more_is_taken_before_anything_else() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.planner.hear(Input::PlatformTold, talk.now);
    for more in [true, true, false] {
        assert_eq!(talk.action(), Action::TakeEvent);
        talk.answer(Outcome::Event { consequence: Consequence::Nothing, more });
    }
    assert_eq!(talk.run()[..2], ["token", "show"]);
}

#[test]
fn what_cannot_be_recorded_is_tried_again_after_a_pause() {
    let mut talk = Talk::new(false, &["Leads"]);
    talk.run();
    talk.planner.hear(Input::PlatformTold, talk.now);
    for _ in 0..3 {
        assert_eq!(talk.action(), Action::TakeEvent);
        talk.answer(Outcome::Trouble(Trouble::NoRoom { why: "full".into() }));
        let waited = talk.wait();
        assert!(waited >= Duration::from_secs(1) && waited < HOUR, "{waited:?}");
    }
    assert_eq!(talk.action(), Action::TakeEvent);
    talk.answer(event(Consequence::Nothing));
    assert!(talk.wait() > Duration::from_secs(5));
}

#[test]
fn a_removal_closes_the_channel_and_ends_everything_else() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.run();
    talk.tell(Consequence::Close);
    talk.arrive("Leads", 0..3);
    assert_eq!(talk.action(), Action::Channel(ChannelAction::Close));
    talk.answer(unreachable());
    talk.wait();
    assert_eq!(talk.action(), Action::Channel(ChannelAction::Close), "until it is closed");
    talk.answer(Outcome::Channel(ChannelOutcome::Closed));
    for input in [
        Input::RenewalAsked,
        Input::TurnedAway,
        Input::SyncAsked { module: None, kind: ScanKind::Sweep },
        Input::NewerProofAsked(name("Leads")),
    ] {
        talk.planner.hear(input.clone(), talk.now);
        assert!(talk.wait() >= HOUR, "{input:?}");
    }
    for _ in 0..100 {
        assert!(talk.wait() >= HOUR, "nothing becomes due");
    }
    talk.tell(Consequence::Nothing);
    talk.wait();
    talk.tell(Consequence::Open);
    let done = talk.run();
    assert!(done.contains(&"open".to_owned()), "{done:?}");
    assert!(done.contains(&"fetch Leads 3".to_owned()), "{done:?}");
    assert!(done.contains(&"page Leads".to_owned()), "{done:?}");
}

#[test]
fn an_authorisation_renews_the_channel_and_catches_up() {
    let mut talk = Talk::new(true, &["Deals", "Leads"]);
    talk.run();
    talk.tell(Consequence::Open);
    let done = talk.run();
    let expected = ["renew", "show", "page Deals", "finish Deals", "page Leads", "finish Leads"];
    assert_eq!(done[..6], expected);
}

#[test]
fn an_authorisation_ends_the_pauses() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.action();
    talk.answer(denied(Scope::Module));
    assert!(matches!(talk.next(), Next::WaitUntil(_)));
    talk.tell(Consequence::Open);
    assert_eq!(talk.action(), Action::RefreshToken);
}

#[test]
fn a_start_after_a_removal_closes_once_more_or_rests() {
    for (forgotten, expected) in [(false, vec!["token", "close"]), (true, vec![])] {
        let mut talk = Talk::new(true, &["Leads"]);
        talk.planner.hear(Input::Removed { forgotten }, talk.now);
        let mut done = Vec::new();
        while let Next::Do(action) = talk.next() {
            done.push(word(&action));
            match action {
                Action::Channel(_) => talk.answer(Outcome::Channel(ChannelOutcome::NotSubscribed)),
                action => talk.answer_quietly(&action),
            }
        }
        assert_eq!(done, expected);
        assert!(talk.wait() >= HOUR);
        assert_eq!(talk.planner.channel().map(|channel| channel.standing().word()), Some("none"));
    }
}
