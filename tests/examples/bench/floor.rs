//! What can be had at best from what the agent is made of: a bare tiny_http, in this process, that
//! answers with constant bytes or keeps what it is sent. It checks nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use tiny_http::{Request, Response, Server, StatusCode};

use super::wire::Door;

/// Threads of the bare server, as many as the agent has.
const WORKERS: usize = 8;

/// A bare tiny_http, without a delay for small packets.
pub(crate) struct Floor {
    server: Arc<Server>,
    pub(crate) door: Door,
}

impl Floor {
    /// Answers everything with this body.
    pub(crate) fn constant(body: Vec<u8>) -> io::Result<Floor> {
        let body = Arc::new(body);
        Floor::open(move |request| answer(request, 200, &body))
    }

    /// Answers when the body of the request is on disk, at the end of this file: one writer appends
    /// all that wait, and flushes once for all of them.
    pub(crate) fn durable(path: &Path) -> io::Result<Floor> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (send, waiting) = mpsc::channel();
        thread::spawn(move || keep(file, &waiting));
        Floor::open(move |mut request| {
            let mut body = Vec::new();
            match request.as_reader().read_to_end(&mut body) {
                // A greeting: nothing is to be kept.
                Ok(0) => answer(request, 200, b""),
                // The writer ends after those who send to it.
                Ok(_) => drop(send.send((body, request))),
                Err(_) => answer(request, 400, b""),
            }
        })
    }

    fn open(respond: impl Fn(Request) + Clone + Send + 'static) -> io::Result<Floor> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Connections that are accepted inherit it.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        let address: SocketAddr = listener.local_addr()?;
        let server = Arc::new(Server::from_listener(listener, None).map_err(io::Error::other)?);
        for _ in 0..WORKERS {
            let (server, respond) = (Arc::clone(&server), respond.clone());
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    respond(request);
                }
            });
        }
        Ok(Floor { server, door: Door::Bare(address) })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        (0..WORKERS).for_each(|_| self.server.unblock());
    }
}

/// The writer.
fn keep(mut file: File, waiting: &Receiver<(Vec<u8>, Request)>) {
    while let Ok(first) = waiting.recv() {
        let group: Vec<_> = iter::once(first).chain(waiting.try_iter()).collect();
        let bodies: Vec<&[u8]> = group.iter().map(|(body, _)| body.as_slice()).collect();
        let kept = file.write_all(&bodies.concat()).and_then(|()| file.sync_data());
        let status = if kept.is_ok() { 200 } else { 503 };
        for (_, request) in group {
            answer(request, status, b"");
        }
    }
}

fn answer(request: Request, status: u16, body: &[u8]) {
    let length = Some(body.len());
    let reply = Response::new(StatusCode(status), Vec::new(), body, length, None);
    // Whoever asked may be gone.
    let _ = request.respond(reply.with_chunked_threshold(usize::MAX));
}
