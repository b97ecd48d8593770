//! One worker that follows the ring: it asks each key's own shard, as clients that know the way do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_core::wire::reply::Reply;
use ringmain_runtime::client::blocking::Sockets;
use ringmain_runtime::client::router::{Router, TIMEOUT_MAX, Ticket};
use ringmain_runtime::client::{ClientError, Options};

use super::draw::{Kind, key_bytes};
use super::lane::Asked;
use super::limits::{LOAD_PIPELINE_COUNT, PATIENCE, PIPELINE_COUNT_MAX};
use super::source::Source;
use crate::args::BenchArgs;
use crate::failure::Failure;

/// How long a worker sleeps at most, so that it sees that another one has failed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Fleet {
    router: Router,
    sockets: Sockets,
    /// Connections to each shard.
    connections: u16,
    /// Requests in flight at most.
    room: usize,
    /// What is in flight, by the index of its ticket.
    asked: Vec<Option<(Ticket, Asked)>>,
    r: u8,
    w: u8,
}

impl Fleet {
    /// Connects to `node`, and learns the way. `connections` to each shard.
    pub(super) fn connect(
        node: SocketAddr,
        connections: u64,
        args: &BenchArgs,
    ) -> Result<Fleet, Failure> {
        let room = connections * args.pipeline.max(LOAD_PIPELINE_COUNT);
        // What a node does not answer in its own time is its error, not this program's.
        let options = Options {
            timeout: TIMEOUT_MAX,
            requests_max: room as usize,
            connections: connections as u16,
        };
        let broken = |error: ClientError| {
            let remedy = "start what is to be measured, or give its --node";
            Failure::failed(format!("cannot connect to {node}: {error}"), remedy)
        };
        let mut router = Router::new(&[node], options).map_err(broken)?;
        let mut sockets = Sockets::new();
        sockets.connect(&mut router).map_err(broken)?;
        Ok(Fleet {
            router,
            sockets,
            connections: connections as u16,
            room: 0,
            asked: Vec::new(),
            r: args.r.unwrap_or(0),
            w: args.w.unwrap_or(0),
        })
    }

    /// So many requests may be in flight on each connection from now on, taken together.
    pub(super) fn set_room(&mut self, count: u64) {
        assert!(count <= PIPELINE_COUNT_MAX);
        self.room = usize::from(self.connections) * count as usize;
    }

    /// As [`engine::serve`](super::engine::serve). The source sees one lane.
    pub(super) fn serve(
        &mut self,
        source: &mut impl Source,
        value: &[u8],
        is_broken: &AtomicBool,
    ) -> Result<(), Failure> {
        let served = self.try_serve(source, value, is_broken);
        if served.is_err() {
            is_broken.store(true, Ordering::Relaxed);
        }
        served
    }

    fn try_serve(
        &mut self,
        source: &mut impl Source,
        value: &[u8],
        is_broken: &AtomicBool,
    ) -> Result<(), Failure> {
        let (mut ready, mut over_since) = (Vec::new(), None);
        loop {
            let now = Instant::now();
            source.on_time(now, &mut ready);
            ready.clear();
            let is_broken = is_broken.load(Ordering::Relaxed);
            let is_over = source.is_over(now) || is_broken;
            if is_over {
                let late = *over_since.get_or_insert(now) + PATIENCE;
                if now >= late || self.router.in_flight() == 0 || is_broken {
                    break;
                }
            } else {
                // What was refused may be sent again.
                over_since = None;
            }
            while !is_over
                && self.router.in_flight() < self.room
                && let Some(asked) = source.next(0, now)
            {
                self.ask(asked, value, now)?;
            }
            let next = source.next_time().filter(|_| !is_over);
            let left = next.map_or(SLEEP_MAX, |at| at.saturating_duration_since(Instant::now()));
            self.turn(source, left.min(SLEEP_MAX))?;
        }
        for (ticket, asked) in self.asked.iter_mut().filter_map(Option::take) {
            self.router.forget(ticket);
            let outcome = Err(format!("no answer within {} s", PATIENCE.as_secs()));
            source.on_answer(asked, outcome, Instant::now());
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked, value: &[u8], now: Instant) -> Result<(), Failure> {
        let key = key_bytes(asked.key);
        let begun = match asked.kind {
            Kind::Get => {
                let (r, pr) = (self.r, 0);
                let request =
                    GetRequest { r, pr, forwarded: false, want_context: false, context: &[] };
                self.router.get(&key, &request, now)
            }
            Kind::Put => {
                let request = PutRequest {
                    w: self.w,
                    pw: 0,
                    dw: 0,
                    forwarded: false,
                    want_context: false,
                    timestamp: UnixMs(0),
                    replaces: Replaces::Local,
                    content: Content::Value { expires: None, value },
                };
                self.router.put(&key, &request, now)
            }
        };
        let ticket = begun.map_err(|error| {
            let remedy = "give fewer --connections, or smaller --value-bytes";
            Failure::failed(format!("cannot ask: {error}"), remedy)
        })?;
        if self.asked.len() <= ticket.index() {
            self.asked.resize(ticket.index() + 1, None);
        }
        self.asked[ticket.index()] = Some((ticket, asked));
        Ok(())
    }

    fn turn(&mut self, source: &mut impl Source, wait: Duration) -> Result<(), Failure> {
        let (router, sockets, asked) = (&mut self.router, &mut self.sockets, &mut self.asked);
        let mut now = None;
        let turned = sockets.turn(
            router,
            wait,
            &mut |ticket: Ticket, reply: Result<Reply<'_>, ClientError>| {
                let (_, asked) = asked[ticket.index()].take().expect("it is in flight");
                let outcome = match reply {
                    Ok(reply) if asked.kind == Kind::Get && reply.siblings().next().is_none() => {
                        Err("not found".into())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
                // What came together is told together.
                source.on_answer(asked, outcome, *now.get_or_insert_with(Instant::now));
            },
        );
        turned.map_err(|error| {
            Failure::failed(format!("cannot wait for answers: {error}"), "try again")
        })
    }
}
