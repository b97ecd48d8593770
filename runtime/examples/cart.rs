//! A shopping cart that never loses what somebody put into it (Dynamo §4.4), with the client that
//! blocks.
//!
//! ```sh
//! cargo run --release -- demo                                                # in one terminal
//! cargo run -p ringmain-runtime --example cart -- 127.0.0.1:7400 apples pears # in others
//! ```
//!
//! Concurrent changes are siblings; the resolver makes one cart of them.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;

use ringmain_runtime::client::blocking::ClusterClient;
use ringmain_runtime::client::{ClientError, Options, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let seed: SocketAddr = arguments.next().ok_or("usage: cart IP:PORT [WHAT...]")?.parse()?;
    let client = ClusterClient::connect(&[seed], Options::default())?;
    let mut client = client.with_resolver(union);
    for what in arguments {
        add(&mut client, &what)?;
    }
    let cart = client.get_one(b"cart")?.value.unwrap_or_default();
    println!("in the cart: {}", String::from_utf8_lossy(&cart));
    Ok(())
}

/// All that is in any of the carts. What somebody took out may come back: a cart that minds keeps
/// marks of what was taken out.
fn union(_: &[u8], siblings: &[Value]) -> Vec<u8> {
    let all: BTreeSet<&[u8]> =
        siblings.iter().flat_map(|cart| cart.bytes.split(|byte| *byte == b',')).collect();
    all.into_iter().collect::<Vec<_>>().join(&b',')
}

fn add(client: &mut ClusterClient, what: &str) -> Result<(), ClientError> {
    let stored = client.update(b"cart", |old| {
        let cart = old.map(|old| [old, what.as_bytes()].join(&b','));
        Some(cart.unwrap_or_else(|| what.into()))
    })?;
    if stored.live > 1 {
        println!("{what}: somebody else changed the cart at the same time");
    }
    Ok(())
}
