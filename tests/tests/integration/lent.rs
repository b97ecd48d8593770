//! Large values are sent from the log without a copy, also while their segment leaves it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use redis::Value;
use ringmain_tests::process::{Client, Cluster, until};

/// As `LENT_BYTES_MIN` of the node.
const LENT_BYTES_MIN: usize = 8 << 10;
const VALUE_BYTES_MAX: usize = 1 << 20;
const SETTINGS: [&str; 10] =
    ["--shards", "1", "--n", "1", "--r", "1", "--w", "1", "--durability", "interval:1ms"];

fn value(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 + at / 1000 + 31 * seed) as u8).collect()
}

/// Bytes that the node has sent from its log without a copy.
fn lent_bytes(client: &mut Client) -> u64 {
    let stats: String = client.ask("INFO stats").unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("lent_bytes_total:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn values_of_any_length_come_as_they_were_written() {
    let cluster = Cluster::form_with(1, &SETTINGS);
    let mut client = cluster.client(0);
    let lengths = [
        100,
        LENT_BYTES_MIN - 1,
        LENT_BYTES_MIN,
        LENT_BYTES_MIN + 1,
        4 * LENT_BYTES_MIN,
        VALUE_BYTES_MAX - 1,
        VALUE_BYTES_MAX,
    ];
    let values: Vec<Vec<u8>> = lengths.iter().map(|bytes| value(*bytes, *bytes)).collect();
    for (index, value) in values.iter().enumerate() {
        client.say::<()>(&[b"SET", format!("k{index}").as_bytes(), value]).unwrap();
    }
    // What was just appended may still be in memory of its own; from a map it is lent.
    until("values are sent from the log", || {
        let before = lent_bytes(&mut client);
        for (index, expected) in values.iter().enumerate() {
            let got: Vec<u8> = client.ask(&format!("GET k{index}")).unwrap();
            assert!(got == *expected, "{} bytes are others", expected.len());
        }
        let large = lengths.iter().filter(|bytes| **bytes >= LENT_BYTES_MIN).sum::<usize>();
        lent_bytes(&mut client) - before == large as u64
    });
    let pipeline: Vec<String> = (0..70).map(|n| format!("GET k{}", n * 5 % 7)).collect();
    let got: Vec<Vec<u8>> = client.pipeline(&pipeline).unwrap();
    assert!(got.iter().enumerate().all(|(n, got)| *got == values[n * 5 % 7]));
    let names: Vec<String> = (0..300).map(|n| format!("k{}", n % 5)).collect();
    let got: Vec<Vec<u8>> = client.ask(&format!("MGET {}", names.join(" "))).unwrap();
    assert!(got.iter().enumerate().all(|(n, got)| *got == values[n % 5]));
    let got: Vec<Option<Vec<u8>>> = client.ask("MGET k6 nothing k2 k0").unwrap();
    assert!(
        got == [Some(values[6].clone()), None, Some(values[2].clone()), Some(values[0].clone())]
    );
    let shown: Vec<Vec<u8>> = client.ask("RM.GET k5").unwrap();
    assert!(shown[1] == values[5]);
    assert!(client.ask::<Vec<u8>>("GETDEL k6").unwrap() == values[6]);
    assert_eq!(client.ask::<Value>("GET k6").unwrap(), Value::Nil);
}

/// Maps of removed segments that the node still has, and files: either keeps their space.
fn left(cluster: &Cluster) -> (usize, usize) {
    let (id, end) = (cluster.process(0).id(), ".segment (deleted)");
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
    // One may be closed between the two looks.
    let files = fs::read_dir(format!("/proc/{id}/fd")).unwrap().filter_map(|file| {
        let target = fs::read_link(file.ok()?.path()).ok()?;
        target.to_str()?.ends_with(end).then_some(())
    });
    (maps.lines().filter(|line| line.ends_with(end)).count(), files.count())
}

/// A client asks for more than the sockets hold, and reads it when the segment has left.
#[test]
fn a_segment_that_leaves_is_sent_to_who_asked_before() {
    let cluster = Cluster::form_with(1, &SETTINGS);
    let mut client = cluster.client(0);
    let kept = value(1, VALUE_BYTES_MAX);
    // The first segment holds what a start wrote, and has no room for a fourth of these.
    for _ in 0..3 {
        client.say::<()>(&[b"SET", b"other", &kept]).unwrap();
    }
    client.say::<()>(&[b"SET", b"kept", &kept]).unwrap();
    until("the value is sent from the log", || {
        let before = lent_bytes(&mut client);
        assert!(client.ask::<Vec<u8>>("GET kept").unwrap() == kept);
        lent_bytes(&mut client) > before
    });
    let mut slow = TcpStream::connect(cluster.resp(0)).unwrap();
    let mut gone = TcpStream::connect(cluster.resp(0)).unwrap();
    let count = 32;
    let words = format!("*{}\r\n$4\r\nMGET\r\n{}", count + 1, "$4\r\nkept\r\n".repeat(count));
    for asking in [&mut slow, &mut gone] {
        asking.write_all(words.as_bytes()).unwrap();
        asking.read_exact(&mut [0; 5]).unwrap();
    }
    let second = cluster.dir(0).join("shard-000/0000000002.segment");
    assert!(second.exists());
    // It is merged once there is more garbage than a small log is spared: first what is all dead.
    let mut round = 0;
    until("the second segment is merged away", || {
        round += 1;
        let key = ["kept", "other", "third"][round % 3];
        client.say::<()>(&[b"SET", key.as_bytes(), &value(round, VALUE_BYTES_MAX)]).unwrap();
        !second.exists()
    });
    until("its map stays for who reads it, and nothing else", || left(&cluster) == (1, 0));
    drop(gone);
    let head = format!("${VALUE_BYTES_MAX}\r\n");
    let expected = [head.as_bytes(), &kept, b"\r\n"].concat();
    for index in 0..count {
        let mut got = vec![0; expected.len()];
        slow.read_exact(&mut got).unwrap();
        assert!(got == expected, "value {index} is another");
    }
    until("its space is given back", || left(&cluster) == (0, 0));
    let latest = value(round - round % 3, VALUE_BYTES_MAX);
    assert!(client.ask::<Vec<u8>>("GET kept").unwrap() == latest);
}
