//! The body of the file `members`: committed operations, the last known contacts, and the reap
//! epochs that members had.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2, 2..4 | counts of operations and contacts, u16 |
//! | 4 | 1: claims follow; 0, as older builds wrote it: none do |
//! | 5.. | operations, then contacts, then a count of claims, u16, and claims |

use ringmain_core::membership::member::Contact;
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::Operations;
use ringmain_core::node::Node;
use ringmain_core::wire::epochs::Claim;
use zerocopy::IntoBytes;

const HEAD_BYTES: usize = 5;
const HAS_CLAIMS: u8 = 1;

/// What a node knew of its cluster when it stopped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Members {
    /// The encoded operations, checked.
    operations: Vec<u8>,
    pub(crate) contacts: Vec<Contact>,
    /// The encoded claims, checked.
    claims: Vec<u8>,
}

impl Members {
    /// What a founder knows.
    pub(crate) fn founding(operations: Operations<'_>) -> Members {
        Members { operations: operations.bytes().to_vec(), ..Members::default() }
    }

    /// What `node` knows now.
    pub(crate) fn of(node: &Node<'_>) -> Members {
        Members {
            operations: node.operations().bytes().to_vec(),
            contacts: node.contacts().to_vec(),
            claims: node.claims_to_keep().as_bytes().to_vec(),
        }
    }

    pub(crate) fn claims(&self) -> &[Claim] {
        Claim::list(&self.claims).expect("checked when read, or taken from a node")
    }

    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations::new_checked(&self.operations).expect("checked when read, or taken from a node")
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let operations = (self.operations.len() / Operation::BYTES) as u16;
        bytes.extend_from_slice(&operations.to_le_bytes());
        bytes.extend_from_slice(&(self.contacts.len() as u16).to_le_bytes());
        bytes.push(HAS_CLAIMS);
        bytes.extend_from_slice(&self.operations);
        for contact in &self.contacts {
            bytes.extend_from_slice(&contact.to_bytes());
        }
        let claims = (self.claims.len() / size_of::<Claim>()) as u16;
        bytes.extend_from_slice(&claims.to_le_bytes());
        bytes.extend_from_slice(&self.claims);
        bytes
    }

    /// None if the bytes are not what [`Members::to_bytes`] writes, or wrote before there were
    /// claims.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Members> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let operations = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let contacts = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (operations, rest) = rest.split_at_checked(operations * Operation::BYTES)?;
        let (contacts, rest) = rest.split_at_checked(contacts * Contact::BYTES)?;
        Operations::new_checked(operations).ok()?;
        let contacts = contacts.as_chunks().0.iter().map(Contact::from_bytes);
        let claims = match head[4] {
            0 if rest.is_empty() => rest,
            HAS_CLAIMS => {
                let (count, claims) = rest.split_first_chunk::<2>()?;
                let count = usize::from(u16::from_le_bytes(*count));
                Claim::list(claims).filter(|claims| claims.len() == count)?;
                claims
            }
            _ => return None,
        };
        let contacts = contacts.collect::<Result<_, _>>().ok()?;
        Some(Members { operations: operations.to_vec(), contacts, claims: claims.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_core::id::{Boot, NodeId};
    use ringmain_core::membership::member::{Member, Name};

    fn members() -> Members {
        let zone = Name::new("default").unwrap();
        let add = |node| {
            let node = NodeId(node);
            Operation::Add(Member { node, uuid: 7, weight: 100, zone }).settled()
        };
        let contact = Contact {
            node: NodeId(1),
            boot: Boot(9),
            incarnation: 0,
            name: zone,
            ip: [1; 16],
            resp_port: 1,
            native_port: 2,
            admin_port: 3,
            shards: 2,
        };
        let operations = [add(1).to_bytes(), add(2).to_bytes()].concat();
        let claims = [Claim::new(NodeId(1), 9), Claim::new(NodeId(2), u64::MAX)];
        Members { operations, contacts: vec![contact], claims: claims.as_bytes().to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Members::from_bytes(&members().to_bytes()), Some(members()));
    }

    #[test]
    fn no_truncation_is_taken_for_a_whole() {
        let bytes = members().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Members::from_bytes(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn what_an_older_build_wrote_has_no_claims() {
        let older = Members { claims: Vec::new(), ..members() };
        let mut bytes = older.to_bytes();
        bytes.truncate(bytes.len() - 2);
        bytes[4] = 0;
        assert_eq!(Members::from_bytes(&bytes), Some(older));
        bytes.extend([0; 2]);
        assert_eq!(Members::from_bytes(&bytes), None, "and nothing else");
        bytes[4] = 1;
        assert!(Members::from_bytes(&bytes).is_some());
        bytes[4] = 2;
        assert_eq!(Members::from_bytes(&bytes), None);
    }
}
