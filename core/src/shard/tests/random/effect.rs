//! What machine and models ask for, in words, so that they can be compared.

use super::*;

/// What a request makes the machine ask for, in words.
pub(super) type Effects = Vec<String>;

/// Whether one of them is a reply.
pub(super) fn ended(effects: &Effects) -> bool {
    effects.iter().any(|effect| effect.starts_with("reply") || effect.starts_with("relay"))
}

/// One output, in words; what time is left does not matter.
pub(super) fn effect(output: &Output) -> String {
    match output {
        Output::Look { op, target } => format!("look {op:?} {target:?}"),
        Output::Ask { op, node, target, .. } => format!("ask {op:?} {node:?} {target:?}"),
        Output::Forward { op, target: Target::Node(node), forwarded: true, .. } => {
            format!("forward {op:?} {node:?}")
        }
        Output::Relay { op, .. } => format!("relay {op:?}"),
        Output::Keep { place, target, .. } => format!("keep {place:?} {target:?}"),
        Output::Repair { op, node, version, .. } => format!("repair {op:?} {node:?} {version}"),
        Output::Apply { op, gathered, target, .. } => format!("apply {op:?} {gathered} {target:?}"),
        Output::Replicate { op, node, place, sync, target, .. } => {
            format!("replicate {op:?} {node:?} {place:?} {sync} {target:?}")
        }
        Output::Reply { op: Some(op), outcome, .. } => format!("reply {op:?} {outcome:?}"),
        Output::Sync => String::from("sync"),
        other => panic!("not expected: {other:?}"),
    }
}
