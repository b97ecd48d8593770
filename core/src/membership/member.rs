//! One node as others know it: its seat in the cluster ([`Member`], committed by operators) and
//! where it answers ([`Contact`], said by itself and spread by gossip).

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{Boot, NodeId};
use crate::limits::{NAME_BYTES_MAX, SHARD_COUNT_MAX};

/// The name of a node or a zone: 1 ..= `NAME_BYTES_MAX` bytes of printable UTF-8 without white
/// space, so that it fits one word of a log line, zero-padded. Ordered as byte strings.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name([u8; NAME_BYTES_MAX]);

impl Name {
    /// Checks and pads `text`.
    pub fn new(text: &str) -> Result<Name, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        if !text.chars().all(is_printable) {
            return Err(BadName::Unprintable);
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Name(bytes))
    }

    /// Checks bytes from outside.
    pub fn from_bytes(bytes: &[u8; NAME_BYTES_MAX]) -> Result<Name, BadName> {
        let used = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let text = core::str::from_utf8(&bytes[..used]).map_err(|_| BadName::Unprintable)?;
        Name::new(text)
    }

    /// The padded form, which goes into frames and files.
    pub fn to_bytes(self) -> [u8; NAME_BYTES_MAX] {
        self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let used = self.0.iter().position(|&b| b == 0).unwrap_or(NAME_BYTES_MAX);
        core::str::from_utf8(&self.0[..used]).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is no [`Name`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadName {
    /// It has no character.
    Empty,
    /// It has more than `NAME_BYTES_MAX` bytes.
    TooLong,
    /// It is not UTF-8, or has white space, a control or an invisible character.
    Unprintable,
}

/// A node as the committed topology names it: what the ring is computed from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its short id. Never 0.
    pub node: NodeId,
    /// Its identity for ever, minted with its data directory; the ring draws by it.
    pub uuid: u128,
    /// Its share relative to others. Never 0; 100 by default.
    pub weight: u16,
    /// What fails together with it: replicas go to different zones.
    pub zone: Name,
}

/// Where a node answers, as it last said itself. Not part of the topology: an address may
/// change with every start, and changes nothing but where bytes are sent.
///
/// | bytes | field | |
/// |---|---|---|
/// | 0..4 | node | u32, not 0 |
/// | 4..12 | boot | u64, below 2^40 |
/// | 12..16 | incarnation | u32 |
/// | 16..48 | name | zero-padded |
/// | 48..64 | ip | IPv6, or IPv4 mapped into it; not unspecified |
/// | 64..66 | resp port | u16, 0 = none |
/// | 66..68 | native port | u16, not 0 |
/// | 68..70 | admin port | u16, 0 = none |
/// | 70..72 | shards | u16, `1 ..= SHARD_COUNT_MAX` |
///
/// All integers are little-endian.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contact {
    /// Who says this. Not 0.
    pub node: NodeId,
    /// Its process life: a later one knows better. Below 2^40.
    pub boot: Boot,
    /// Raised by the node itself, within one boot, to correct what others say of it.
    pub incarnation: u32,
    /// Its name, shown to people.
    pub name: Name,
    /// Its address, IPv4 as `::ffff:a.b.c.d`. Never unspecified.
    pub ip: [u8; 16],
    /// Port for RESP clients; 0 if there is none.
    pub resp_port: u16,
    /// Port for native clients and peers. Not 0.
    pub native_port: u16,
    /// Port of the admin HTTP server; 0 if there is none.
    pub admin_port: u16,
    /// Its shards, `1 ..= SHARD_COUNT_MAX`.
    pub shards: u16,
}

impl Contact {
    /// Length of the encoding.
    pub const BYTES: usize = size_of::<ContactBytes>();

    /// Checks bytes from outside.
    pub fn from_bytes(bytes: &[u8; Contact::BYTES]) -> Result<Contact, MalformedContact> {
        let wire: ContactBytes = zerocopy::transmute!(*bytes);
        let contact = Contact {
            node: NodeId(wire.node.get()),
            boot: Boot(wire.boot.get()),
            incarnation: wire.incarnation.get(),
            name: Name::from_bytes(&wire.name).map_err(MalformedContact::Name)?,
            ip: wire.ip,
            resp_port: wire.resp_port.get(),
            native_port: wire.native_port.get(),
            admin_port: wire.admin_port.get(),
            shards: wire.shards.get(),
        };
        contact.check()?;
        Ok(contact)
    }

    /// The encoding.
    ///
    /// # Panics
    /// If a field is out of its bounds, since no other node would accept that.
    pub fn to_bytes(&self) -> [u8; Contact::BYTES] {
        assert!(self.check() == Ok(()));
        zerocopy::transmute!(ContactBytes {
            node: self.node.0.into(),
            boot: self.boot.0.into(),
            incarnation: self.incarnation.into(),
            name: self.name.to_bytes(),
            ip: self.ip,
            resp_port: self.resp_port.into(),
            native_port: self.native_port.into(),
            admin_port: self.admin_port.into(),
            shards: self.shards.into(),
        })
    }

    /// Of two statements about one node, the one that holds: that of the higher boot, then of
    /// the higher incarnation. A node says one thing per incarnation; should two differ all the
    /// same (a copied data directory), the greater encoding holds, so that all agree.
    ///
    /// # Panics
    /// If they are about different nodes.
    #[must_use]
    pub fn merge(self, other: Contact) -> Contact {
        assert!(self.node == other.node);
        let age = |c: &Contact| (c.boot, c.incarnation);
        if (age(&other), other.to_bytes()) > (age(&self), self.to_bytes()) { other } else { self }
    }

    fn check(&self) -> Result<(), MalformedContact> {
        let v4_any = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        if self.node.0 == 0 {
            return Err(MalformedContact::Node);
        }
        if self.boot.0 >= 1 << 40 {
            return Err(MalformedContact::Boot);
        }
        if self.ip == [0; 16] || self.ip == v4_any || self.native_port == 0 {
            return Err(MalformedContact::Address);
        }
        if self.shards == 0 || usize::from(self.shards) > SHARD_COUNT_MAX {
            return Err(MalformedContact::Shards);
        }
        Ok(())
    }
}

/// Why bytes are no [`Contact`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MalformedContact {
    /// The node is 0.
    Node,
    /// The boot has more than 40 bits.
    Boot,
    /// The name is none.
    Name(BadName),
    /// The address is unspecified, or the native port 0.
    Address,
    /// The shard count is out of its bounds.
    Shards,
}

/// The table of [`Contact`], byte by byte.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct ContactBytes {
    node: U32,
    boot: U64,
    incarnation: U32,
    name: [u8; NAME_BYTES_MAX],
    ip: [u8; 16],
    resp_port: U16,
    native_port: U16,
    admin_port: U16,
    shards: U16,
}

/// Whether `c` shows as itself: no control, no white space, none of the invisible characters
/// that would let two different names look the same.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}');
    !(c.is_control() || c.is_whitespace() || invisible)
}

const _: () = assert!(Contact::BYTES == 72, "the documented size");
