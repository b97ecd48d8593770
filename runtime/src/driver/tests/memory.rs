//! A shard whose memory is short: what it refuses, gives up and gives back.

use super::connection::Speaks;
use super::*;
use crate::admission::{HELD_BYTES, LONG_BYTES, Level, Memory, STALE};
use crate::bodies::RequestBodies;
use crate::driver::io::{PEER_OUT_BYTES_MAX, PEER_OUT_BYTES_TIGHT};
use crate::driver::relief::{LOOK_PAUSE, TIGHT_REST_AFTER};
use crate::session::native::frames::FrameReader;
use crate::session::request::Ticket;
use crate::sys::SendBuffer;
use ringmain_core::drive::{Answer, Bodies as _, Links as _, Lost, To};
use ringmain_core::id::{NodeId, RequestId};
use ringmain_core::limits::PULSE;
use ringmain_core::wire::reply::{
    Reply, ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes,
};
use std::time::Duration;

const BUDGET: usize = 8 * HELD_BYTES;
const NO_ROOM: &str = "-BUSY no memory for a long command, try again\r\n";
const BUSY: &str = "-BUSY too much to do, try again\r\n";

impl Test {
    fn short() -> Test {
        let mut test = Test::new();
        test.driver.state.io.memory = Memory::new(BUDGET);
        test
    }

    /// Requests in flight hold so much.
    fn hold(&mut self, bytes: usize) {
        let mut bodies = RequestBodies::default();
        bodies.keep(RequestId(1), bytes, |_| {});
        self.driver.state.engine.bodies = bodies;
        self.driver.state.count_requests();
    }

    fn level(&self) -> Level {
        self.driver.state.io.memory.level()
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.driver.state.receive(id, bytes);
        self.driver.state.io.recount(id.slot() as u32);
    }

    /// The time is so much later, and what memory needs is done.
    fn wait(&mut self, duration: Duration) {
        let State { engine, io, .. } = &mut self.driver.state;
        let end = engine.now + duration;
        // In steps, or the shard would take itself for one that was stopped.
        while engine.now < end {
            engine.now = end.min(engine.now + PULSE);
            engine.turn(io).timeouts(1);
        }
        self.driver.state.relieve();
    }

    /// What was written for a client, once what it wrote is on disk.
    fn output(&mut self, id: ConnectionId) -> String {
        self.make_room();
        self.driver.state.tell_stored();
        self.driver.state.deliver();
        let mut output = SendBuffer::default();
        let Speaks::Resp(session, _) = &mut self.connection(id).speaks else { panic!() };
        session.take_output(&mut output);
        String::from_utf8(output.to_vec()).unwrap()
    }

    fn rest_bytes(&mut self, id: ConnectionId) -> usize {
        let Speaks::Resp(_, rest) = &self.connection(id).speaks else { panic!() };
        rest.len()
    }

    /// The command that writes the key, in two halves.
    fn set_in_halves(&self, value_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let name = String::from_utf8_lossy(&self.name);
        let value = vec![b'v'; value_bytes];
        let mut whole =
            format!("*3\r\n$3\r\nSET\r\n$4\r\n{name}\r\n${value_bytes}\r\n").into_bytes();
        let begun = whole.len() + value_bytes / 2;
        whole.extend_from_slice(&value);
        whole.extend_from_slice(b"\r\n");
        let rest = whole.split_off(begun);
        (whole, rest)
    }

    /// Has a client ask for `count` keys of the other shard, which never answers.
    fn ask(&mut self, id: ConnectionId, count: u32) {
        let about = &self.driver.state.about;
        let (seed, bits) = (about.hash_seed, about.partition_bits);
        let shard = &self.driver.state.engine.shard;
        let names = (0..u32::MAX).map(|number| format!("key-{number}"));
        let others = names.filter(|name| {
            let key = Key::new(name.as_bytes(), seed, bits);
            !shard.owns(key.partition)
        });
        let commands: Vec<String> =
            others.take(count as usize).map(|name| format!("GET {name}\r\n")).collect();
        self.send(id, commands.concat().as_bytes());
    }

    /// It does, with a value of so many bytes.
    fn answer(&mut self, id: ConnectionId, operation: u32, value_bytes: usize) {
        let connection = connection::Connections::session_number(self.connection(id).link);
        let head = ReplyHead { live: 1, ..ReplyHead::of(Status::Ok) };
        let mut bytes = vec![0; reply_bytes(0, 1, value_bytes)];
        let mut writer = ReplyWriter::new(&head, 0, 1, &mut bytes);
        let value = &vec![b'v'; value_bytes];
        writer.sibling(&ReplySibling { timestamp: UnixMs(1), expires: None, value });
        writer.finish();
        let reply = Reply::new_checked(&bytes).unwrap();
        let ticket = Ticket { connection, operation };
        self.driver.state.io.answer(ticket.number(), Answer::Remote(reply));
        self.driver.state.deliver();
        self.driver.state.io.recount(id.slot() as u32);
    }
}

