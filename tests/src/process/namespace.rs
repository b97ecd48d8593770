//! A network namespace of one's own, in which nodes can be cut from each other, one way or both.
//!
//! All packets of a namespace go over its loopback device, so what stops them is a rule of its
//! routing: from one address to another there is no way. What was sent meanwhile is sent again once
//! there is, as over any bad network.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace, gone when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, and takes the calling thread into it for good: what that starts from now on,
    /// threads and processes, lives there, too. None where this process may not, or the tools are
    /// missing.
    pub fn enter() -> Option<Namespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmain-{}-{number}", process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        // Rules that come before that of local addresses.
        namespace.ip(&["rule", "add", "pref", "100", "lookup", "local"])?;
        namespace.ip(&["rule", "del", "pref", "0"])?;
        let file = File::open(format!("/run/netns/{}", namespace.name)).ok()?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
        Some(namespace)
    }

    /// Nothing goes from one address to another any more.
    ///
    /// # Panics
    /// If that cannot be said.
    pub fn cut(&self, from: Ipv4Addr, to: Ipv4Addr) {
        let (from, to) = (from.to_string(), to.to_string());
        let rule = ["rule", "add", "pref", "50", "from", &from, "to", &to, "blackhole"];
        self.ip(&rule).expect("a rule can be added");
    }

    /// All is as it was.
    ///
    /// # Panics
    /// If that cannot be said.
    pub fn heal(&self) {
        self.ip(&["rule", "flush", "pref", "50"]).expect("the rules can go");
    }

    fn ip(&self, words: &[&str]) -> Option<()> {
        ip(&[&["-n", &self.name], words].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It lives on in this thread until that ends.
        let _gone = ip(&["netns", "del", &self.name]);
    }
}

/// Runs `ip`; none if it fails.
fn ip(words: &[&str]) -> Option<()> {
    let output = Command::new("ip").args(words).output().ok()?;
    output.status.success().then_some(())
}
