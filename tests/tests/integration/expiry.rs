//! Values that expire, as Redis clients see them at every node.

use redis::Value;
use ringmain_tests::process::{Client, Cluster, code, until};

type Found = Option<String>;

/// What `line` gives at all of `clients`, which is the same.
fn all(clients: &mut [Client], line: &str) -> i64 {
    let given: Vec<i64> = clients.iter_mut().map(|it| it.ask(line).unwrap()).collect();
    assert!(given.iter().all(|one| *one == given[0]), "{line}: {given:?}");
    given[0]
}

fn await_gone(clients: &mut [Client], key: &str) {
    for client in clients {
        let line = format!("GET {key}");
        until("it has expired", || client.ask::<Found>(&line).is_ok_and(|found| found.is_none()));
    }
}

#[test]
fn a_value_expires_at_every_node_and_for_every_command() {
    let cluster = Cluster::form_with(3, &["--shards", "2"]);
    let mut clients = cluster.clients();
    for writer in 0..3 {
        for line in ["SET KEY v PX 300", "PSETEX KEY 300 v", "RM.PUT KEY - v PX 300"] {
            let key = format!("brief-{writer}-{}", line.len());
            clients[writer].ask::<Value>(&line.replace("KEY", &key)).unwrap();
            await_gone(&mut clients, &key);
            for client in &mut clients {
                let mut ask = |line: &str| client.ask::<Value>(&format!("{line} {key}")).unwrap();
                assert_eq!(ask("TTL"), Value::Int(-2));
                assert_eq!(ask("PTTL"), Value::Int(-2));
                assert_eq!(ask("EXISTS"), Value::Int(0));
                assert_eq!(ask("STRLEN"), Value::Int(0));
                assert_eq!(ask("TYPE"), Value::SimpleString("none".into()));
                assert_eq!(ask("MGET"), Value::Array(vec![Value::Nil]));
                assert_eq!(ask("PERSIST"), Value::Int(0));
                assert_eq!(ask("DEL"), Value::Int(0));
                assert_eq!(ask("GETDEL"), Value::Nil);
                let Value::Array(found) = ask("RM.GET") else { panic!("it is an array") };
                assert_eq!(found.len(), 1, "the context alone");
            }
            let line = format!("SET {key} w XX");
            assert_eq!(clients[writer].ask::<Found>(&line).unwrap(), None);
            let line = format!("SET {key} w NX EX 1000");
            assert_eq!(clients[(writer + 1) % 3].ask::<Found>(&line).unwrap().unwrap(), "OK");
        }
    }
}

