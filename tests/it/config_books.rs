//! `[books]`: what is read of it, and what is told of a wrong one.

use std::path::Path;

use crmirror::config::{Config, Webhook};

use crate::config::{FILE, LEAST, load};

const HOOK: &str = "[[books.webhook]]\nname = \"kiosk-invoices\"\nentity = \"invoice\"\n\
                    notify_url = \"https://kiosk-7.example.com/books/invoice/91c2\"\n";

fn refuse(text: &str) -> String {
    match Config::parse(Path::new(FILE), text.as_bytes(), None) {
        Ok(config) => panic!("{text}: accepted as {config:#?}"),
        Err(errors) => errors.to_string().replace(FILE, ""),
    }
}

#[test]
fn webhooks_say_what_is_mirrored() {
    let text = format!(
        "{LEAST}[books]\norganization_id = \"10234695\"\nentities = [\"item\", \"sales_order\"]\n\
         {HOOK}secret = false\n"
    );
    let books = load(&text).books.unwrap();
    assert_eq!(books.organization_id, "10234695");
    assert_eq!(books.calls_per_day, 1_000, "what the smallest plan allows");
    let mirrored: Vec<&str> = books.entities.iter().map(|entity| entity.plural()).collect();
    assert_eq!(mirrored, ["invoices", "items", "salesorders"]);
    let [Webhook { name, entity, notify_url, secret }] = &books.webhooks[..] else {
        panic!("{books:?}");
    };
    assert_eq!((name.as_str(), entity.singular()), ("kiosk-invoices", "invoice"));
    assert_eq!((notify_url.path(), *secret), ("/books/invoice/91c2", false));
    assert_eq!(load(LEAST).books, None);
}

#[test]
fn books_alone_is_enough() {
    let config =
        load(&format!("upstream.data_centre = \"eu\"\n[books]\norganization_id = \"7\"\n{HOOK}"));
    assert!(config.modules.is_empty() && config.channel.is_none());
    let [webhook] = &config.books.unwrap().webhooks[..] else { panic!("one webhook") };
    assert!(webhook.secret, "signed unless said otherwise");
}

#[test]
fn what_is_wrong_is_told() {
    let with = |books: &str| refuse(&format!("{LEAST}{books}"));
    let id = "[books]\norganization_id = \"7\"\n";
    for (books, told) in [
        (format!("[books]\n{HOOK}"), ":4: books.organization_id: missing; write the number"),
        (format!("[books]\norganization_id = \"x\"\n{HOOK}"), "'x' is not an organization's id"),
        (id.to_owned(), ":4: books.entities: nothing is mirrored; add [[books.webhook]]"),
        (format!("{id}entities = [\"lead\"]"), "'lead' is not known; write one of invoice"),
        (format!("{id}{HOOK}{HOOK}"), "'kiosk-invoices' is there twice; choose another"),
        (
            format!("{id}{HOOK}{}", HOOK.replace("kiosk-invoices", "b")),
            "another kind of callback has this path; choose another",
        ),
        (
            format!("{id}{}", HOOK.replace("kiosk-invoices", &"n".repeat(51))),
            "cannot be a webhook's name; write 1 to 50 characters",
        ),
        (format!("{id}{HOOK}secrets = true"), "books.webhook.secrets: unknown key; allowed in"),
    ] {
        let errors = with(&books);
        assert!(errors.contains(told), "{books}\n{errors}");
    }
}

#[test]
fn a_webhook_and_the_channel_do_not_share_a_path() {
    let text = "upstream.data_centre = \"us\"\nmodule = [{ name = \"Leads\" }]\n[channel]\n\
                notify_url = \"https://kiosk-7.example.com/books/invoice/91c2?a=b\"\n\
                [books]\norganization_id = \"7\"\n";
    let errors = refuse(&format!("{text}{HOOK}"));
    assert!(errors.contains("another kind of callback has this path"), "{errors}");
}

#[test]
fn a_module_of_crm_is_not_called_as_one_of_books() {
    let errors = refuse(&format!(
        "upstream.data_centre = \"us\"\n[books]\norganization_id = \"7\"\n{HOOK}\
         [[module]]\nname = \"invoices\"\n"
    ));
    assert!(errors.contains("'invoices' is mirrored of Books already"), "{errors}");
}
