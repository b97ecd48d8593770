//! What a Redis client may rely on, at every node of a cluster.

use redis::Value;
use ringmain_tests::process::{Client, Cluster, code};

type Found = Option<String>;

/// The context of an answer of `RM.GET`, and its siblings in some order, sorted.
fn read(client: &mut Client, key: &str) -> (String, Vec<String>) {
    let mut answer: Vec<String> = client.ask(&format!("RM.GET {key}")).unwrap();
    let context = answer.remove(0);
    answer.sort();
    (context, answer)
}

#[test]
fn plain_commands_work_on_every_node() {
    let cluster = Cluster::form(3);
    for (node, client) in cluster.clients().iter_mut().enumerate() {
        let key = format!("plain-{node}");
        let mut ask = |line: &str| client.ask::<Found>(&line.replace("KEY", &key)).unwrap();
        assert_eq!(ask("PING").as_deref(), Some("PONG"));
        assert_eq!(ask("ECHO hello").as_deref(), Some("hello"));
        assert_eq!(ask("GET KEY"), None);
        assert_eq!(ask("SET KEY 1 XX"), None, "there is nothing to replace");
        assert_eq!(ask("SET KEY 1 NX").as_deref(), Some("OK"));
        assert_eq!(ask("SET KEY 2 NX"), None);
        assert_eq!(ask("SET KEY three GET").as_deref(), Some("1"));
        assert_eq!(ask("SET KEY four XX").as_deref(), Some("OK"));
        assert_eq!(ask("STRLEN KEY").as_deref(), Some("4"));
        assert_eq!(ask("TYPE KEY").as_deref(), Some("string"));
        assert_eq!(ask("GETDEL KEY").as_deref(), Some("four"));
        assert_eq!(ask("GETDEL KEY"), None);
        assert_eq!(ask("TYPE KEY").as_deref(), Some("none"));
        assert_eq!(ask("MSET KEY-a 1 KEY-b 2").as_deref(), Some("OK"));
        assert_eq!(ask("EXISTS KEY-a KEY-b KEY-c").as_deref(), Some("2"));
        let three: Vec<Found> = client.ask(&format!("MGET {key}-a {key}-c {key}-b")).unwrap();
        assert_eq!(three, [Some("1".into()), None, Some("2".into())]);
        assert_eq!(client.ask::<u32>(&format!("DEL {key}-a {key}-c")).unwrap(), 1);
        assert_eq!(client.ask::<u32>(&format!("UNLINK {key}-b")).unwrap(), 1);
        assert_eq!(client.ask::<Found>("CLIENT SETNAME oak").unwrap().as_deref(), Some("OK"));
        assert_eq!(client.ask::<Found>("CLIENT GETNAME").unwrap().as_deref(), Some("oak"));
        assert_eq!(client.ask::<Found>("SELECT 0").unwrap().as_deref(), Some("OK"));
        assert_eq!(code(client.ask::<Value>("SELECT 1")), "ERR");
        assert_eq!(code(client.ask::<Value>("AUTH secret")), "ERR");
    }
}

#[test]
fn one_write_is_read_at_every_node() {
    let cluster = Cluster::form(3);
    let mut clients = cluster.clients();
    let everything: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1_u32 << 20).map(|at| (at >> 3) as u8).collect();
    for value in [&b""[..], b"\r\n$-1\r\n\0", &everything, &large] {
        for writer in 0..3 {
            let key = [&everything[..], &[writer as u8]].concat();
            clients[writer].say::<()>(&[b"SET", &key, value]).unwrap();
            for reader in &mut clients {
                let found: Vec<u8> = reader.say(&[b"GET", &key]).unwrap();
                assert!(found == value, "{} bytes are others", value.len());
            }
        }
    }
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let cluster = Cluster::form_with(3, &["--shards", "2"]);
    for (node, client) in cluster.clients().iter_mut().enumerate() {
        let lines = (0..500).flat_map(|n| {
            let key = format!("order-{node}-{}", n % 50);
            [format!("SET {key} {n}"), format!("GET {key}"), format!("ECHO {n}")]
        });
        let answers: Vec<String> = client.pipeline(&lines.collect::<Vec<_>>()).unwrap();
        for (n, answer) in answers.chunks(3).enumerate() {
            assert_eq!(answer, ["OK".into(), n.to_string(), n.to_string()]);
        }
    }
}

