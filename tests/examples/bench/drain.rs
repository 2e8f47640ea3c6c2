//! What any mirror has to do at least, in the same run: read every page from the simulator, parse
//! it, and put it on disk.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Bench;
use super::agent::Stage;
use super::home::lock;
use super::wire::Wire;

/// Seconds that it takes to read some pages.
pub(crate) struct Floors {
    /// And to parse them.
    pub(crate) parsed: f64,
    /// And to append each to a file, with an fdatasync of its own.
    pub(crate) kept: f64,
}

impl Floors {
    /// Of all records, or of those modified at `since` or later; there have to be so many.
    pub(crate) fn measure(
        bench: &Bench,
        stage: &Stage,
        since: Option<&str>,
        records: usize,
    ) -> io::Result<Floors> {
        let token = lock(&stage.upstream).issue_token();
        let (order, since) = match since {
            None => ("id", String::new()),
            Some(since) => ("Modified_Time", format!("If-Modified-Since: {since}\r\n")),
        };
        let list = format!("/crm/v2/Leads?per_page=200&sort_by={order}&sort_order=asc");
        let head = format!("Authorization: Zoho-oauthtoken {token}\r\n{since}");
        let address = stage.loopback.addr();
        let began = Instant::now();
        let mut rows = read(address, &list, &head, |_| Ok(()))?;
        let parsed = began.elapsed().as_secs_f64();
        let path = bench.directory.join("pages");
        let mut file = File::create(&path)?;
        let began = Instant::now();
        rows += read(address, &list, &head, |page| {
            file.write_all(page)?;
            file.sync_data()
        })?;
        let kept = began.elapsed().as_secs_f64();
        std::fs::remove_file(&path)?;
        match rows == 2 * records {
            true => Ok(Floors { parsed, kept }),
            false => Err(io::Error::other(format!("{rows} rows instead of twice {records}"))),
        }
    }
}

/// Reads and parses all pages of a list, upstream's or the agent's; the number of rows.
pub(crate) fn read(
    address: SocketAddr,
    list: &str,
    head: &str,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<usize> {
    #[derive(Deserialize)]
    struct Page {
        data: Vec<IgnoredAny>,
        info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        more_records: bool,
        next_page_token: Option<String>,
    }
    let mut wire = Wire::connect(address)?;
    let (mut place, mut rows) = ("page=1".to_owned(), 0);
    loop {
        let request = format!("GET {list}&{place} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n");
        let status = wire.ask(request.as_bytes())?;
        if status != 200 {
            return Err(io::Error::other(format!("{list} is answered {status}")));
        }
        each(wire.body())?;
        let page: Page = serde_json::from_slice(wire.body())?;
        rows += page.data.len();
        match page.info {
            Info { more_records: true, next_page_token: Some(token) } => {
                place = format!("page_token={token}");
            }
            _ => return Ok(rows),
        }
    }
}