#[test]
fn times_are_set_changed_and_taken_away_at_any_node() {
    let cluster = Cluster::form(3);
    let mut clients = cluster.clients();
    let seconds = |clients: &mut [Client], times: std::ops::RangeInclusive<i64>| {
        for client in clients {
            let left: i64 = client.ask("TTL k").unwrap();
            assert!(times.contains(&left), "{left} seconds");
            let left: i64 = client.ask("PTTL k").unwrap();
            assert!((times.start() * 1000..=times.end() * 1000).contains(&left), "{left} ms");
        }
    };
    assert_eq!(all(&mut clients, "TTL k"), -2);
    assert_eq!(all(&mut clients, "EXPIRE k 10"), 0);
    clients[0].ask::<()>("SET k v EX 1000").unwrap();
    seconds(&mut clients, 900..=1000);
    clients[1].ask::<()>("SET k v2 KEEPTTL").unwrap();
    seconds(&mut clients, 900..=1000);
    let old: Found = clients[2].ask("SET k v3 XX KEEPTTL GET").unwrap();
    assert_eq!(old.as_deref(), Some("v2"));
    seconds(&mut clients, 900..=1000);
    assert_eq!(clients[1].ask::<i64>("EXPIRE k 5000 GT").unwrap(), 1);
    seconds(&mut clients, 4900..=5000);
    assert_eq!(clients[2].ask::<i64>("EXPIRE k 4000 NX").unwrap(), 0);
    assert_eq!(clients[2].ask::<i64>("PEXPIRE k 3000000 LT").unwrap(), 1);
    seconds(&mut clients, 2900..=3000);
    assert_eq!(clients[0].ask::<i64>("PERSIST k").unwrap(), 1);
    assert_eq!(clients[1].ask::<i64>("PERSIST k").unwrap(), 0);
    assert_eq!(all(&mut clients, "TTL k"), -1);
    assert_eq!(all(&mut clients, "PTTL k"), -1);
    clients[2].ask::<()>("SETEX k 1000 v4").unwrap();
    seconds(&mut clients, 900..=1000);
    clients[0].ask::<()>("SET k v5").unwrap();
    assert_eq!(all(&mut clients, "TTL k"), -1);
    let far = "SET k v6 PXAT 9223372036854775807";
    clients[0].ask::<()>(far).unwrap();
    assert!(all(&mut clients, "STRLEN k") == 2, "it does not overflow");
    assert_eq!(clients[1].ask::<i64>("EXPIRE k -1").unwrap(), 1);
    assert_eq!(all(&mut clients, "EXISTS k"), 0);
    for line in
        ["SET k v EX 0", "SETEX k -5 v", "EXPIRE k 9223372036854775807", "SET k v EX 1 PX 1"]
    {
        assert_eq!(code(clients[0].ask::<Value>(line)), "ERR", "{line}");
    }
}

#[test]
fn all_siblings_get_the_same_expiry_and_stay_siblings() {
    let cluster = Cluster::form(3);
    let mut clients = cluster.clients();
    let siblings = |client: &mut Client| {
        let mut found: Vec<String> = client.ask("RM.GET cart R 3").unwrap();
        found.remove(0);
        found.sort();
        found
    };
    clients[0].ask::<Value>("RM.PUT cart - apples W 3 EX 1000").unwrap();
    clients[1].ask::<Value>("RM.PUT cart - pears W 3").unwrap();
    let (context, live): (Found, u32) = clients[2].ask("RM.PUT cart - plums W 3").unwrap();
    assert_eq!((context, live), (None, 3));
    let winner: String = clients[0].ask("GET cart").unwrap();
    assert_eq!(clients[1].ask::<i64>("EXPIRE cart 2000").unwrap(), 1);
    for client in &mut clients {
        assert_eq!(siblings(client), ["apples", "pears", "plums"]);
        assert_eq!(client.ask::<String>("GET cart").unwrap(), winner, "stamps are as they were");
        assert!(client.ask::<i64>("TTL cart").unwrap() > 1900);
    }
    assert_eq!(clients[2].ask::<i64>("PERSIST cart").unwrap(), 1);
    assert_eq!(all(&mut clients, "TTL cart"), -1);
    for client in &mut clients {
        assert_eq!(siblings(client), ["apples", "pears", "plums"]);
    }
    assert_eq!(clients[0].ask::<i64>("PEXPIRE cart 300").unwrap(), 1);
    await_gone(&mut clients, "cart");
    for client in &mut clients {
        assert!(siblings(client).is_empty());
    }
}

/// What has expired stays on disk, and is seen no more after a restart.
#[test]
fn times_outlive_a_restart() {
    let mut cluster = Cluster::form(3);
    let mut client = cluster.client(0);
    client.ask::<()>("SET long v EX 1000").unwrap();
    client.ask::<()>("SET brief v PX 300").unwrap();
    cluster.kill(0);
    cluster.start(0);
    let mut clients = cluster.clients();
    await_gone(&mut clients, "brief");
    for client in &mut clients {
        until("it is in the ring", || client.ask::<i64>("TTL long").is_ok());
        assert!((900..=1000).contains(&client.ask::<i64>("TTL long").unwrap()));
    }
}
