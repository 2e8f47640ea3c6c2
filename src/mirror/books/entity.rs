//! The kinds of records that Books has: what each is called where.
//!
//! Books writes `invoice` in webhooks and around one record, `invoices` in paths and around a
//! list, and `invoice_id` inside. In the mirror an entity is a module under its name in the paths
//! (facts §5.1, §5.5).

use std::fmt;

use crate::mirror::record::ModuleName;

/// One kind of record, such as invoices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity(&'static Names);

/// What it is called.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Names {
    /// In a webhook.
    singular: &'static str,
    /// In paths and around a list; the module's name in the mirror.
    plural: &'static str,
    /// Around one record.
    around_one: &'static str,
    /// The key of its id.
    id: &'static str,
    /// How what has changed lately is listed.
    recent: Recent,
}

/// How the list of an entity tells what has changed lately (facts §5.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Recent {
    /// It takes `last_modified_time` as the earliest to be shown.
    Filtered,
    /// It can be sorted by `last_modified_time`: read until older.
    Sorted,
    /// Neither is documented: sorting is asked for, and the order is looked at.
    Undocumented,
}

/// All that are known: invoices first, as in Books' own menu.
static ALL: [Names; 12] = [
    names("invoice", "invoices", "invoice", "invoice_id", Recent::Undocumented),
    names("estimate", "estimates", "estimate", "estimate_id", Recent::Undocumented),
    names("salesorder", "salesorders", "salesorder", "salesorder_id", Recent::Filtered),
    names("creditnote", "creditnotes", "creditnote", "creditnote_id", Recent::Undocumented),
    names("customerpayment", "customerpayments", "payment", "payment_id", Recent::Undocumented),
    names("bill", "bills", "bill", "bill_id", Recent::Filtered),
    names(
        "purchaseorder",
        "purchaseorders",
        "purchaseorder",
        "purchaseorder_id",
        Recent::Undocumented,
    ),
    names("vendorpayment", "vendorpayments", "vendorpayment", "payment_id", Recent::Undocumented),
    names("expense", "expenses", "expense", "expense_id", Recent::Undocumented),
    names("contact", "contacts", "contact", "contact_id", Recent::Sorted),
    names("item", "items", "item", "item_id", Recent::Undocumented),
    names("journal", "journals", "journal", "journal_id", Recent::Undocumented),
];

const fn names(
    singular: &'static str,
    plural: &'static str,
    around_one: &'static str,
    id: &'static str,
    recent: Recent,
) -> Names {
    Names { singular, plural, around_one, id, recent }
}

impl Entity {
    /// All that are known.
    pub fn all() -> impl Iterator<Item = Entity> {
        ALL.iter().map(Entity)
    }

    /// Reads an entity's name as webhooks write it. Books itself writes `salesorder` and
    /// `sales_order`, and in the lists' filter `Invoice`: all of them are understood.
    pub fn parse(text: &str) -> Option<Entity> {
        let plain: String = text.chars().filter(|c| *c != '_').collect();
        Entity::all().find(|entity| entity.0.singular.eq_ignore_ascii_case(&plain))
    }

    /// The entity that is this module in the mirror and this part of a path.
    pub fn of_plural(text: &str) -> Option<Entity> {
        Entity::all().find(|entity| entity.0.plural == text)
    }

    /// `invoice`: its name in a webhook.
    pub fn singular(self) -> &'static str {
        self.0.singular
    }

    /// `invoices`: its name in paths and around a list.
    pub fn plural(self) -> &'static str {
        self.0.plural
    }

    /// `invoice`: the key around one record.
    pub fn around_one(self) -> &'static str {
        self.0.around_one
    }

    /// `invoice_id`: the key of a record's id.
    pub fn id_key(self) -> &'static str {
        self.0.id
    }

    /// How its list tells what has changed lately.
    pub fn recent(self) -> Recent {
        self.0.recent
    }

    /// Its name in the mirror.
    pub fn module(self) -> ModuleName {
        ModuleName::parse(self.0.plural).expect("the plurals are letters")
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_back_to_its_entity() {
        for entity in Entity::all() {
            assert_eq!(Entity::parse(entity.singular()), Some(entity));
            assert_eq!(Entity::of_plural(entity.plural()), Some(entity));
            assert_eq!(entity.module().as_str(), entity.plural());
        }
        assert_eq!(Entity::parse("sales_order"), Entity::parse("SalesOrder"));
        assert_eq!(Entity::parse("invoices"), None);
        assert_eq!(Entity::of_plural("Invoices"), None, "a module of CRM");
    }
}
