//! Commands about the connection and the server, and RM.RING.

use std::net::SocketAddr;

use ringmain_core::id::Partition;

use super::RespSession;
use super::answer::NO_RING;
use super::command::{Name, TABLE};
use super::encode;
use super::glob;
use super::parse::{self, word, word_of};
use crate::session::request::{InfoLines, Requests, Role, Section};

/// The sections of INFO with the names that clients ask by, in the order of Redis.
const SECTIONS: [(Section, &str); 9] = [
    (Section::Server, "Server"),
    (Section::Clients, "Clients"),
    (Section::Memory, "Memory"),
    (Section::Persistence, "Persistence"),
    (Section::Stats, "Stats"),
    (Section::Replication, "Replication"),
    (Section::Cpu, "CPU"),
    (Section::Cluster, "Cluster"),
    (Section::Keyspace, "Keyspace"),
];

/// Longest name of a connection, bytes.
const CLIENT_NAME_BYTES_MAX: usize = 1024;

impl RespSession {
    /// A command that needs no request, read whole.
    pub(super) fn converse<R: Requests>(
        &mut self,
        command: Name,
        arguments: &[&[u8]],
        requests: &mut R,
    ) {
        match command {
            Name::Ping => match arguments {
                [_, message] => self.reply(|out| encode::bulk(out, message)),
                _ => self.reply(|out| encode::simple(out, "PONG")),
            },
            Name::Echo => self.reply(|out| encode::bulk(out, arguments[1])),
            Name::Hello => self.hello(&arguments[1..]),
            Name::Auth => self.auth(&arguments[1..]),
            Name::Select => self.select(arguments[1]),
            Name::Quit => {
                self.reply_ok();
                self.closing = true;
            }
            Name::Reset => {
                self.resp3 = false;
                self.name.clear();
                self.reply(|out| encode::simple(out, "RESET"));
            }
            Name::Commands => self.commands(&arguments[1..]),
            Name::Client => self.client(&arguments[1..]),
            Name::Config => self.config(&arguments[1..], requests),
            Name::Info => self.info(&arguments[1..], requests),
            Name::RmRing => self.ring(arguments.get(1).copied(), requests),
            _ => unreachable!("the table says which commands come here"),
        }
    }

    fn reply_ok(&mut self) {
        self.reply(|out| out.extend_from_slice(encode::OK));
    }

    fn reply_error(&mut self, parts: &[&[u8]]) {
        self.reply(|out| encode::error(out, parts));
    }

    /// HELLO [version [AUTH user password] [SETNAME name]]; nothing changes if any of it fails.
    fn hello(&mut self, arguments: &[&[u8]]) {
        const AUTH: u64 = word("auth");
        const SETNAME: u64 = word("setname");
        let mut resp3 = self.resp3;
        let mut name = None;
        if let [version, options @ ..] = arguments {
            match parse::integer(version) {
                Some(2) => resp3 = false,
                Some(3) => resp3 = true,
                Some(_) => return self.reply_error(&[b"NOPROTO unsupported protocol version"]),
                None => {
                    let text = b"ERR Protocol version is not an integer or out of range";
                    return self.reply_error(&[text]);
                }
            }
            let mut options = options;
            while let [option, rest @ ..] = options {
                options = match (word_of(option), rest) {
                    (AUTH, [user, _, rest @ ..]) => {
                        if *user != b"default" {
                            return self.reply_error(&[WRONG_USER]);
                        }
                        rest
                    }
                    (SETNAME, [given, rest @ ..]) => {
                        if !is_printable(given) {
                            return self.reply_error(&[b"ERR Client names", NOT_PRINTABLE]);
                        }
                        name = Some(*given);
                        rest
                    }
                    _ => {
                        let text = b"ERR Syntax error in HELLO option '";
                        return self.reply_error(&[text, option, b"'"]);
                    }
                };
            }
        }
        self.resp3 = resp3;
        if let Some(name) = name {
            self.set_name(name);
        }
        self.greet();
    }

