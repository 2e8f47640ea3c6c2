//! How many reads are answered, beside what tiny_http does when it has nothing to do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::load::Load;
use super::sim::data;
use super::wire::{Wire, get};

const RECORDS: usize = 2_000;
const RECORD_BYTES: usize = 1_500;
/// Threads of the bare server, as many as the agent has.
const FLOOR_WORKERS: usize = 8;

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let mut ids = Vec::new();
    let mut stage = Stage::new(bench, |upstream| {
        ids = data::bulky(upstream, "Leads", RECORDS, RECORD_BYTES);
    })?;
    stage.start()?;
    stage.wait_until_ready()?;
    let local = stage.home.local;
    let by_id: Vec<Vec<u8>> = ids.iter().map(|id| get(&format!("/crm/v2/Leads/{id}"))).collect();
    let pages: Vec<Vec<u8>> =
        (1..=10).map(|page| get(&format!("/crm/v2/Leads?per_page=200&page={page}"))).collect();

    let columns = ["1.5 KB a record, kept alive", "reads/s", "spread", "p50 ms", "p99 ms"];
    let mut table = Table::new("Reads", &columns);
    let kinds = [
        ("by id", &by_id, None),
        ("floor: bare tiny_http, one record", &by_id, Some(sample_of(local, &by_id[0])?)),
        ("page of 200", &pages, None),
        ("floor: bare tiny_http, one page", &pages, Some(sample_of(local, &pages[0])?)),
    ];
    for (name, requests, floor) in kinds {
        let floor = floor.map(Floor::open).transpose()?;
        let address = floor.as_ref().map_or(local, |floor| floor.address);
        for callers in [1, 8] {
            let load = Load { address, requests, callers, kept: true, span: bench.span };
            let repetitions: io::Result<Vec<Sample>> =
                (0..bench.repetitions).map(|_| load.run()).collect();
            let repetitions = repetitions?;
            let rate = Figure::of(&repetitions, Sample::per_second);
            table.row(vec![
                format!("{name}, {callers} at once"),
                rate.median(),
                rate.spread(),
                Figure::of(&repetitions, |sample| sample.percentile(50)).median(),
                Figure::of(&repetitions, |sample| sample.percentile(99)).median(),
            ]);
        }
    }
    stage.stop()?;
    Ok(table)
}

/// The body of a reply, for the bare server to give.
fn sample_of(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut wire = Wire::connect(address)?;
    wire.ask(request)?;
    Ok(wire.body().to_vec())
}

/// tiny_http with a constant body, without a delay for small packets.
struct Floor {
    server: Arc<tiny_http::Server>,
    address: SocketAddr,
}

impl Floor {
    fn open(body: Vec<u8>) -> io::Result<Floor> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Connections that are accepted inherit it.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        let address = listener.local_addr()?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let (server, body) = (Arc::new(server), Arc::new(body));
        for _ in 0..FLOOR_WORKERS {
            let (server, body) = (Arc::clone(&server), Arc::clone(&body));
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    let (status, length) = (tiny_http::StatusCode(200), body.len());
                    let reply = tiny_http::Response::new(
                        status,
                        Vec::new(),
                        body.as_slice(),
                        Some(length),
                        None,
                    );
                    let _ = request.respond(reply.with_chunked_threshold(usize::MAX));
                }
            });
        }
        Ok(Floor { server, address })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        (0..FLOOR_WORKERS).for_each(|_| self.server.unblock());
    }
}
