//! The published test vectors, through the shipped encodings.

use std::collections::{BTreeMap, BTreeSet};

use ringmain_core::causality::{
    Actor, Causality, Change, Context, Dot, Event, Record, Sibling, VersionVector, Write,
    base64url_bytes, decode_base64url, decode_token, encode_base64url, encode_record, encode_token,
    record_bytes, token_bytes,
};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::time::UnixMs;
use serde_json::Value;

use super::world::{Copy, Names, Seen, Supersedes, World, Writes, check, ids, join};

fn part(name: &str) -> Value {
    let text = include_str!("../../../data/causality.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[name].clone()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// One history while it is played.
struct Player {
    world: World,
    nodes: Names,
    writes: Names,
    contexts: BTreeMap<String, Seen>,
    snapshots: BTreeMap<String, Option<Copy>>,
    live_max: usize,
}

impl Player {
    fn new() -> Player {
        Player {
            world: World::new(16),
            nodes: Names::default(),
            writes: Names::default(),
            contexts: BTreeMap::from([(String::new(), Seen::nothing())]),
            snapshots: BTreeMap::new(),
            live_max: 0,
        }
    }

    fn step(&mut self, step: &Value) {
        let argument = |index: usize| text(&step[index]);
        match argument(0) {
            op @ ("put" | "del") => {
                let node = self.nodes.number(argument(1));
                let context = &self.contexts[step[2].as_str().unwrap_or("")];
                let id = self.world.put(node, Supersedes::Given(context), op == "del");
                assert_eq!(id, self.writes.number(argument(3)), "writes have unique names");
                let live = self.world.siblings(node) & !self.world.tombstones;
                self.live_max = self.live_max.max(live.count_ones() as usize);
            }
            "send" => {
                let (from, to) = (self.nodes.number(argument(1)), self.nodes.number(argument(2)));
                self.world.send(from, to);
            }
            "drop" => {
                let node = self.nodes.number(argument(1));
                self.world.drop_copy(node);
            }
            "snap" => {
                let copy = self.world.snap(self.nodes.number(argument(1)));
                self.snapshots.insert(argument(2).to_string(), copy);
            }
            "rollback" => {
                let copy = self.snapshots[argument(2)].clone();
                self.world.roll_back(self.nodes.number(argument(1)), copy);
            }
            "restart" => {
                let node = self.nodes.number(argument(1));
                self.world.restart(node);
            }
            "read" | "readany" => {
                let nodes = self.node_numbers(&step[1]);
                let (siblings, context) = self.world.read(&nodes);
                self.contexts.insert(argument(2).to_string(), context);
                if argument(0) == "read" {
                    self.expect(siblings, &step[3], &step[4]);
                }
            }
            "check" => {
                let node = self.nodes.number(argument(1));
                self.expect(self.world.siblings(node), &step[2], &step[3]);
            }
            "covers" => {
                let node = self.nodes.number(argument(1));
                for id in self.write_numbers(&step[2]) {
                    assert!(self.world.covers(node, id));
                }
                for id in self.write_numbers(&step[3]) {
                    assert!(!self.world.covers(node, id));
                }
            }
            "maxsib" => assert!(self.live_max <= step[1].as_u64().unwrap() as usize),
            "final" => self.settle(step),
            other => panic!("unknown step {other}"),
        }
    }

    /// Everyone sends to everyone twice; then all are equal.
    fn settle(&mut self, step: &Value) {
        let nodes = self.node_numbers(&step[1]);
        for _ in 0..2 {
            for &from in &nodes {
                nodes.iter().for_each(|&to| self.world.send(from, to));
            }
        }
        let records: BTreeSet<_> =
            nodes.iter().map(|&node| self.world.snap(node).map(|copy| copy.record)).collect();
        assert_eq!(records.len(), 1, "one record, byte for byte");
        for node in nodes {
            self.expect(self.world.siblings(node), &step[2], &step[3]);
        }
    }

    fn expect(&mut self, siblings: Writes, live: &Value, tombstones: &Value) {
        assert_eq!(ids(siblings & !self.world.tombstones), self.write_numbers(live));
        if tombstones != "*" {
            assert_eq!(ids(siblings & self.world.tombstones), self.write_numbers(tombstones));
        }
    }

    fn node_numbers(&mut self, names: &Value) -> Vec<usize> {
        list(names).iter().map(|name| self.nodes.number(text(name))).collect()
    }

    fn write_numbers(&mut self, names: &Value) -> BTreeSet<usize> {
        list(names).iter().map(|name| self.writes.number(text(name))).collect()
    }
}

#[test]
fn histories() {
    let histories = part("history");
    assert_eq!(list(&histories).len(), 39);
    for history in list(&histories) {
        let mut player = Player::new();
        for (index, step) in list(&history["steps"]).iter().enumerate() {
            println!("{} step {index}: {step}", history["id"]);
            player.step(step);
        }
    }
}

/// The entries of `{"actor": number, ...}`; actors are named by one character.
fn clock(value: &Value) -> Vec<[u8; 16]> {
    let mut entries: Vec<_> = (value.as_object().unwrap().iter())
        .map(|(actor, number)| dot(actor, number.as_u64().unwrap()).to_bytes())
        .collect();
    entries.sort();
    entries
}

fn dot(actor: &str, number: u64) -> Dot {
    let node = actor.bytes().fold(0, |node, byte| node << 8 | u32::from(byte));
    Dot::new(Actor::new(NodeId(node), Boot(1), 1), number as u32)
}

fn encode(entries: &[[u8; 16]], siblings: &[Sibling<'_>]) -> Vec<u8> {
    let version_vector = VersionVector::new_checked(entries).unwrap();
    let mut bytes = vec![0xaa; record_bytes(version_vector, siblings)];
    encode_record(version_vector, siblings, &mut bytes);
    bytes
}

#[test]
fn classic_version_vectors() {
    let classic = part("classic_vv");
    let compare = |left: &Value, right: &Value, expected: &Value| {
        let expected = match text(expected) {
            "equal" => Causality::Equal,
            "dominates" => Causality::Dominates,
            "dominated" => Causality::Dominated,
            "concurrent" => Causality::Concurrent,
            other => panic!("unknown relation {other}"),
        };
        let (left, right) = (clock(left), clock(right));
        let left = VersionVector::new_checked(&left).unwrap();
        assert_eq!(left.compare(VersionVector::new_checked(&right).unwrap()), expected);
    };
    let figure = &classic["dynamo_fig3"];
    for case in list(&classic["compare"]) {
        compare(&figure[text(&case[0])], &figure[text(&case[1])], &case[2]);
    }
    for case in list(&classic["pairs"]) {
        compare(&case[0], &case[1], &case[2]);
    }
    for case in list(&classic["merge"]) {
        let mut merged = Record::empty().bytes().to_vec();
        for value in list(&case[0]) {
            merged = join(check(&merged), check(&encode(&clock(value), &[])));
        }
        assert_eq!(merged, encode(&clock(&case[1]), &[]));
    }
}

/// `{"dots": [[actor, number, value], ...], "vv": {...}}` as record bytes.
fn container(value: &Value) -> Vec<u8> {
    let mut siblings: Vec<_> = list(&value["dots"])
        .iter()
        .map(|entry| Sibling {
            dot: dot(text(&entry[0]), entry[1].as_u64().unwrap()),
            flags: 0,
            timestamp: UnixMs(0),
            expires: None,
            value: text(&entry[2]).as_bytes(),
        })
        .collect();
    siblings.sort_by_key(|sibling| sibling.dot);
    encode(&clock(&value["vv"]), &siblings)
}

#[test]
fn dotted_containers() {
    let vectors = part("dotted_container");
    assert!(!list(&vectors["sync"]).is_empty());
    for case in list(&vectors["sync"]) {
        let [a, b, expected] = ["a", "b", "expect"].map(|name| container(&case[name]));
        let (a, b) = (check(&a), check(&b));
        assert_eq!(join(a, b), expected);
        assert_eq!(join(b, a), expected);
        assert_eq!(join(a, a), a.bytes());
    }
    assert!(list(&vectors["discard"]).len() > 1);
    for case in list(&vectors["discard"]) {
        let (old, expected) = (container(&case["a"]), container(&case["expect"]));
        let context = clock(&case["ctx"]);
        assert_eq!(discard_by_event(check(&old), &context), expected);
    }
}

/// The record after an event that brings `context`, without the new version and its actor.
fn discard_by_event(old: Record<'_>, context: &[[u8; 16]]) -> Vec<u8> {
    let write = Write {
        context: Context::Given(VersionVector::new_checked(context).unwrap()),
        timestamp: UnixMs(0),
        change: Change::Value { expires: None, value: b"new" },
    };
    let event = Event::plan(Some(old), None, NodeId(1), Boot(1), 1, &write);
    let mut bytes = vec![0xaa; event.bytes()];
    event.write_to(Some(old), &write, &mut bytes);
    let new = check(&bytes);
    let entries: Vec<_> = (new.version_vector().iter())
        .filter(|entry| entry.actor() != event.dot().actor())
        .map(Dot::to_bytes)
        .collect();
    let siblings: Vec<_> = new.siblings().filter(|sibling| sibling.dot != event.dot()).collect();
    assert_eq!(siblings.len() + 1, new.sibling_count());
    encode(&entries, &siblings)
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn dot_of(node: &Value, boot: &Value, birth: &Value, number: &Value) -> Dot {
    let [node, boot, birth, number] = [node, boot, birth, number].map(|v| v.as_u64().unwrap());
    Dot::new(Actor::new(NodeId(node as u32), Boot(boot), birth as u32), number as u32)
}

#[test]
fn dots_pack_into_golden_bytes() {
    let cases = part("dot_pack");
    assert!(!list(&cases["cases"]).is_empty());
    for case in list(&cases["cases"]) {
        let dot = dot_of(&case["node"], &case["boot"], &case["birth"], &case["n"]);
        assert_eq!(dot.to_bytes().as_slice(), unhex(text(&case["hex"])));
        assert_eq!(Dot::from_bytes(dot.to_bytes()), dot);
    }
}

#[test]
fn context_tokens_have_golden_bytes() {
    let vectors = part("context_token");
    let secret: [u8; 16] = std::array::from_fn(|index| index as u8);
    assert!(!list(&vectors["ok"]).is_empty());
    for case in list(&vectors["ok"]) {
        let (key, golden) = (text(&case["key"]).as_bytes(), unhex(text(&case["hex"])));
        let entries: Vec<_> = list(&case["entries"])
            .iter()
            .map(|entry| dot_of(&entry[0], &entry[1], &entry[2], &entry[3]).to_bytes())
            .collect();
        let version_vector = VersionVector::new_checked(&entries).unwrap();
        let mut token = vec![0; token_bytes(entries.len())];
        assert_eq!(encode_token(&secret, key, version_vector, &mut token), token.len());
        assert_eq!(token, golden);
        assert_eq!(decode_token(&secret, key, &token), Ok(version_vector));
        let mut text_form = vec![0; base64url_bytes(token.len())];
        assert_eq!(encode_base64url(&token, &mut text_form), text_form.len());
        assert_eq!(text_form, text(&case["b64url"]).as_bytes());
        let mut back = vec![0; token.len()];
        assert_eq!(decode_base64url(&text_form, &mut back), Ok(token.len()));
        assert_eq!(back, token);
    }
    assert!(!list(&vectors["reject"]).is_empty());
    for case in list(&vectors["reject"]) {
        let token = unhex(text(&case["hex"]));
        let key = text(&case["key"]).as_bytes();
        assert!(decode_token(&secret, key, &token).is_err(), "{}", case["why"]);
    }
}