#[test]
fn a_request_too_many_is_busy_and_what_needs_no_memory_is_done() {
    let mut test = Test::short();
    let (id, _client) = test.client();
    let (begun, rest) = test.set_in_halves(100);
    let set = [begun, rest].concat();
    test.hold(BUDGET - 4096);
    test.send(id, &set);
    assert_eq!(test.output(id), "+OK\r\n");
    test.hold(BUDGET);
    test.send(id, &set);
    let get = format!("GET {}\r\nPING\r\n", String::from_utf8_lossy(&test.name));
    test.send(id, get.as_bytes());
    let value = "v".repeat(100);
    assert_eq!(test.output(id), format!("{BUSY}$100\r\n{value}\r\n+PONG\r\n"));
    test.hold(0);
    test.send(id, &set);
    assert_eq!(test.output(id), "+OK\r\n");
}

#[test]
fn half_of_a_long_command_is_given_up_when_memory_is_full() {
    let mut test = Test::short();
    let (id, _client) = test.client();
    let (begun, rest) = test.set_in_halves(4 * LONG_BYTES);
    test.send(id, &begun);
    assert_eq!(test.rest_bytes(id), begun.len());
    let held = test.driver.state.io.memory.bytes();
    test.hold(BUDGET - BUDGET / 8 - 1 - held);
    test.wait(STALE / 2);
    assert_eq!((test.level(), test.rest_bytes(id)), (Level::Tight, begun.len()));
    test.hold(BUDGET);
    test.wait(Duration::from_secs(1));
    assert_eq!((test.rest_bytes(id), test.output(id)), (0, NO_ROOM.to_owned()));
    // One that begins now keeps nothing.
    test.send(id, &rest);
    test.send(id, &begun);
    assert_eq!((test.rest_bytes(id), test.output(id)), (0, NO_ROOM.to_owned()));
    test.hold(0);
    test.send(id, &rest);
    test.send(id, &begun);
    test.send(id, &rest);
    assert_eq!(test.output(id), "+OK\r\n");
}

#[test]
fn half_of_a_command_that_does_not_move_is_given_up_while_memory_is_tight() {
    let mut test = Test::short();
    let ((slow, _slow), (quick, _quick)) = (test.client(), test.client());
    let (begun, rest) = test.set_in_halves(4 * LONG_BYTES);
    test.send(slow, &begun);
    test.send(quick, &begun);
    test.hold(BUDGET / 2);
    let short = STALE - Duration::from_millis(1);
    test.wait(short);
    assert_eq!([slow, quick].map(|id| test.rest_bytes(id)), [begun.len(); 2]);
    test.send(quick, &rest[..1]);
    test.wait(STALE - short + LOOK_PAUSE);
    assert_eq!([slow, quick].map(|id| test.rest_bytes(id)), [0, begun.len() + 1]);
    test.send(quick, &rest[1..]);
    assert_eq!(test.output(quick), "+OK\r\n");
    assert_eq!(test.output(slow), NO_ROOM);
}

/// Twenty of them once took 803 MB.
#[test]
fn who_holds_much_gets_no_long_answers_while_memory_is_tight() {
    let mut test = Test::short();
    let ((greedy, _greedy), (modest, _modest)) = (test.client(), test.client());
    for (operation, is_tight) in [(0, false), (1, true)] {
        test.connection(greedy).spare = vec![0; HELD_BYTES + 1].into();
        test.driver.state.io.recount(greedy.slot() as u32);
        test.hold(if is_tight { BUDGET / 2 } else { 0 });
        test.ask(greedy, 1);
        test.answer(greedy, operation, LONG_BYTES + 1);
        let output = test.output(greedy);
        assert_eq!(output == BUSY, is_tight, "{output}");
    }
    assert_eq!(test.level(), Level::Tight);
    test.ask(modest, 1);
    test.answer(modest, 0, LONG_BYTES + 1);
    assert!(test.output(modest).starts_with("$16385\r\n"));
    test.ask(modest, 1);
    test.hold(BUDGET);
    test.answer(modest, 1, LONG_BYTES + 1);
    assert_eq!(test.output(modest), BUSY);
}

