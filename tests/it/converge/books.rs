//! Books in a world: its entities, the webhooks that announce them, and what the configuration
//! says of both.

use std::fmt::Write as _;
use std::time::Duration;

use crmirror::mirror::books::entity::Entity;
use serde_json::json;

use super::people::Desk;
use super::post::ORIGIN;
use crate::sim::{Asked, Call, Manner, Moment, ORGANIZATION, Upstream, Writes};

/// One or two entities, with what is not documented drawn. A rule fires at every change.
pub(super) fn open(upstream: &mut Upstream, dice: &mut fastrand::Rng) -> Vec<Desk> {
    let manners = [Manner::Obeys, Manner::Obeys, Manner::Ignores, Manner::Denies, Manner::Mistakes];
    let mut manner = || manners[dice.usize(0..manners.len())];
    let books = &mut upstream.books;
    (books.documented_sort, books.undocumented_sort) = (manner(), manner());
    books.filter = manner();
    books.page_rows = [4, 40, 200][dice.usize(0..3)];
    books.context_in_list = dice.bool();
    let webhooks = &mut upstream.webhooks;
    webhooks.writes = [Writes::Default, Writes::Form, Writes::Raw][dice.usize(0..3)];
    webhooks.base64 = dice.bool();
    let names: &[&str] =
        [&["invoices"][..], &["bills"], &["contacts", "invoices"], &["contacts"]][dice.usize(0..4)];
    desks(upstream, names)
}

/// These entities, for people to work in. A rule fires at every change.
pub(super) fn desks(upstream: &mut Upstream, names: &[&str]) -> Vec<Desk> {
    upstream.webhooks.ruled = true;
    let desk = |name: &&str| {
        let fields = vec!["reference".to_owned(), "line_items".to_owned(), "notes".to_owned()];
        upstream.add_entity(name).with_fields(&["reference", "notes"]);
        Desk { module: (*name).to_owned(), fields }
    };
    names.iter().map(desk).collect()
}

/// Whether a module is an entity of Books.
pub(super) fn has(module: &str) -> bool {
    Entity::of_plural(module).is_some()
}

/// The section of the configuration in which these are mirrored, those in `announced` with a
/// webhook.
pub(super) fn section(desks: &[Desk], announced: impl Fn(&str) -> bool) -> String {
    let singular = |desk: &Desk| Entity::of_plural(&desk.module).unwrap().singular();
    let entities: Vec<&str> = desks.iter().map(singular).collect();
    let mut text = format!(
        "[books]\norganization_id = \"{ORGANIZATION}\"\nentities = {entities:?}\n\
         calls_per_day = 10000\n"
    );
    for entity in desks.iter().filter(|desk| announced(&desk.module)).map(singular) {
        let _ = write!(
            text,
            "[[books.webhook]]\nname = \"kiosk-{entity}\"\nentity = \"{entity}\"\n\
             notify_url = \"{ORIGIN}/books/{entity}/91c2?of=books\"\n"
        );
    }
    text
}

/// So many webhooks of another kiosk, which was taken away: nobody answers them ever, and they are
/// none of our business.
pub(super) fn add_foreign_webhooks(upstream: &mut Upstream, count: usize) {
    let target = format!("/books/v3/settings/webhooks?organization_id={ORGANIZATION}");
    let token = upstream.issue_token();
    for number in 0..count {
        let webhook = json!({
            "webhook_name": format!("other {number}"), "entity": "bill", "method": "POST",
            "url": format!("{ORIGIN}/of/another"),
        });
        let asked = Asked::new("POST", &target).token(&token).body(&webhook.to_string());
        assert_eq!(upstream.answer(&asked).unwrap().status, 201);
    }
}

/// The most calls of Books that follow each other within this span.
pub(super) fn most_calls_in(span: Duration, calls: &[Call]) -> usize {
    let of_books = calls.iter().filter(|call| call.path.starts_with("/books/"));
    let times: Vec<Moment> = of_books.map(|call| call.at).collect();
    let within = |at: usize| {
        let first = times[at];
        times[at..].iter().take_while(|time| time.since(first) < span).count()
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}
