//! The post between upstream and the device: callbacks of both kinds, which may be lost, doubled,
//! late, out of order, or forged.

use std::fmt;
use std::sync::{Arc, Mutex};

use crmirror::server::asked::{Asked, Peer};
use crmirror::server::reception::Reception;

use crate::sim::{Announced, Callback, Upstream};

/// Where upstream reaches the device.
pub(super) const ORIGIN: &str = "https://kiosk-7.example.com";

/// The door for callbacks, which stays open while the heart is at work.
pub(super) type Door = Arc<Mutex<Option<Reception>>>;

/// A callback on its way.
#[derive(Clone)]
pub(super) enum Letter {
    OfCrm(Callback),
    OfBooks(Announced),
}

impl Letter {
    /// What upstream wants to send, the oldest of each kind first.
    pub(super) fn take_all(upstream: &mut Upstream) -> Vec<Letter> {
        let of_crm = upstream.take_callbacks().into_iter().map(Letter::OfCrm);
        of_crm.chain(upstream.take_announced().into_iter().map(Letter::OfBooks)).collect()
    }

    /// Hands it in at the door; the status, or `None` when nobody is there. Books takes note of it.
    pub(super) fn deliver(&self, door: &Door, upstream: &mut Upstream) -> Option<u16> {
        let status = self.hand_in(door);
        self.note(upstream, status);
        status
    }

    /// The same without a word to Books.
    pub(super) fn hand_in(&self, door: &Door) -> Option<u16> {
        let asked = self.asked();
        door.lock().unwrap().as_ref().map(|reception| reception.respond(&asked).status())
    }

    /// It never arrives, and Books takes note of it.
    pub(super) fn lose(self, upstream: &mut Upstream) {
        self.note(upstream, None);
    }

    /// The same as somebody sends it who does not know the secret; `None` of CRM's.
    pub(super) fn forged(&self, dice: &mut fastrand::Rng) -> Option<Letter> {
        let Letter::OfBooks(mut forged) = self.clone() else { return None };
        let (_, signature) =
            forged.headers.iter_mut().find(|(name, _)| *name == "X-Zoho-Webhook-Signature")?;
        match dice.u8(0..3) {
            0 => forged.headers.retain(|(name, _)| *name == "Content-Type"),
            1 => *signature = signature.chars().rev().chain("0".chars()).collect(),
            _ => forged.body = forged.body.replacen('6', "7", 1) + " ",
        }
        Some(Letter::OfBooks(forged))
    }

    fn note(&self, upstream: &mut Upstream, status: Option<u16>) {
        if let Letter::OfBooks(announced) = self {
            upstream.answered(announced.history, status);
        }
    }

    fn asked(&self) -> Asked {
        let (url, body, headers) = match self {
            Letter::OfCrm(callback) => (&callback.url, &callback.body, &[][..]),
            Letter::OfBooks(announced) => {
                (&announced.url, &announced.body, announced.headers.as_slice())
            }
        };
        let header = |(name, value): &(&str, String)| (name.to_ascii_lowercase(), value.clone());
        Asked {
            method: "POST".to_owned(),
            target: url.strip_prefix(ORIGIN).expect("it is for the device").to_owned(),
            headers: headers.iter().map(header).collect(),
            body: body.clone().into_bytes(),
            peer: Peer::Unix,
            secure: false,
        }
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Letter::OfCrm(Callback { operation, module, ids, .. }) => match ids.as_slice() {
                [first, _, _, _, ..] => {
                    write!(f, "{operation} {module} {first} and {} more", ids.len() - 1)
                }
                _ => write!(f, "{operation} {module} {ids:?}"),
            },
            Letter::OfBooks(Announced { history, body, .. }) => write!(f, "{history}: {body}"),
        }
    }
}
