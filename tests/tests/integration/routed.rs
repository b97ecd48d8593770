//! Clients that know the way, against real nodes.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use glommio::LocalExecutorBuilder;
use ringmain_core::wire::get::GetRequest;
use ringmain_runtime::client::blocking::{self, Answer};
use ringmain_runtime::client::{ClientError, ClusterClient, Options, Value};
use ringmain_tests::process::{Cluster, until};

/// Small, so that each shard has much of a ring that moves fast.
const SETTINGS: [&str; 6] = ["--shards", "2", "--partitions", "64", "--probe-interval", "100ms"];
const GET: GetRequest<'_> =
    GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };
/// A busy machine is no failure.
const OPTIONS: Options =
    Options { timeout: Duration::from_secs(20), requests_max: 1024, connections: 1 };

fn name(number: u32) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

/// Writes and reads `numbers` through a pipeline; all go well.
fn write_and_read(client: &mut blocking::ClusterClient, numbers: std::ops::Range<u32>) {
    let contexts: Vec<_> =
        numbers.clone().map(|number| client.submit_get(&name(number), &GET).unwrap()).collect();
    let contexts: Vec<_> = contexts
        .into_iter()
        .map(|ticket| {
            let Answer::Found(found) = client.wait(ticket).unwrap() else { panic!("a read") };
            found.context
        })
        .collect();
    for (number, context) in numbers.clone().zip(&contexts) {
        client.put(&name(number), context, &number.to_le_bytes()).unwrap();
    }
    for number in numbers.clone() {
        client.submit_get(&name(number), &GET).unwrap();
    }
    let mut seen = BTreeSet::new();
    while let Some((_, answer)) = client.wait_any().unwrap() {
        let Answer::Found(found) = answer.unwrap() else { panic!("a read") };
        let [Value { bytes, .. }] = found.values.as_slice() else { panic!("{found:?}") };
        seen.insert(u32::from_le_bytes(bytes.as_slice().try_into().unwrap()));
    }
    assert_eq!(seen, numbers.collect::<BTreeSet<_>>());
}

#[test]
fn a_client_that_knows_the_way_needs_nobody_to_pass_on() {
    // Of four nodes, each lacks a quarter of the partitions.
    let mut cluster = Cluster::form_with(4, &SETTINGS);
    let mut client = blocking::ClusterClient::connect(&[cluster.native(2)], OPTIONS).unwrap();
    write_and_read(&mut client, 0..400);
    // The forming of the cluster has had some passed on.
    let before = cluster.forward_count();
    assert!(before < 200, "{before} of 1200 and more");
    // Of a client that does not know the way most requests are.
    let mut plain = cluster.client(0);
    for number in 0..1000 {
        plain.ask::<Option<String>>(&format!("GET plain-{number}")).unwrap();
    }
    until("the detours are counted", || cluster.forward_count() > before + 400);

    // One node less, for a while: nothing fails.
    cluster.kill(2);
    write_and_read(&mut client, 400..500);
    cluster.start(2);
    write_and_read(&mut client, 500..600);
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let cluster = Cluster::form_with(1, &["--shards", "1", "--partitions", "64"]);
    let options = Options { requests_max: 4, ..OPTIONS };
    let mut client = blocking::ClusterClient::connect(&[cluster.native(0)], options).unwrap();
    let mut begun = 0;
    // As many have ended as may, and as many more are in flight at most.
    let full = loop {
        match client.submit_get(b"a", &GET) {
            Ok(_) => begun += 1,
            Err(error) => break error,
        }
        assert!(begun <= 8);
    };
    assert!(matches!(full, ClientError::Full) && begun >= 4, "{full} behind {begun}");
    for _ in 0..begun {
        assert!(client.wait_any().unwrap().unwrap().1.is_ok());
    }
    assert!(client.wait_any().unwrap().is_none());
    // In an order of one's own.
    let tickets = [(); 3].map(|()| client.submit_get(b"a", &GET).unwrap());
    for index in [2, 0] {
        client.wait(tickets[index]).unwrap();
    }
    assert_eq!(client.wait_any().unwrap().unwrap().0, tickets[1]);
    assert!(client.wait_any().unwrap().is_none());
}