#[test]
fn who_does_not_read_is_closed_while_memory_is_tight() {
    let mut test = Test::short();
    let ((deaf, _deaf), (_idle, _idle_client)) = (test.client(), test.client());
    test.connection(deaf).is_sending = true;
    test.connection(deaf).sending_since = test.driver.state.engine.now;
    test.connection(deaf).sending_bytes = LONG_BYTES + 1;
    test.driver.state.io.recount(deaf.slot() as u32);
    test.hold(BUDGET / 2 - LONG_BYTES - 2);
    test.wait(STALE);
    assert_eq!(test.level(), Level::Roomy);
    assert_eq!(test.count(Counter::ConnectionsEvicted), 0);
    test.hold(BUDGET / 2);
    test.wait(Duration::from_secs(1));
    assert_eq!(test.count(Counter::ConnectionsEvicted), 1);
    test.driver.carry_out();
    test.driver.net.submit_and_wait(None).unwrap();
    test.driver.state.on_event(Event::Closed { connection: deaf, unsent: None });
    test.hold(0);
    assert_eq!(test.driver.state.io.memory.bytes(), 0);
}

/// What finds no room is lost, as on a link that breaks: others notice, and keep hints.
#[test]
fn a_peer_that_does_not_read_is_owed_no_more_than_its_bound() {
    let mut test = Test::short();
    let (id, _peer) = test.client();
    let connection = test.connection(id);
    let link = connection.link;
    connection.is_counted = false;
    connection.speaks = Speaks::PeerOut(NodeId(9), ShardIndex(0), FrameReader::new(1 << 20));
    let send = |test: &mut Test, bytes| test.driver.state.io.send(To::Link(link), bytes, |_| {});
    for (held, is_sending, most) in [
        (0, true, PEER_OUT_BYTES_MAX),
        (BUDGET / 2, true, PEER_OUT_BYTES_TIGHT),
        (BUDGET, true, PEER_OUT_BYTES_TIGHT),
        // One frame alone goes in any case: what was begun is to be ended.
        (BUDGET, false, PEER_OUT_BYTES_MAX),
    ] {
        test.connection(id).out = SendBuffer::default();
        test.connection(id).is_sending = is_sending;
        test.hold(held);
        let before = test.driver.state.io.lost_count;
        let first = if is_sending { most - LONG_BYTES } else { most };
        assert_eq!(send(&mut test, first), Ok(()));
        if is_sending {
            assert_eq!(send(&mut test, LONG_BYTES), Ok(()));
        }
        assert_eq!(send(&mut test, 1), Err(Lost));
        assert_eq!(test.driver.state.io.lost_count, before + 1);
    }
}

#[test]
fn a_connection_without_anything_to_do_gives_its_buffers_back() {
    let mut test = Test::short();
    let (id, _client) = test.client();
    let (begun, rest) = test.set_in_halves(LONG_BYTES);
    test.send(id, &begun);
    test.send(id, &rest);
    assert_eq!(test.output(id), "+OK\r\n");
    test.connection(id).spare = vec![0; 1000].into();
    test.driver.flush();
    test.connection(id).is_sending = false;
    test.connection(id).sending_bytes = 0;
    test.driver.state.io.recount(id.slot() as u32);
    assert!(test.driver.state.io.memory.bytes() >= 1000);
    let rests_at = test.driver.state.engine.now + REST_AFTER;
    assert_eq!(test.driver.state.next_relief(), Some(rests_at));
    test.wait(REST_AFTER - Duration::from_millis(1));
    assert!(test.driver.state.io.memory.bytes() >= 1000);
    test.wait(Duration::from_millis(1));
    test.hold(0);
    assert_eq!(test.driver.state.io.memory.bytes(), 0);
    assert_eq!(test.driver.state.next_relief(), None);
}

/// What many keep for later is not held against anybody.
#[test]
fn buffers_that_are_kept_go_first_when_memory_is_tight() {
    let mut test = Test::short();
    let (id, _client) = test.client();
    test.connection(id).spare = vec![0; BUDGET / 2].into();
    test.driver.state.io.mark(id.slot() as u32);
    test.driver.flush();
    test.hold(0);
    assert_eq!(test.level(), Level::Tight);
    let rests_at = test.driver.state.engine.now + TIGHT_REST_AFTER;
    assert_eq!(test.driver.state.io.rests_next(), Some(rests_at));
    test.wait(TIGHT_REST_AFTER);
    assert_eq!(test.level(), Level::Roomy);
    assert_eq!(test.driver.state.io.memory.bytes(), 0);
}
