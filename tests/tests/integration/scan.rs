//! SCAN and DBSIZE, as Redis clients see them at every node.

use std::collections::BTreeSet;

use redis::{RedisResult, Value};
use ringmain_tests::process::{Client, Cluster, code, until};

/// Small, so that a scan has few partitions to visit.
const SETTINGS: [&str; 6] = ["--shards", "2", "--partitions", "64", "--probe-interval", "100ms"];

/// What a test harness writes to see that a cluster has formed.
const FORMED_COUNT: u64 = 16;

type Page = (String, Vec<String>);

fn set(client: &mut Client, keys: impl IntoIterator<Item = String>) {
    let lines: Vec<String> = keys.into_iter().map(|key| format!("SET {key} v")).collect();
    client.pipeline::<Vec<Value>>(&lines).unwrap();
}

fn keys(numbers: std::ops::Range<u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("key-{number}")).collect()
}

/// One whole scan, each page at the next of `clients`; `between` is done behind every page.
fn scan(clients: &mut [Client], options: &str, mut between: impl FnMut(usize)) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for page in 0.. {
        let index = page % clients.len();
        let line = format!("SCAN {cursor} {options}");
        let (next, keys): Page = clients[index].ask(&line).unwrap();
        found.extend(keys);
        if next == "0" {
            break;
        }
        let number = |cursor: &str| cursor.parse::<u64>().unwrap();
        assert!(number(&next) > number(&cursor), "{cursor} to {next}");
        cursor = next;
        between(page);
    }
    found
}

/// The keys of a scan, each of which came once.
fn set_of(found: Vec<String>) -> BTreeSet<String> {
    let count = found.len();
    let found = BTreeSet::from_iter(found);
    assert_eq!(found.len(), count, "each key comes once while nothing changes");
    found
}

#[test]
fn any_node_shows_what_lives_and_nothing_else() {
    // Of four nodes each lacks a quarter of the partitions.
    let cluster = Cluster::form_with(4, &SETTINGS);
    let mut clients = cluster.clients();
    assert_eq!(clients[0].ask::<u64>("DBSIZE").unwrap(), FORMED_COUNT);
    for (index, client) in clients.iter_mut().enumerate() {
        let first = 100 * index as u32;
        set(client, keys(first..first + 100));
    }
    for number in 0..50 {
        let (key, expiring) = (format!("gone-{number}"), format!("brief-{number}"));
        clients[number % 4].ask::<Value>(&format!("SET {key} v")).unwrap();
        clients[(number + 1) % 4].ask::<Value>(&format!("DEL {key}")).unwrap();
        clients[number % 4].ask::<Value>(&format!("SET {expiring} v PX 100")).unwrap();
        clients[number % 4].ask::<Value>(&format!("SET later-{number} v EX 1000")).unwrap();
    }
    until("all that is brief has expired", || {
        clients[3].ask::<Option<String>>("GET brief-49").unwrap().is_none()
    });
    for client in &mut clients {
        let one = std::slice::from_mut(client);
        assert_eq!(set_of(scan(one, "MATCH key-* COUNT 7", |_| ())), keys(0..400));
        let all = set_of(scan(one, "COUNT 1000", |_| ()));
        assert_eq!(all.len(), 450 + FORMED_COUNT as usize);
        assert!(!all.iter().any(|key| key.starts_with("gone-") || key.starts_with("brief-")));
        assert!(client.ask::<u64>("DBSIZE").unwrap() >= 450 + FORMED_COUNT);
    }
    // A cursor is valid at any node.
    assert_eq!(set_of(scan(&mut clients, "MATCH key-*", |_| ())), keys(0..400));
    let some = |options: &str, clients: &mut [Client]| set_of(scan(clients, options, |_| ()));
    let expected = keys(0..400).into_iter().filter(|key| key.len() == 7 && &key[4..5] == "1");
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(some("MATCH key-[1]??", &mut clients), expected);
    assert_eq!(some("COUNT 100 MATCH KEY-* TYPE string", &mut clients), BTreeSet::new());
    assert_eq!(some("TYPE hash COUNT 100", &mut clients), BTreeSet::new());
    // A page is about as long as COUNT asks for.
    let (_, page): Page = clients[0].ask("SCAN 0 COUNT 50").unwrap();
    assert!((50..150).contains(&page.len()), "{}", page.len());
}

#[test]
fn a_scan_is_complete_though_a_node_is_killed_in_its_middle() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    let mut clients = cluster.clients();
    set(&mut clients[0], keys(0..300));
    set(&mut clients[2], keys(300..600));
    let mut rest: Vec<Client> = clients.drain(..2).collect();
    let found = scan(&mut rest, "MATCH key-* COUNT 20", |page| {
        if page == 5 {
            cluster.kill(2);
        }
    });
    assert_eq!(BTreeSet::from_iter(found), keys(0..600));
    // What is written and deleted now, the dead one lacks.
    set(&mut rest[1], keys(600..700));
    for number in 0..50 {
        rest[0].ask::<Value>(&format!("DEL key-{number}")).unwrap();
    }
    assert_eq!(set_of(scan(&mut rest, "MATCH key-*", |_| ())), keys(50..700));
    for client in &mut rest {
        assert!(client.ask::<u64>("DBSIZE").unwrap() >= 650 + FORMED_COUNT);
    }
    // Back, and asked at once.
    cluster.start(2);
    let mut back = [cluster.client(2)];
    until("the node that is back reads from the others", || {
        back[0].ask::<Value>("GET key-60").is_ok()
    });
    let found = patient_scan(&mut back[0]);
    assert_eq!(found, keys(50..700));
}

/// A whole scan of keys by one client, who says again what was refused.
fn patient_scan(client: &mut Client) -> BTreeSet<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let mut page: Option<Page> = None;
        until("a page of a scan", || {
            let answer: RedisResult<Page> =
                client.ask(&format!("SCAN {cursor} COUNT 100 MATCH key-*"));
            page = answer.ok();
            page.is_some()
        });
        let (next, keys) = page.unwrap();
        found.extend(keys);
        if next == "0" {
            return BTreeSet::from_iter(found);
        }
        cursor = next;
    }
}

#[test]
fn scans_are_complete_while_data_moves() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    let mut clients = cluster.clients();
    set(&mut clients[0], keys(0..500));
    let added = cluster.add(&[]);
    let mut newcomer = None;
    let mut has_settled = false;
    // Once more when all has moved.
    while !has_settled {
        let status: String = clients[0].ask("INFO cluster").unwrap();
        has_settled = status.contains("members:4") && status.contains("active_topologies:1");
        for client in clients.iter_mut().chain(&mut newcomer) {
            assert_eq!(patient_scan(client), keys(0..500));
        }
        if status.contains("members:4") && newcomer.is_none() {
            newcomer = Some(cluster.client(added));
        }
    }
}

#[test]
fn what_no_node_can_read_is_an_error() {
    let mut cluster = Cluster::form_with(4, &SETTINGS);
    let mut client = cluster.client(0);
    set(&mut client, keys(0..100));
    for node in 1..4 {
        cluster.kill(node);
    }
    let mut said = String::new();
    until("the others are known to be gone", || {
        said = client.ask::<u64>("DBSIZE").map_or_else(|e| e.to_string(), |n| n.to_string());
        said.contains("UNAVAILABLE")
    });
    assert!(said.contains("R=1 nodes=0"), "{said}");
    assert_eq!(code(client.ask::<Value>("SCAN 0")), "NOQUORUM");
    assert_eq!(client.ask::<String>("PING").unwrap(), "PONG");
}