    fn greet(&mut self) {
        let (resp3, connection) = (self.resp3, self.connection);
        self.reply(|out| {
            encode::map(out, resp3, 7);
            let texts = [("server", "ringmain"), ("version", env!("CARGO_PKG_VERSION"))];
            for (name, value) in texts {
                encode::bulk(out, name.as_bytes());
                encode::bulk(out, value.as_bytes());
            }
            encode::bulk(out, b"proto");
            encode::integer(out, if resp3 { 3 } else { 2 });
            encode::bulk(out, b"id");
            encode::integer(out, connection.into());
            // What clients expect of a server that they need no map of the cluster for.
            for (name, value) in [("mode", "standalone"), ("role", "master")] {
                encode::bulk(out, name.as_bytes());
                encode::bulk(out, value.as_bytes());
            }
            encode::bulk(out, b"modules");
            encode::array(out, 0);
        });
    }

    /// As a Redis without passwords: the default user has none, and takes any.
    fn auth(&mut self, arguments: &[&[u8]]) {
        match arguments {
            [_] => self.reply_error(&[b"ERR AUTH <password> called without any password \
                configured for the default user. Are you sure your configuration is correct?"]),
            [b"default", _] => self.reply_ok(),
            [_, _] => self.reply_error(&[WRONG_USER]),
            _ => self.reply_error(&[encode::SYNTAX]),
        }
    }

    fn select(&mut self, index: &[u8]) {
        match parse::integer(index) {
            Some(0) => self.reply_ok(),
            Some(_) => self.reply_error(&[b"ERR DB index is out of range"]),
            None => self.reply_error(&[encode::NO_INTEGER]),
        }
    }

    fn commands(&mut self, arguments: &[&[u8]]) {
        const COUNT: u64 = word("count");
        const DOCS: u64 = word("docs");
        const INFO: u64 = word("info");
        const LIST: u64 = word("list");
        let resp3 = self.resp3;
        let all = |out: &mut Vec<u8>| {
            encode::array(out, TABLE.len());
            TABLE.iter().for_each(|entry| entry.describe(out, resp3));
        };
        let [subcommand, names @ ..] = arguments else {
            return self.reply(all);
        };
        match (word_of(subcommand), names) {
            (COUNT, []) => self.reply(|out| encode::integer(out, TABLE.len() as u64)),
            (DOCS, _) => self.reply(|out| encode::map(out, resp3, 0)),
            (INFO, []) => self.reply(all),
            (INFO, _) => self.reply(|out| {
                encode::array(out, names.len());
                for name in names {
                    match Name::of(name) {
                        Some(command) => command.entry().describe(out, resp3),
                        None => encode::null(out, resp3),
                    }
                }
            }),
            (LIST, []) => self.reply(|out| {
                encode::array(out, TABLE.len());
                TABLE.iter().for_each(|entry| encode::bulk(out, entry.name.as_bytes()));
            }),
            (COUNT, _) => self.reply(|out| encode::wrong_count(out, "command|count")),
            (LIST, _) => self.reply_error(&[encode::SYNTAX]),
            _ => self.unknown_subcommand(subcommand, b"COMMAND"),
        }
    }

    fn client(&mut self, arguments: &[&[u8]]) {
        const SETNAME: u64 = word("setname");
        const GETNAME: u64 = word("getname");
        const SETINFO: u64 = word("setinfo");
        const ID: u64 = word("id");
        match (word_of(arguments[0]), &arguments[1..]) {
            (SETNAME, [name]) if !is_printable(name) => {
                self.reply_error(&[b"ERR Client names", NOT_PRINTABLE]);
            }
            (SETNAME, [name]) if name.len() > CLIENT_NAME_BYTES_MAX => {
                self.reply_error(&[b"TOOLARGE client name over 1024 bytes"]);
            }
            (SETNAME, [name]) => {
                self.set_name(name);
                self.reply_ok();
            }
            (GETNAME, []) => {
                let name = std::mem::take(&mut self.name);
                let resp3 = self.resp3;
                let shown = (!name.is_empty()).then_some(&name[..]);
                self.reply(|out| encode::bulk_or_null(out, resp3, shown));
                self.name = name;
            }
            (SETINFO, [option, value]) => match word_of(option) {
                LIB_NAME | LIB_VER if is_printable(value) => self.reply_ok(),
                LIB_NAME => self.reply_error(&[b"ERR lib-name", NOT_PRINTABLE]),
                LIB_VER => self.reply_error(&[b"ERR lib-ver", NOT_PRINTABLE]),
                _ => self.reply_error(&[b"ERR Unrecognized option '", option, b"'"]),
            },
            (ID, []) => {
                let connection = self.connection;
                self.reply(|out| encode::integer(out, connection.into()));
            }
            (SETNAME, _) => self.reply(|out| encode::wrong_count(out, "client|setname")),
            (GETNAME, _) => self.reply(|out| encode::wrong_count(out, "client|getname")),
            (SETINFO, _) => self.reply(|out| encode::wrong_count(out, "client|setinfo")),
            (ID, _) => self.reply(|out| encode::wrong_count(out, "client|id")),
            _ => self.unknown_subcommand(arguments[0], b"CLIENT"),
        }
    }

