//! `[books]`: what is mirrored of Zoho Books, and the webhooks that announce it.

use std::ops::RangeInclusive;

use super::notify_url::{NotifyUrl, Paths};
use super::section::{Findings, Section};
use crate::mirror::books::entity::Entity;
use crate::mirror::span::shown;

/// Longest name of a webhook (facts §5.1).
pub const WEBHOOK_NAME_LIMIT: usize = 50;
/// Longest id of an organization: Books writes numbers of 64 bits.
const ORGANIZATION_LIMIT: usize = 20;
/// What the smallest plan of Books allows in a day (facts §5.5).
const DEFAULT_CALLS: u32 = 1_000;
/// From a call every half an hour to what the largest plan allows.
const CALLS: RangeInclusive<u32> = 50..=10_000;

/// `[books]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Books {
    /// The organization, which each call names.
    pub organization_id: String,
    /// The most calls of Books' API in 24 hours.
    pub calls_per_day: u32,
    /// What is mirrored: what webhooks announce, and `entities` beside it. None twice.
    pub entities: Vec<Entity>,
    /// The webhooks that are kept upstream.
    pub webhooks: Vec<Webhook>,
}

/// `[[books.webhook]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// Its name upstream, by which it is found again.
    pub name: String,
    /// What it announces.
    pub entity: Entity,
    /// The address that it calls.
    pub notify_url: NotifyUrl,
    /// Whether it signs what it sends.
    pub secret: bool,
}

/// Reads `[books]`. Nothing of Books runs without that section.
pub(super) fn books(
    document: &mut Section<'_>,
    paths: &mut Paths,
    findings: &mut Findings,
) -> Option<Option<Books>> {
    let is_there = document.has("books");
    let mut section = document.section("books");
    if !is_there {
        section.finish(findings);
        return Some(None);
    }
    let hint = "write the number that Books shows under Organization Profile";
    let organization_id = section.required_text("organization_id", hint, organization);
    let calls_per_day = section.number("calls_per_day", CALLS).unwrap_or(DEFAULT_CALLS);
    let also = section.texts("entities", entity).unwrap_or_default();
    let webhooks = webhooks(&mut section, paths, findings);
    let mut entities: Vec<Entity> = Vec::new();
    let announced = webhooks.iter().flatten().map(|webhook| webhook.entity);
    for entity in announced.chain(also) {
        if !entities.contains(&entity) {
            entities.push(entity);
        }
    }
    if entities.is_empty() && webhooks.is_some() {
        section.wrong("entities", "nothing is mirrored; add [[books.webhook]], or name some here");
    }
    section.finish(findings);
    let (organization_id, webhooks) = (organization_id?, webhooks?);
    Some(Some(Books { organization_id, calls_per_day, entities, webhooks }))
}

fn webhooks(
    section: &mut Section<'_>,
    paths: &mut Paths,
    findings: &mut Findings,
) -> Option<Vec<Webhook>> {
    let mut sections = section.inner_sections("webhook", "books.webhook");
    let mut webhooks: Vec<Webhook> = Vec::with_capacity(sections.len());
    for section in &mut sections {
        let Some(webhook) = webhook(section) else { continue };
        if webhooks.iter().any(|other| other.name == webhook.name) {
            section.wrong("name", format!("'{}' is there twice; choose another", webhook.name));
        }
        if !paths.take(&webhook.notify_url) {
            section.wrong("notify_url", "another kind of callback has this path; choose another");
        }
        webhooks.push(webhook);
    }
    let complete = webhooks.len() == sections.len();
    sections.into_iter().for_each(|section| section.finish(findings));
    complete.then_some(webhooks)
}

fn webhook(section: &mut Section<'_>) -> Option<Webhook> {
    let hint = "write a name that is no other webhook's in this organization";
    let name = section.required_text("name", hint, webhook_name);
    let entity = section.required_text("entity", "write for example \"invoice\"", entity);
    let hint = "write the address that strangers reach this device at, with a path of its own";
    let notify_url = section.required_text("notify_url", hint, NotifyUrl::parse);
    let secret = section.flag("secret").unwrap_or(true);
    if !secret {
        let why = "nothing is signed there, so that the path of notify_url is all that keeps \
                   strangers out; leave it out";
        section.warn("secret", why);
    }
    Some(Webhook { name: name?, entity: entity?, notify_url: notify_url?, secret })
}

fn organization(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || !digits || text.len() > ORGANIZATION_LIMIT {
        return Err(format!("{} is not an organization's id; write its digits", shown(text)));
    }
    Ok(text.to_owned())
}

fn webhook_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > WEBHOOK_NAME_LIMIT || text.chars().any(char::is_control) {
        return Err(format!(
            "{} cannot be a webhook's name; write 1 to {WEBHOOK_NAME_LIMIT} characters",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

fn entity(text: &str) -> Result<Entity, String> {
    Entity::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Entity::all().map(Entity::singular).collect();
        format!("{} is not known; write one of {}", shown(text), known.join(" "))
    })
}
