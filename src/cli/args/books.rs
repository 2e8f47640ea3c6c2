//! The arguments of `books`.

use std::path::PathBuf;

use crate::error::Failure;
use crate::mirror::books::entity::Entity;
use crate::mirror::record::RecordId;
use crate::upstream::books::histories;
use crate::upstream::books::webhooks::{Column, Listing};

use super::{Words, record_id, usage};

/// Rows that are shown without `--limit`: one call.
const LIMIT: usize = histories::ROWS as usize;

/// What to do with webhooks of Books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BooksCommand {
    /// List webhooks, at most so many.
    ListWebhooks(Listing, usize),
    /// Show one.
    ShowWebhook(RecordId),
    /// Create one as this file describes it.
    CreateWebhook(PathBuf),
    /// Change one as this file describes it.
    UpdateWebhook(RecordId, PathBuf),
    /// Delete one.
    DeleteWebhook(RecordId),
    /// Show what can be chosen for one.
    EditPage,
    /// Delete those that are ours.
    Prune,
    /// List executions.
    ListHistories {
        /// Sorted by this, the last first.
        sort: histories::Column,
        /// At most so many.
        limit: usize,
        /// Only those that nobody answered with success.
        failed: bool,
    },
    /// Show one execution.
    ShowHistory(RecordId),
    /// Have these sent again.
    Resend(Vec<RecordId>),
}

impl Words {
    /// `books …`
    pub(super) fn books(&mut self, words: &[&str]) -> Result<BooksCommand, Failure> {
        match words {
            ["webhooks", rest @ ..] => self.webhooks(rest),
            ["histories", rest @ ..] => self.histories(rest),
            _ => Err(usage("books is followed by webhooks or histories")),
        }
    }

    fn webhooks(&mut self, words: &[&str]) -> Result<BooksCommand, Failure> {
        match words {
            ["list"] => {
                let sort = self.sort.take().map(|name| column(&name, &Column::ALL, Column::name));
                let entity = self.entity.take().map(|name| entity(&name)).transpose()?;
                let listing = Listing { entity, sort: sort.transpose()? };
                Ok(BooksCommand::ListWebhooks(listing, self.take_limit()?.unwrap_or(LIMIT)))
            }
            ["show", id] => Ok(BooksCommand::ShowWebhook(record_id(id)?)),
            ["create", file] => Ok(BooksCommand::CreateWebhook(file.into())),
            ["update", id, file] => Ok(BooksCommand::UpdateWebhook(record_id(id)?, file.into())),
            ["delete", id] => Ok(BooksCommand::DeleteWebhook(record_id(id)?)),
            ["editpage"] => Ok(BooksCommand::EditPage),
            ["prune"] => Ok(BooksCommand::Prune),
            _ => Err(usage(
                "books webhooks is followed by list, show ID, create FILE, update ID FILE, \
                 delete ID, editpage or prune",
            )),
        }
    }

    fn histories(&mut self, words: &[&str]) -> Result<BooksCommand, Failure> {
        match words {
            ["list"] => {
                use histories::Column;
                let sort = self.sort.take().map(|name| column(&name, &Column::ALL, Column::name));
                Ok(BooksCommand::ListHistories {
                    sort: sort.transpose()?.unwrap_or(Column::EventTime),
                    limit: self.take_limit()?.unwrap_or(LIMIT),
                    failed: std::mem::take(&mut self.failed),
                })
            }
            ["show", id] => Ok(BooksCommand::ShowHistory(record_id(id)?)),
            ["resend", _, ..] => {
                let ids = words[1..].iter().map(|id| record_id(id));
                Ok(BooksCommand::Resend(ids.collect::<Result<_, _>>()?))
            }
            _ => Err(usage("books histories is followed by list, show ID or resend ID...")),
        }
    }
}

fn column<C: Copy>(name: &str, all: &[C], name_of: fn(C) -> &'static str) -> Result<C, Failure> {
    all.iter().copied().find(|column| name_of(*column) == name).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|column| name_of(*column)).collect();
        usage(&format!("--sort is one of {}", known.join(" ")))
    })
}

fn entity(name: &str) -> Result<Entity, Failure> {
    Entity::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Entity::all().map(Entity::singular).collect();
        usage(&format!("--entity is one of {}", known.join(" ")))
    })
}
