//! A home for an agent that talks to the simulator: a directory with a real configuration and
//! credentials file, and two free ports. It starts nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sim::{CLIENT_ID, CLIENT_SECRET, PLATFORM_SECRET, REFRESH_TOKEN, ZAPIKEY};

/// The path at which the agent receives callbacks.
pub(crate) const CALLBACK_PATH: &str = "/callback/4f1c9a";

/// The path at which the agent hears of its extension.
pub(crate) const PLATFORM_PATH: &str = "/platform/7d01";
/// The path of what Books announces of its invoices.
const INVOICE_PATH: &str = "/books/invoice/91c2";

/// What the configuration says beside addresses and paths.
pub(crate) struct Wishes<'a> {
    /// What is mirrored.
    pub(crate) modules: &'a [&'a str],
    /// The life that is asked for the channel.
    pub(crate) lifetime: &'a str,
    /// From one catch-up to the next.
    pub(crate) catch_up_every: &'a str,
    /// The ceiling on credits: a simulator costs nothing, and is asked more often than upstream.
    pub(crate) credits_per_day: u32,
    /// Whether local programs can also read by [`Home::socket`].
    pub(crate) socket: bool,
    /// Fields that each module is searched by.
    pub(crate) index: &'a [&'a str],
    /// The organization of Zoho Books whose invoices are mirrored, if any.
    pub(crate) books: Option<&'a str>,
    /// Whether the platform tells of an extension.
    pub(crate) platform: bool,
    /// Functions that can be called.
    pub(crate) functions: &'a [&'a str],
    /// Whether callbacks come by TLS, with the first of the tests' certificates.
    pub(crate) tls: bool,
}

/// A directory for an agent, and its addresses.
pub(crate) struct Home {
    directory: PathBuf,
    temporary: bool,
    /// Where the agent receives callbacks.
    pub(crate) callbacks: SocketAddr,
    /// Where the agent answers local programs.
    pub(crate) local: SocketAddr,
    /// Nobody else gets the ports before the agent is about to take them.
    held: Vec<TcpListener>,
}

impl Home {
    /// A home in this directory. A temporary one is made here and removed when it is dropped;
    /// another one may have been there before, and stays.
    pub(crate) fn at(directory: &Path, temporary: bool) -> io::Result<Home> {
        DirBuilder::new().recursive(!temporary).mode(0o700).create(directory)?;
        let directory = directory.canonicalize()?;
        let (callbacks, local) = (free_port()?, free_port()?);
        Ok(Home {
            directory,
            temporary,
            callbacks: callbacks.local_addr()?,
            local: local.local_addr()?,
            held: vec![callbacks, local],
        })
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.join("crmirror.toml")
    }

    /// The agent's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// The Unix socket for local programs, where one is wished for.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("local.sock")
    }

    /// Writes configuration and credentials for an upstream at `origin`.
    pub(crate) fn furnish(&self, origin: &str, wishes: &Wishes<'_>) -> io::Result<()> {
        let credentials = serde_json::json!({
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN,
            "platform_secret": PLATFORM_SECRET,
            "zapikey": ZAPIKEY,
        });
        let path = self.directory.join("credentials.json");
        write_private(&path, &format!("{credentials:#}\n"))?;
        let socket = match wishes.socket {
            true => {
                format!("socket = {}\n", serde_json::Value::from(self.socket().to_string_lossy()))
            }
            false => String::new(),
        };
        let mut text = format!(
            "# Written by an example: upstream is a simulator on this machine.\n\
             [upstream]\n\
             accounts = \"{origin}\"\n\
             api = \"{origin}\"\n\
             credentials = \"credentials.json\"\n\
             [channel]\n\
             notify_url = \"https://kiosk.example.com{CALLBACK_PATH}\"\n\
             lifetime = \"{}\"\n\
             [callbacks]\n\
             listen = \"{}\"\n\
             {}\
             [local]\n\
             listen = \"{}\"\n\
             {}\
             [store]\n\
             path = {}\n\
             [catch_up]\n\
             every = \"{}\"\n\
             credits_per_day = {}\n",
            wishes.lifetime,
            self.callbacks,
            if wishes.tls { tls_keys() } else { String::new() },
            self.local,
            socket,
            serde_json::Value::from(self.store().to_string_lossy()),
            wishes.catch_up_every,
            wishes.credits_per_day,
        );
        if let Some(organization) = wishes.books {
            text.push_str(&format!(
                "[books]\norganization_id = \"{organization}\"\ncalls_per_day = 10000\n\
                 [[books.webhook]]\nname = \"kiosk-invoices\"\nentity = \"invoice\"\n\
                 notify_url = \"https://kiosk.example.com{INVOICE_PATH}\"\n"
            ));
        }
        if wishes.platform {
            text.push_str(&format!(
                "[platform]\nnotify_url = \"https://kiosk.example.com{PLATFORM_PATH}\"\n\
                 desk = \"{origin}\"\n"
            ));
        }
        for module in wishes.modules {
            text.push_str(&format!(
                "[[module]]\nname = \"{module}\"\nindex = {:?}\n",
                wishes.index
            ));
        }
        for function in wishes.functions {
            text.push_str(&format!("[[function]]\nname = \"{function}\"\n"));
        }
        fs::write(self.configuration(), text)
    }

    /// Lets the ports go, for the agent to take them.
    pub(crate) fn release(&mut self) {
        self.held.clear();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is found by its name.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Locks what threads of an example share; one that panicked has told so already.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of the tests.
pub(crate) fn test_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

fn tls_keys() -> String {
    let value = |name| serde_json::Value::from(test_data(name).to_string_lossy());
    format!("tls_cert = {}\ntls_key = {}\n", value("first-cert.pem"), value("first-key.pem"))
}

fn free_port() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file: File| file.write_all(text.as_bytes()))
}
