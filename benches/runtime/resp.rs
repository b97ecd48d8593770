//! Pipelines of 16 commands, read and answered; behind the session is nothing but an answer.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput};
use ringmain_core::causality::{
    Actor, Dot, Record, Sibling, VersionVector, encode_record, record_bytes,
};
use ringmain_core::drive::{Answer, Command};
use ringmain_core::id::{Boot, NodeId, Partition};
use ringmain_core::records::{Applied, Place};
use ringmain_core::request::Outcome;
use ringmain_core::time::UnixMs;
use ringmain_runtime::session::request::{
    InfoLines, Lend, Requests, Role, Section, Submitted, Ticket, copied,
};
use ringmain_runtime::session::resp::{Limits, Next, RespSession};
use ringmain_runtime::sys::SendBuffer;

use crate::memory::name;

const PIPELINE_COUNT: u64 = 16;
const VALUE: [u8; 100] = [b'v'; 100];
const LIMITS: Limits =
    Limits { key_bytes_max: 4096, value_bytes_max: 1 << 20, reply_bytes_max: 64 << 20 };

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let bytes = record();
    let record = Record::new_checked(&bytes).expect("encode_record wrote it");
    let got = Answer::Local {
        outcome: Outcome::Got,
        record: Some(record.live(UnixMs(1))),
        context: None,
        live: 0,
        found: 0,
    };
    let applied = Applied { place: Place(1), live: 1, sole: true, minted: false, entries: 1 };
    let outcome = Outcome::Stored(applied);
    let stored = Answer::Local { outcome, record: None, context: None, live: 1, found: 0 };
    let (get, set) = (pipeline("GET", &[]), pipeline("SET", &[&VALUE]));
    case(criterion, "resp_get", &get, got, false);
    case(criterion, "resp_set", &set, stored, false);
    case(criterion, "resp_set_later", &set, stored, true);
}

/// Sixteen times a command, each with a key of its own.
fn pipeline(command: &str, values: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..PIPELINE_COUNT {
        let name = name(number);
        let arguments = [&[command.as_bytes(), &name], values].concat();
        bytes.extend(format!("*{}\r\n", arguments.len()).bytes());
        for argument in arguments {
            bytes.extend(format!("${}\r\n", argument.len()).bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
    }
    bytes
}

fn case(
    criterion: &mut Criterion,
    name: &str,
    pipeline: &[u8],
    answer: Answer<'_>,
    is_later: bool,
) {
    let mut session = RespSession::new(1, LIMITS);
    let mut requests = Always { answer, is_later, tickets: Vec::new() };
    let mut replies = SendBuffer::default();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(PIPELINE_COUNT));
    group.bench_function("pipeline_of_16", |bencher| {
        bencher.iter(|| {
            replies.clear();
            let progress = session.receive(black_box(pipeline), &mut requests);
            assert_eq!((progress.consumed, progress.next), (pipeline.len(), Next::Bytes(1)));
            for ticket in requests.tickets.drain(..) {
                assert!(session.answer(ticket, answer));
            }
            session.take_output(&mut replies);
            black_box(&mut replies);
        });
    });
    group.bench_function("control_copy", |bencher| {
        let replies = replies.to_vec();
        let (mut read, mut written) = (Vec::new(), Vec::new());
        bencher.iter(|| {
            read.clear();
            written.clear();
            read.extend_from_slice(black_box(pipeline));
            written.extend_from_slice(black_box(&replies));
            black_box((&mut read, &mut written));
        });
    });
    group.finish();
}

fn record() -> Vec<u8> {
    let dot = Dot::new(Actor::new(NodeId(1), Boot(1), 1), 1);
    let entries = [dot.to_bytes()];
    let version_vector = VersionVector::new_checked(&entries).expect("one entry");
    let sibling = Sibling { dot, flags: 0, timestamp: UnixMs(1), expires: None, value: &VALUE };
    let mut bytes = vec![0; record_bytes(version_vector, &[sibling])];
    encode_record(version_vector, &[sibling], &mut bytes);
    bytes
}

/// A driver that gives every command the same answer, at once or when it is asked for.
struct Always<'a> {
    answer: Answer<'a>,
    is_later: bool,
    tickets: Vec<Ticket>,
}

impl Requests for Always<'_> {
    fn wall(&self) -> UnixMs {
        UnixMs(1)
    }

    fn submit(
        &mut self,
        ticket: Ticket,
        key: &[u8],
        command: Command<'_>,
        answer: &mut dyn FnMut(Answer<'_>, &Lend<'_>),
    ) -> Submitted {
        black_box((key, command));
        if self.is_later {
            self.tickets.push(ticket);
            return Submitted::LaterInOrder;
        }
        answer(self.answer, &copied);
        Submitted::Done
    }

    fn expect(&self, keys: &[&[u8]]) {
        black_box(keys);
    }

    fn partition_count(&self) -> u32 {
        0
    }

    fn partition(&self, _: &[u8]) -> Partition {
        Partition(0)
    }

    fn placement(&self, _: Partition, _: &mut dyn FnMut(Role, SocketAddr)) {}

    fn info(&self, _: Section, _: &mut InfoLines<'_>) {}

    fn config(&self, _: &mut dyn FnMut(&str, &str)) {}
}