    fn set_name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(&name[..name.len().min(CLIENT_NAME_BYTES_MAX)]);
    }

    fn unknown_subcommand(&mut self, subcommand: &[u8], command: &[u8]) {
        let shown = &subcommand[..subcommand.len().min(super::NAME_BYTES_MAX)];
        self.reply_error(&[b"ERR unknown subcommand '", shown, b"'. Try ", command, b" HELP."]);
    }

    fn config<R: Requests>(&mut self, arguments: &[&[u8]], requests: &R) {
        const GET: u64 = word("get");
        let resp3 = self.resp3;
        match (word_of(arguments[0]), &arguments[1..]) {
            (GET, []) => self.reply(|out| encode::wrong_count(out, "config|get")),
            (GET, patterns) => {
                let asked = |name: &str| {
                    patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()))
                };
                let mut count = 0;
                requests.config(&mut |name, _| count += usize::from(asked(name)));
                self.reply(|out| {
                    encode::map(out, resp3, count);
                    requests.config(&mut |name, value| {
                        if asked(name) {
                            encode::bulk(out, name.as_bytes());
                            encode::bulk(out, value.as_bytes());
                        }
                    });
                });
            }
            _ => self.unknown_subcommand(arguments[0], b"CONFIG"),
        }
    }

    fn info<R: Requests>(&mut self, names: &[&[u8]], requests: &R) {
        let all = |name: &&[u8]| {
            ["all", "default", "everything"]
                .iter()
                .any(|all| name.eq_ignore_ascii_case(all.as_bytes()))
        };
        let everything = names.is_empty() || names.iter().any(all);
        let mut text = Vec::new();
        for (section, title) in SECTIONS {
            let asked = names.iter().any(|name| name.eq_ignore_ascii_case(title.as_bytes()));
            if !asked && !everything {
                continue;
            }
            let before = text.len();
            if before > 0 {
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(format!("# {title}\r\n").as_bytes());
            let empty = text.len();
            requests.info(section, &mut InfoLines::new(&mut text));
            if text.len() == empty {
                text.truncate(before);
            }
        }
        let resp3 = self.resp3;
        self.reply(|out| encode::text(out, resp3, &text));
    }

    /// RM.RING [key]: the partition of the key, or all of them.
    fn ring<R: Requests>(&mut self, key: Option<&[u8]>, requests: &R) {
        let count = requests.partition_count();
        if count == 0 {
            return self.reply_error(&[NO_RING]);
        }
        let bytes_max = self.limits.reply_bytes_max;
        self.reply(|out| match key {
            Some([]) => encode::error(out, &[encode::EMPTY_KEY]),
            Some(key) => write_placement(out, requests.partition(key), requests),
            None => {
                let before = out.len();
                encode::array(out, count as usize);
                for partition in 0..count {
                    write_placement(out, Partition(partition as u16), requests);
                    if out.len() - before > bytes_max {
                        out.truncate(before);
                        return encode::error(out, &[b"TOOLARGE reply over its limit, give a key"]);
                    }
                }
            }
        });
    }
}

/// An array of three: the partition, the addresses of its owners, those of its fallbacks.
fn write_placement<R: Requests>(out: &mut Vec<u8>, partition: Partition, requests: &R) {
    encode::array(out, 3);
    encode::integer(out, partition.0.into());
    for wanted in [Role::Owner, Role::Fallback] {
        let mut count = 0;
        requests.placement(partition, &mut |role, _| count += usize::from(role == wanted));
        encode::array(out, count);
        requests.placement(partition, &mut |role, address: SocketAddr| {
            if role == wanted {
                encode::bulk(out, address.to_string().as_bytes());
            }
        });
    }
}

const LIB_NAME: u64 = word("lib-name");
const LIB_VER: u64 = word("lib-ver");
const WRONG_USER: &[u8] = b"WRONGPASS invalid username-password pair or user is disabled.";
const NOT_PRINTABLE: &[u8] = b" cannot contain spaces, newlines or special characters.";

/// What Redis lets into names: no blanks, no control characters.
fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