#[test]
fn resp3_is_spoken_to_who_asks() {
    let cluster = Cluster::form(1);
    let mut client = Client::connect_resp3(cluster.resp(0)).unwrap();
    let hello: Value = client.ask("HELLO 3").unwrap();
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
    assert_eq!(client.ask::<Value>("GET nothing").unwrap(), Value::Nil);
    client.ask::<()>("SET a b").unwrap();
    assert_eq!(client.ask::<Value>("GET a").unwrap(), Value::BulkString(b"b".into()));
    assert_eq!(code(client.ask::<Value>("HELLO 4")), "NOPROTO");
    let hello: Value = client.ask("HELLO 2").unwrap();
    assert!(matches!(hello, Value::Array(_)), "{hello:?}");
}

#[test]
fn what_is_too_large_or_unknown_is_refused_and_the_connection_goes_on() {
    let cluster = Cluster::form(3);
    let large = vec![b'v'; (1 << 20) + 1];
    let long = "k".repeat(4097);
    for client in &mut cluster.clients() {
        assert_eq!(code(client.say::<Value>(&[b"SET", b"a", &large])), "TOOLARGE");
        assert_eq!(code(client.ask::<Value>(&format!("SET {long} v"))), "TOOLARGE");
        assert_eq!(code(client.ask::<Value>(&format!("GET {long}"))), "TOOLARGE");
        for line in [
            "NONSENSE",
            "GET",
            "GET a b",
            "SET a",
            "SET a b FAST",
            "SET a b NX XX",
            "SET a b EX 0",
            "SET a b EX 10 KEEPTTL",
            "MSET a",
            "EXPIRE a",
            "EXPIRE a 10 SOON",
            "TTL a b",
            "SCAN x",
            "SCAN 0 COUNT 0",
            "SCAN 0 MATCH",
            "DBSIZE a",
            "INCR a",
            "RM.GET",
            "RM.PUT a -",
            "RM.PUT a - b W",
            "RM.PUT a - b W x",
            "RM.PUT a - b EX x",
        ] {
            assert_eq!(code(client.ask::<Value>(line)), "ERR", "{line}");
        }
        assert_eq!(client.ask::<Found>("GET a").unwrap(), None, "nothing was written");
    }
}

#[test]
fn siblings_are_made_shown_and_resolved_on_different_nodes() {
    let cluster = Cluster::form(3);
    let [a, b, c] = &mut cluster.clients()[..] else { unreachable!("three nodes") };
    let (empty, none) = read(a, "cart");
    assert_eq!((empty.as_str(), none.len()), ("-", 0));
    let first: (String, u32) = a.ask("RM.PUT cart - apples").unwrap();
    assert_eq!(first.1, 1);
    let from_a: (Found, u32) = a.ask(&format!("RM.PUT cart {} pears W 3", first.0)).unwrap();
    assert_eq!((from_a.0.is_some(), from_a.1), (true, 1), "it replaced what its context covers");
    let from_b: (Found, u32) = b.ask(&format!("RM.PUT cart {} plums W 3", first.0)).unwrap();
    assert_eq!(from_b, (None, 2), "the same context, used twice");
    let (both, siblings) = read(c, "cart");
    assert_eq!(siblings, ["pears", "plums"]);
    let winners = [&mut *a, &mut *b, &mut *c].map(|it| it.ask::<String>("GET cart").unwrap());
    assert!(winners.iter().all(|winner| *winner == winners[0]), "{winners:?}");
    let resolved: (Found, u32) = c.ask(&format!("RM.PUT cart {both} pears+plums W 3")).unwrap();
    assert_eq!((resolved.0.is_some(), resolved.1), (true, 1));
    for client in [&mut *a, b, c] {
        assert_eq!(read(client, "cart").1, ["pears+plums"]);
    }
    let (context, _) = read(a, "cart");
    let deleted: (String, u32) = a.ask(&format!("RM.DEL cart {context}")).unwrap();
    assert_eq!(deleted.1, 0);
    assert!(read(b, "cart").1.is_empty());
}

