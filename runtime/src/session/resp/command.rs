//! The commands: their names, how many arguments they take, where their keys stand.

use super::Limits;
use super::answer::BAD_CONTEXT;
use super::context::TOKEN_TEXT_BYTES_MAX;
use super::encode;
use super::parse::{word, word_of};

/// Most arguments, with the name, of a command that is not read key by key.
pub(super) const FIXED_COUNT_MAX: usize = 16;

/// Longest argument that is no key, value or token, bytes.
const WORD_BYTES_MAX: usize = 4096;

/// How a command goes through the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Whole in the buffer, answered by the session itself.
    Connection,
    /// Whole in the buffer, the second argument is the one key.
    Keyed,
    /// Read and submitted key by key.
    Multi,
    /// Whole in the buffer, answered by requests for pages of keys.
    Walk,
}

/// What the table says of a command.
#[derive(Debug)]
pub(super) struct Entry {
    /// In lower case.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Fewest arguments, with the name.
    pub(super) count_min: usize,
    /// Most of them.
    pub(super) count_max: usize,
    /// Arguments behind the fixed ones are options: too many of them are a syntax error.
    pub(super) options: bool,
    /// Changes records.
    pub(super) writes: bool,
    /// Steps from key to key; 0 without keys.
    pub(super) key_step: usize,
}

/// Declares the commands once: the enum, its table, and the match from word to command.
macro_rules! commands {
    ($($command:ident $name:literal $kind:ident $min:literal $max:tt $($flag:ident)*;)*) => {
        /// The name of a command.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Name { $($command),* }

        /// Indexed by [`Name`].
        pub(super) const TABLE: &[Entry] = &[$(Entry {
            name: $name,
            kind: Kind::$kind,
            count_min: $min,
            count_max: commands!(@max $max),
            options: false $(|| commands!(@flag options $flag))*,
            writes: false $(|| commands!(@flag writes $flag))*,
            key_step: match Kind::$kind {
                Kind::Keyed => 1,
                Kind::Multi => 1 $(+ commands!(@flag pairs $flag) as usize)*,
                _ => 0,
            },
        }),*];

        impl Name {
            /// The command that `name` means, in any case.
            #[inline]
            pub(super) fn of(name: &[u8]) -> Option<Name> {
                match word_of(name) {
                    $(words::$command => Some(Name::$command),)*
                    _ => None,
                }
            }
        }

        #[allow(non_upper_case_globals)]
        mod words {
            $(pub(super) const $command: u64 = super::word($name);)*
        }
    };
    (@max any) => { usize::MAX };
    (@max $max:literal) => { $max };
    (@flag options options) => { true };
    (@flag writes writes) => { true };
    (@flag pairs pairs) => { true };
    (@flag $wanted:ident $other:ident) => { false };
}

commands! {
    Get "get" Keyed 2 2;
    Set "set" Keyed 3 16 options writes;
    Setex "setex" Keyed 4 4 writes;
    Psetex "psetex" Keyed 4 4 writes;
    Getdel "getdel" Keyed 2 2 writes;
    Expire "expire" Keyed 3 16 options writes;
    Pexpire "pexpire" Keyed 3 16 options writes;
    Persist "persist" Keyed 2 2 writes;
    Ttl "ttl" Keyed 2 2;
    Pttl "pttl" Keyed 2 2;
    Strlen "strlen" Keyed 2 2;
    Type "type" Keyed 2 2;
    RmGet "rm.get" Keyed 2 8 options;
    RmPut "rm.put" Keyed 4 12 options writes;
    RmDel "rm.del" Keyed 3 9 options writes;
    Mget "mget" Multi 2 any;
    Mset "mset" Multi 3 any pairs writes;
    Del "del" Multi 2 any writes;
    Unlink "unlink" Multi 2 any writes;
    Exists "exists" Multi 2 any;
    Ping "ping" Connection 1 2;
    Echo "echo" Connection 2 2;
    Hello "hello" Connection 1 16 options;
    Auth "auth" Connection 2 16 options;
    Select "select" Connection 2 2;
    Quit "quit" Connection 1 16;
    Reset "reset" Connection 1 1;
    Commands "command" Connection 1 16;
    Client "client" Connection 2 16;
    Config "config" Connection 2 16;
    Info "info" Connection 1 16;
    RmRing "rm.ring" Connection 1 2;
    Dbsize "dbsize" Walk 1 1;
    Scan "scan" Walk 2 16 options;
}

impl Name {
    /// Its row of the table.
    #[inline]
    pub(super) fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// Longest argument `index`, bytes.
    pub(super) fn argument_bytes_max(self, index: usize, limits: &Limits) -> usize {
        match (self, index) {
            (Name::Set, 2) | (Name::Setex | Name::Psetex | Name::RmPut, 3) => {
                limits.value_bytes_max
            }
            (Name::Ping | Name::Echo, 1) => limits.value_bytes_max,
            (_, 1) if self.entry().key_step > 0 => limits.key_bytes_max,
            (Name::RmRing, _) => limits.key_bytes_max,
            (Name::RmPut | Name::RmDel, 2) => TOKEN_TEXT_BYTES_MAX,
            (Name::RmGet, _) if index % 2 == 1 => TOKEN_TEXT_BYTES_MAX,
            _ => WORD_BYTES_MAX,
        }
    }

    /// Appends the error for an argument `index` over its limit.
    #[cold]
    pub(super) fn write_too_long(self, index: usize, out: &mut Vec<u8>) {
        let text: &[u8] = match (self, index) {
            (Name::Set | Name::Mset, 2) | (Name::Setex | Name::Psetex | Name::RmPut, 3) => {
                b"TOOLARGE value over --max-value-bytes"
            }
            (_, 1) if self.entry().key_step > 0 => b"TOOLARGE key over --max-key-bytes",
            (Name::RmRing, _) => b"TOOLARGE key over --max-key-bytes",
            (Name::RmPut | Name::RmDel, 2) => BAD_CONTEXT,
            (Name::RmGet, _) if index % 2 == 1 => BAD_CONTEXT,
            _ => b"TOOLARGE argument over its limit",
        };
        encode::error(out, &[text]);
    }
}

impl Entry {
    /// Whether a command of `count` arguments, with the name, has a number that it can have.
    #[inline]
    pub(super) fn accepts(&self, count: usize) -> bool {
        let whole = self.key_step != 2 || count % 2 == 1;
        count >= self.count_min && count <= self.count_max && whole
    }

    /// Appends its description as COMMAND INFO shows it.
    pub(super) fn describe(&self, out: &mut Vec<u8>, resp3: bool) {
        encode::array(out, 6);
        encode::bulk(out, self.name.as_bytes());
        let arity = self.count_min as u64;
        match self.count_min == self.count_max {
            true => encode::integer(out, arity),
            false => out.extend_from_slice(format!(":-{arity}\r\n").as_bytes()),
        }
        encode::set(out, resp3, 1);
        encode::simple(out, if self.writes { "write" } else { "readonly" });
        let multi = self.kind == Kind::Multi;
        encode::integer(out, (self.key_step > 0).into());
        match multi {
            true => out.extend_from_slice(b":-1\r\n"),
            false => encode::integer(out, (self.key_step > 0).into()),
        }
        encode::integer(out, self.key_step as u64);
    }
}
