//! The least that a server of this kind can cost, and the load that all servers are compared under.
//!
//! *Problem.* Against another server a figure says who is cheaper, not how far it is to the limit,
//! and two servers under two load generators cannot be compared at all. *Answer.* [`serve`]: one
//! thread, one `io_uring`, a hash map, and only what parses and answers GET and SET ([`ring`],
//! [`store`]); no log, no replicas, no limits, no time. [`load`]: one generator for servers that
//! speak RESP and for memcached, which differ only in the bytes of a request ([`protocol`]).
//! *Invariant.* The server shares no code with Ringmain, so nothing that is slow in both can hide.
//!
//! ```sh
//! cargo bench -p ringmain-benches --bench bare -- serve --port 0
//! cargo bench -p ringmain-benches --bench bare -- load --node 127.0.0.1:6379 --fill
//! cargo bench -p ringmain-benches --bench bare -- load --node 127.0.0.1:6379 --kind get
//! cargo bench -p ringmain-benches --bench bare -- --test             # one round trip of each
//! ```
//!
//! `benches/compare/compare.py` runs both against the others.
#![deny(unsafe_code)]

mod load;
mod protocol;
mod ring;
mod store;

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};

use clap::{Args, Parser, Subcommand};
use ring::Ring;
use store::Store;

/// What the binary is told.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Answer until SIGTERM, or SHUTDOWN.
    Serve(ServeOptions),
    /// Load a server, and print what it answered as a line of JSON.
    Load(load::Options),
}

#[derive(Debug, Args)]
struct ServeOptions {
    /// On 127.0.0.1; 0 picks a free one, and a line on stdout tells it.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Every name of a [`Task`]: other arguments are those of benchmarks that run beside this one.
const TASKS: [&str; 3] = ["serve", "load", "--help"];

fn main() {
    // Cargo adds it.
    let arguments: Vec<String> =
        std::env::args().filter(|argument| argument != "--bench").collect();
    let is_task = arguments.get(1).is_some_and(|first| TASKS.contains(&first.as_str()));
    if !is_task {
        if arguments.iter().any(|argument| argument == "--test") {
            check();
        } else {
            eprintln!("bare: is for benches/compare, so it runs only when told: -- serve | load");
        }
        return;
    }
    let done = match Arguments::parse_from(arguments).task {
        Task::Serve(options) => listen(options.port).and_then(|listener| {
            let address = listener.local_addr()?;
            writeln!(io::stdout(), "ready resp={address}")?;
            serve(listener)
        }),
        Task::Load(options) => load::run(&options).and_then(|measured| {
            let line = serde_json::to_string(&measured)?;
            writeln!(io::stdout(), "{line}")
        }),
    };
    if let Err(error) = done {
        eprintln!("bare: {error}");
        std::process::exit(1);
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Answers on this thread until a client says SHUTDOWN.
fn serve(listener: TcpListener) -> io::Result<()> {
    let mut ring = Ring::new(listener)?;
    let mut store = Store::default();
    while ring.turn(|bytes, out| store.answer(bytes, out))? {}
    Ok(())
}

/// Both halves, once: a pipeline of SET and GET that comes in pieces, then a tiny load.
fn check() {
    let listener = listen(0).expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let server = std::thread::spawn(move || serve(listener));
    store::check(address).expect("the server answers");
    let measured = load::run(&load::Options::tiny(address)).expect("the server answers");
    assert!(measured.count > 0, "nothing was measured");
    store::shut_down(address).expect("the server takes a connection");
    server.join().expect("no panic").expect("the ring did not fail");
}