#[test]
fn contexts_that_nobody_gave_are_refused() {
    let cluster = Cluster::form(3);
    let [a, b, _] = &mut cluster.clients()[..] else { unreachable!("three nodes") };
    let (token, _): (String, u32) = a.ask("RM.PUT mine - 1").unwrap();
    let (foreign, _): (String, u32) = a.ask("RM.PUT other - 1").unwrap();
    let flipped = |at: usize| {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    let cut = (1..token.len()).map(|at| token[..at].to_owned());
    let bent = (0..token.len() - 1).map(flipped);
    let odd = [foreign, "==".into(), "*".into(), "A".repeat(100_000), format!("{token}A")];
    for bad in cut.chain(bent).chain(odd) {
        for line in ["RM.PUT mine BAD 2", "RM.DEL mine BAD", "RM.GET mine CONTEXT BAD"] {
            assert_eq!(code(b.ask::<Value>(&line.replace("BAD", &bad))), "BADCONTEXT", "{bad}");
        }
    }
    assert_eq!(read(b, "mine").1, ["1"]);
}

#[test]
fn a_request_names_how_many_nodes_it_needs() {
    let mut cluster = Cluster::form(3);
    let mut client = cluster.client(0);
    for option in ["W 4", "PW 4", "DW 4"] {
        let refused = client.ask::<Value>(&format!("RM.PUT k - v {option}"));
        assert_eq!(code(refused), "UNAVAILABLE", "{option}");
    }
    for option in ["W 1", "W 3", "PW 3", "DW 3", "W 3 PW 2 DW 1"] {
        let (context, _) = read(&mut client, "k");
        client.ask::<Value>(&format!("RM.PUT k {context} v {option}")).unwrap();
    }
    for option in ["R 1", "R 3", "PR 3", "R 2 PR 1"] {
        let found: Vec<String> = client.ask(&format!("RM.GET k {option}")).unwrap();
        assert_eq!(found[1..], ["v"], "{option}");
    }
    assert_eq!(code(client.ask::<Value>("RM.GET k R 4")), "UNAVAILABLE");
    cluster.kill(2);
    client.ask::<Value>("RM.PUT k - v W 2").unwrap();
    let refused = code(client.ask::<Value>("RM.PUT k - v W 3"));
    assert!(refused == "UNAVAILABLE" || refused == "NOQUORUM", "{refused}");
}

#[test]
fn a_session_reads_what_it_wrote_at_any_node() {
    let cluster = Cluster::form(3);
    let mut clients = cluster.clients();
    let mut context = String::from("-");
    for turn in 0..60 {
        let writer = &mut clients[turn % 3];
        let line = format!("RM.PUT session {context} {turn} W 1");
        (context, _) = writer.ask::<(String, u32)>(&line).unwrap();
        let line = format!("RM.GET session R 1 CONTEXT {context}");
        let reader = &mut clients[(turn + 1) % 3];
        // An own copy that is behind is an error, or more copies are asked: never an old value.
        match reader.ask::<Vec<String>>(&line) {
            Ok(found) => assert_eq!(found[1..], [turn.to_string()]),
            Err(error) => assert_eq!(error.code(), Some("NOQUORUM"), "{error}"),
        }
    }
}

#[test]
fn the_ring_is_the_same_at_every_node() {
    let cluster = Cluster::form(3);
    let rings: Vec<Value> =
        cluster.clients().iter_mut().map(|it| it.ask("RM.RING some-key").unwrap()).collect();
    assert!(rings.iter().all(|ring| *ring == rings[0]), "{rings:?}");
    let Value::Array(parts) = &rings[0] else { panic!("{:?}", rings[0]) };
    let [Value::Int(0..1024), Value::Array(owners), Value::Array(fallbacks)] = &parts[..] else {
        panic!("{parts:?}")
    };
    assert_eq!((owners.len(), fallbacks.len()), (3, 0));
    let resp = (0..3).map(|index| Value::BulkString(cluster.resp(index).to_string().into()));
    assert!(resp.into_iter().all(|address| owners.contains(&address)), "{owners:?}");
}

/// Values come faster than segments can be made: both shards run out of room again and again, for
/// writes of their own clients and for those that come from the other shard.
#[test]
fn a_fast_writer_is_slowed_and_not_refused() {
    for durability in ["interval:100ms", "none"] {
        let cluster = Cluster::form_with(1, &["--shards", "2", "--durability", durability]);
        let mut clients: Vec<Client> = (0..4).map(|_| cluster.client(0)).collect();
        let value = "v".repeat(20_000);
        std::thread::scope(|scope| {
            for (number, client) in clients.iter_mut().enumerate() {
                let value = &value;
                scope.spawn(move || {
                    for round in 0..15 {
                        let key = |at| format!("k{number}-{}", (round * 32 + at) % 200);
                        let lines = (0..32).map(|at| format!("SET {} {value}", key(at)));
                        client.pipeline::<()>(&lines.collect::<Vec<_>>()).unwrap();
                    }
                });
            }
        });
    }
}
