use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// A port and where it listens.
struct Served {
    admin: Admin,
    address: SocketAddr,
}

fn start(patience: Duration) -> Served {
    start_on("127.0.0.1:0", patience)
}

fn start_on(address: &str, patience: Duration) -> Served {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let mut asked = 0;
    let answer = move |page| {
        asked += usize::from(page == Page::Status);
        match page {
            Page::Status if asked > 1 => Reply::json(format!("{{\"asked\":{asked}}}")),
            Page::Status => Reply::text(503, "no status yet"),
            Page::Health => Reply::text(200, "ok"),
            Page::Metrics => Reply::metrics("a 1\n".into()),
            Page::Index | Page::Ready => Reply::text(503, "no such page here"),
        }
    };
    Served { admin: Admin::start_with(listener, answer, patience).unwrap(), address }
}

fn connect(admin: &Served) -> TcpStream {
    let stream = TcpStream::connect(admin.address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(admin: &Served, request: &str) -> String {
    let mut stream = connect(admin);
    stream.write_all(request.as_bytes()).unwrap();
    rest(stream)
}

#[test]
fn pages_answer() {
    let admin = start(LONG);
    let health = ask(&admin, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    assert!(health.ends_with(
        "\r\ncontent-length: 3\r\ncache-control: no-store\r\nconnection: close\r\n\r\nok\n"
    ));
    let head = ask(&admin, "HEAD /health?x=1 HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(ask(&admin, "GET /status HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
    let status = ask(&admin, "GET /status HTTP/1.1\r\n\r\n");
    assert!(status.contains("application/json") && status.ends_with("{\"asked\":2}"), "{status}");
    let metrics = ask(&admin, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(metrics.contains(metrics::KIND) && metrics.ends_with("\r\n\r\na 1\n"), "{metrics}");
    assert!(ask(&admin, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
    assert!(ask(&admin, "GET /secret HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask(&admin, "POST /health HTTP/1.1\r\n\r\nbody").starts_with("HTTP/1.1 405 "));
}

#[test]
fn nonsense_is_refused() {
    let admin = start(LONG);
    assert!(ask(&admin, "\0\x01\x02").starts_with("HTTP/1.1 400 "));
    let many = "a: b\r\n".repeat(65);
    let many = format!("GET /health HTTP/1.1\r\n{many}\r\n");
    assert!(ask(&admin, &many).starts_with("HTTP/1.1 431 "));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20 << 10));
    assert!(ask(&admin, &endless).starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_request_in_single_bytes_is_one_request() {
    let admin = start(LONG);
    let mut stream = connect(&admin);
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /health HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert!(rest(stream).ends_with("ok\n"));
}

#[test]
fn silence_is_closed() {
    let admin = start(Duration::from_millis(20));
    assert_eq!(rest(connect(&admin)), "");
    let mut half = connect(&admin);
    half.write_all(b"GET /hea").unwrap();
    let mut answer = [0; 1];
    // The end, or a reset when it closed over unread bytes: never an answer.
    assert!(!matches!(half.read(&mut answer), Ok(1..)));
}

#[test]
fn silent_connections_cannot_shut_out_others() {
    let admin = start(LONG);
    let mut silent: Vec<_> = (0..CONNECTION_COUNT_MAX).map(|_| connect(&admin)).collect();
    assert!(ask(&admin, "GET /health HTTP/1.1\r\n\r\n").ends_with("ok\n"));
    assert_eq!(rest(silent.remove(0)), "", "the oldest gave way");
}

#[test]
fn it_stops_and_frees_its_port() {
    // An address that no other test uses, so that none takes the port over.
    let served = start_on("127.93.8.1:0", LONG);
    let (address, open) = (served.address, connect(&served));
    drop(served.admin);
    drop(open);
    assert!(TcpStream::connect(address).is_err());
}
