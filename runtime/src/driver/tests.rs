//! A driver whose turns the test makes.

mod links;
mod memory;

use super::relief::REST_AFTER;
use super::store::why_not_made;
use super::*;
use crate::log::Errno;
use crate::metrics::Counter;
use crate::net::Event;
use crate::start::tests::one_driver;
use crate::waiting::WaitingOperations;
use ringmain_core::drive::{Command, Waiting as _};
use ringmain_core::hash::Key;
use ringmain_core::limits::RESUME_COUNT_MAX;
use ringmain_core::records::Records as _;
use ringmain_core::request::{KeyPlace, Origin};
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use std::net::{TcpListener, TcpStream};
use tempfile::TempDir;

struct Test {
    driver: Driver,
    /// One that the shard owns.
    name: [u8; 4],
    tickets: u64,
    _folders: [TempDir; 2],
}

impl Test {
    fn new() -> Test {
        let (folders, mut driver) = one_driver();
        driver.state.engine.now = Instant(1);
        let mut test = Test { driver, name: [0; 4], tickets: 0, _folders: folders };
        let owns = |test: &Test| test.driver.state.engine.shard.owns(test.place().partition);
        let mut numbers = 0..u32::MAX;
        while !owns(&test) {
            test.name = numbers.next().unwrap().to_le_bytes();
        }
        test
    }

    fn key(&self) -> Key<'_> {
        let about = &self.driver.state.about;
        Key::new(&self.name, about.hash_seed, about.partition_bits)
    }

    fn place(&self) -> KeyPlace {
        KeyPlace::of(&self.key())
    }

    fn set(&mut self, value: &[u8]) {
        self.tickets += 1;
        let put = Command::Put(PutRequest {
            w: 0,
            pw: 0,
            dw: 0,
            forwarded: false,
            want_context: false,
            timestamp: UnixMs(0),
            replaces: Replaces::Local,
            content: Content::Value { expires: None, value },
        });
        let State { engine, io, .. } = &mut self.driver.state;
        engine.turn(io).command(Origin::Session(self.tickets), &self.name, put);
    }

    fn waiting(&self) -> usize {
        self.driver.state.engine.waiting.count()
    }

    /// Writes until one waits for room, and then until so many do.
    fn stall(&mut self, waiting: usize) {
        while self.waiting() == 0 {
            self.set(&[1; 1 << 20]);
        }
        while self.waiting() < waiting {
            self.set(b"v");
        }
    }

    /// Has the files of the log made and written.
    fn make_room(&mut self) {
        let State { engine, disk, .. } = &mut self.driver.state;
        while disk.carry_out(&mut engine.log, Instant(1)).unwrap() {}
    }

    /// A new connection of a RESP client, and the client's end.
    fn client(&mut self) -> (ConnectionId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let slot = self.driver.net.connection_count() as u32;
        self.driver.on_accepted(listener.accept().unwrap().0.into(), RESP);
        (self.driver.state.io.connections.at(slot).unwrap().id, client)
    }

    fn connection(&mut self, id: ConnectionId) -> &mut connection::Connection {
        self.driver.state.io.connections.at(id.slot() as u32).unwrap()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.driver.state.about.metrics.counter_total(counter)
    }

    /// What was written for a client, bytes.
    fn output_bytes(&mut self, id: ConnectionId) -> usize {
        let connection::Speaks::Resp(session, _) = &self.connection(id).speaks else { panic!() };
        session.output_bytes()
    }
}

/// Writes that waited for one key went on all in one turn, thousands of them.
#[test]
fn those_that_wait_for_one_key_go_on_in_steps() {
    let mut test = Test::new();
    let mut waiting = 3 * RESUME_COUNT_MAX;
    test.stall(waiting);
    test.make_room();
    let place = test.place();
    while waiting > 0 {
        let State { engine, io, .. } = &mut test.driver.state;
        assert!(engine.has_next_to_resume());
        assert_eq!(engine.next_to_resume(), Some(place));
        engine.resume(io, place);
        waiting -= RESUME_COUNT_MAX;
        assert_eq!(test.waiting(), waiting);
    }
    assert_eq!(test.driver.state.engine.next_to_resume(), None);
}

/// One queue for all reasons had a reader wait for room in the log, behind a writer.
#[test]
fn who_is_held_back_waits_for_nothing_that_only_others_lack() {
    let mut test = Test::new();
    test.driver.state.engine.waiting = WaitingOperations::new(4, 64 << 20);
    let ((writer, _writer), (reader, _reader)) = (test.client(), test.client());
    test.connection(writer).has_written = true;
    test.connection(reader).has_waited = true;
    test.stall(3);
    for id in [writer, reader] {
        test.driver.state.receive(id, b"PING\r\n");
        assert!(test.driver.state.held_back.contains(id));
        test.driver.state.release_held_back();
        assert_eq!(test.output_bytes(id), 0);
    }
    let place = test.place();
    test.driver.state.engine.waiting.pop(place);
    test.driver.state.release_held_back();
    assert_eq!([writer, reader].map(|id| test.output_bytes(id)), [0, 7]);
    // In the order of their arrival, and behind what has waited.
    test.driver.state.receive(writer, b"ECHO behind\r\n");
    test.make_room();
    test.driver.state.release_held_back();
    assert_eq!(test.output_bytes(writer), 0, "others wait for room");
    // A turn takes so long and no longer; one more finds that nobody waits.
    while test.waiting() > 0 {
        test.driver.state.go_on_waiting();
    }
    test.driver.state.go_on_waiting();
    test.driver.state.release_held_back();
    assert_eq!(test.output_bytes(writer), 7 + 12);
    assert!(test.driver.state.held_back.is_empty());
}

/// It was run for nobody, and its records were read: whoever came later waited for that.
#[test]
fn what_waits_for_clients_that_left_is_given_up() {
    let mut test = Test::new();
    let ((left, _left), (stays, _stays)) = (test.client(), test.client());
    test.stall(1);
    let command = [b"*3\r\n$3\r\nSET\r\n$4\r\n", &test.name[..], b"\r\n$1\r\nv\r\n"].concat();
    for id in [left, stays, left] {
        test.driver.state.receive(id, &command);
    }
    assert_eq!(test.waiting(), 4);
    test.driver.state.on_event(Event::Closed { connection: left, unsent: None });
    test.driver.state.on_timers();
    assert_eq!(test.waiting(), 2);
    test.make_room();
    test.driver.state.go_on_waiting();
    test.make_room();
    test.driver.state.tell_stored();
    test.driver.state.deliver();
    assert_eq!((test.waiting(), test.output_bytes(stays)), (0, 5));
}

#[test]
fn what_nobody_waits_for_any_more_is_not_read() {
    let mut test = Test::new();
    for is_awaited in [false, true] {
        if is_awaited {
            test.stall(1);
        }
        let (name, about) = (test.name, &test.driver.state.about);
        let key = Key::new(&name, about.hash_seed, about.partition_bits);
        test.driver.state.engine.log.fetch(&key);
        test.driver.fetch_wanted();
        assert_eq!(test.driver.state.engine.next_to_resume().is_some(), is_awaited);
    }
}

#[test]
fn the_log_says_why_no_segment_is_made() {
    let [files, disk] = [libc::EMFILE, libc::ENOSPC].map(|number| why_not_made(Errno(number)));
    assert_eq!(
        files,
        "Too many open files (os error 24); raise the limit of open files (ulimit -n)"
    );
    assert_eq!(disk, "No space left on device (os error 28)");
}