#[test]
fn a_client_follows_the_ring() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    let mut client = blocking::ClusterClient::connect(&[cluster.native(0)], OPTIONS).unwrap();
    write_and_read(&mut client, 0..100);
    let newcomer = cluster.add(&[]);
    cluster.await_members(newcomer, 4);
    (0..4).for_each(|index| cluster.await_settled(index));
    // The first answers tell that something has changed; what follows goes straight there.
    until("the client has learned of the fourth node", || {
        let before = cluster.forward_count();
        write_and_read(&mut client, 0..300);
        cluster.forward_count() < before + 20
    });
}

#[test]
fn siblings_are_made_one_by_the_resolver() {
    let cluster = Cluster::form_with(3, &SETTINGS);
    let union = |_: &[u8], siblings: &[Value]| {
        let all: BTreeSet<&str> = siblings
            .iter()
            .flat_map(|sibling| std::str::from_utf8(&sibling.bytes).unwrap().split(','))
            .collect();
        all.into_iter().collect::<Vec<_>>().join(",").into_bytes()
    };
    let connect = || blocking::ClusterClient::connect(&[cluster.native(0)], OPTIONS).unwrap();
    let mut client = connect().with_resolver(union);
    client.put(b"cart", &[], b"apples").unwrap();
    client.put(b"cart", &[], b"pears").unwrap();
    assert_eq!(client.get(b"cart").unwrap().values.len(), 2);
    let one = client.get_one(b"cart").unwrap();
    assert_eq!(one.value.as_deref(), Some(b"apples,pears".as_slice()));
    // It was written back.
    assert_eq!(client.get(b"cart").unwrap().values.len(), 1);
    let add = |what: &'static str| {
        move |old: Option<&[u8]>| {
            let old = old.map_or(String::new(), |old| String::from_utf8(old.into()).unwrap() + ",");
            Some((old + what).into_bytes())
        }
    };
    // Many at once: nothing that anybody added is lost.
    let adders: Vec<_> = (0..4)
        .map(|number| {
            let seed = cluster.native(number % 3);
            thread::spawn(move || {
                let client = blocking::ClusterClient::connect(&[seed], OPTIONS).unwrap();
                let mut client = client.with_resolver(union);
                for what in ["a", "b", "c", "d"] {
                    let what: &'static str = format!("{what}{number}").leak();
                    client.update(b"cart", add(what)).unwrap();
                }
            })
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().unwrap());
    let one = client.get_one(b"cart").unwrap().value.unwrap();
    let all: BTreeSet<String> =
        String::from_utf8(one).unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(all.len(), 2 + 16, "{all:?}");
    client.update(b"cart", |_| None).unwrap();
    assert_eq!(client.get_one(b"cart").unwrap().value, None);
}

#[test]
fn tasks_on_glommio_share_connections() {
    let cluster = Cluster::form_with(3, &SETTINGS);
    let seeds = [cluster.native(0), cluster.native(1)];
    let executor = LocalExecutorBuilder::default().spawn(move || async move {
        let client = ClusterClient::connect(&seeds, OPTIONS).await?;
        let tasks: Vec<_> = (0..1000)
            .map(|number| {
                let client = client.clone();
                glommio::spawn_local(async move {
                    let stored = client.put(&name(number), &[], &number.to_le_bytes()).await?;
                    assert_eq!(stored.live, 1);
                    let found = client.get(&name(number)).await?;
                    assert_eq!(found.values[0].bytes, number.to_le_bytes());
                    client.delete(&name(number), &found.context).await?;
                    assert_eq!(client.get(&name(number)).await?.values, []);
                    Ok::<_, ClientError>(())
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        // A future that is dropped is given up, and harms nobody.
        let mut given_up = Box::pin(client.get(b"any"));
        assert!(futures_lite::future::poll_once(&mut given_up).await.is_none());
        drop(given_up);
        assert_eq!(client.get(b"any").await?.values, []);
        Ok::<_, ClientError>(())
    });
    executor.unwrap().join().unwrap().unwrap();
}
