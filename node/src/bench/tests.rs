use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use clap::Parser;

use super::report::{hgrm, json, line, text};
use super::*;
use crate::args::{Cli, Command};
use crate::bench::draw::Kind;

/// As from the command line.
pub(super) fn args(words: &[&str]) -> BenchArgs {
    let words = ["ringmain", "bench"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Bench(args) => args,
        _ => unreachable!("bench was asked for"),
    }
}

/// 900 gets of 1 to 900 microseconds, and 100 puts of a second.
fn tally() -> Tally {
    let mut tally = Tally::new();
    for micros in 1..=900 {
        tally.note(Kind::Get, Duration::from_micros(micros), Ok(()));
    }
    for _ in 0..100 {
        tally.note(Kind::Put, Duration::from_secs(1), Ok(()));
    }
    tally.note(Kind::Put, Duration::from_secs(1), Err("BUSY".into()));
    tally
}

#[test]
fn json_is_as_the_contract_says() {
    let told = json(&args(&["--rate", "50", "--duration", "20s"]), &tally());
    assert_eq!(told["ops_per_s"], 50.0);
    assert_eq!(told["target_ops_per_s"], 50);
    assert_eq!((&told["errors"], &told["seconds"]), (&1.into(), &20.0.into()));
    assert_eq!((&told["get"]["count"], &told["put"]["count"]), (&900.into(), &100.into()));
    let about = |name: &str, micros: f64| {
        let value = told["get"][name].as_f64().unwrap();
        assert!((value / micros - 1.0).abs() < 0.002, "{name} {value}");
    };
    about("p50_us", 450.0);
    about("p90_us", 810.0);
    about("p99_us", 891.0);
    about("p99_9_us", 900.0);
    about("max_us", 900.0);
    let none = json(&args(&[]), &Tally::new());
    assert!(none["target_ops_per_s"].is_null() && none["put"]["p99_99_us"].is_null());
}

#[test]
fn people_are_told_all_of_it() {
    let tally = tally();
    let told = text(&args(&["--rate", "50", "--duration", "20s"]), &tally);
    assert!(told.contains("50 of 50 ops/s for 20 s\n1 errors: BUSY"), "{told}");
    assert!(told.lines().any(|line| line.contains("get") && line.contains("0.450")), "{told}");
    let line = line(4, &tally);
    assert!(line.starts_with("5 s: 1000 ops/s, get p50 0.450 p99 0.891"), "{line}");
    assert!(line.ends_with(", 1 errors"), "{line}");
}

/// What plots read: four columns, ascending, and three lines behind them.
#[test]
fn the_percentile_format_is_that_of_hdr_histogram() {
    let text = hgrm(&tally().all());
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
    assert_eq!(lines.next(), Some(""));
    let (rows, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| !line.starts_with('#'));
    let rows: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
    let last = rows.last().unwrap();
    assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0));
    assert_eq!(rest.len(), 3);
    assert!(rest[1].contains("Total count    =         1000"), "{}", rest[1]);
}

#[test]
fn the_picture_has_a_curve_for_each_kind() {
    let picture = plot::svg(&tally());
    assert_eq!(picture.matches("<polyline").count(), 2);
    assert!(picture.contains(">99.9 %</text>") && picture.contains(">1000 ms</text>"));
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
    assert_eq!(picture.matches('<').count(), picture.matches('>').count());
    assert_eq!(plot::svg(&Tally::new()).matches("<polyline").count(), 0);
    let mut one = Tally::new();
    one.note(Kind::Get, Duration::from_millis(1), Ok(()));
    assert!(!plot::svg(&one).contains("NaN"));
}

/// Answers each SET well, and each GET as told, until the connection closes.
fn serve(mut stream: TcpStream, get: &[u8]) {
    let (mut input, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(count) => input.extend_from_slice(&piece[..count]),
        }
        // The key is the last word of a GET, and the value that of a SET.
        let words = |input: &[u8], word: &[u8]| {
            input.windows(word.len()).filter(|window| *window == word).count()
        };
        let complete = input.ends_with(b"\r\n");
        if complete {
            let (gets, sets) = (words(&input, b"GET\r\n"), words(&input, b"SET\r\n"));
            let answers = [get.repeat(gets), b"+OK\r\n".repeat(sets)].concat();
            if stream.write_all(&answers).is_err() {
                return;
            }
            input.clear();
        }
    }
}

fn against(get: &'static [u8], words: &[&str]) -> Result<Tally, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream, get));
        }
    });
    let common = ["--target", "resp", "--keys", "10", "--value-bytes", "8", "--connections", "2"];
    let args = args(&[&common, words].concat());
    let value = vec![b'v'; 8];
    let mut workers = connect(node, &args)?;
    load(&mut workers, &args, &value)?;
    measure(&mut workers, &args, &value)
}

/// Where the machine is busy elsewhere the last of the requests may not be sent in time.
const PACED: [&str; 8] =
    ["--duration", "200ms", "--warmup", "0ms", "--rate", "500", "--read-ratio", "1"];

#[test]
fn a_server_is_loaded_and_measured() {
    let tally = against(b"$1\r\nv\r\n", &PACED).unwrap();
    assert_eq!((tally.count() + tally.unsent, tally.put.len()), (100, 0));
    assert!(tally.count() > 0);
    assert_eq!(tally.error_count(), 0);
}

#[test]
fn what_a_server_refuses_is_counted_by_its_words() {
    for (get, words) in [(&b"-LOADING wait\r\n"[..], "LOADING wait"), (b"$-1\r\n", "not found")] {
        let tally = against(get, &PACED).unwrap();
        assert_eq!((tally.count(), tally.errors[words] + tally.unsent), (0, 100));
    }
}

#[test]
fn what_is_no_server_of_resp_ends_it() {
    let told = against(b"HTTP/1.1 400\r\n", &["--read-ratio", "1"]).unwrap_err().to_string();
    assert!(told.contains("a connection broke: 'HTTP/1.1 400'"), "{told}");
}
