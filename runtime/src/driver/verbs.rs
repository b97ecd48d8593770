//! What operators stage, look at and commit: shard 0 answers, and everything that must hold for a
//! commit is looked at in the step that makes it.

use super::State;
use super::plan::{Plan, united};
use super::status::health;
use crate::metrics::{Counter, Gauge};
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::{NodeId, Partition, TopologyId};
use ringmain_core::limits::{
    COMMIT_OPERATION_COUNT_MAX, OPERATION_COUNT_MAX, REMOVE_OPERATION_COUNT_MAX, STAGED_COUNT_MAX,
};
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::{Operations, Topology};
use ringmain_core::node::{Node, NodeInput};
use ringmain_core::wire::admin::{Commit, Stage, Verb};
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::gossip::Liveness;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::reply::Status;
use serde_json::{Value, json};

/// Why an operator's wish is not done, and what to do.
#[derive(Debug, Eq, PartialEq)]
struct Refusal {
    what: String,
    remedy: &'static str,
}

/// Partitions that a plan names; others are counted.
const THIN_LISTED_MAX: usize = 64;

fn refusal<T>(what: impl Into<String>, remedy: &'static str) -> Result<T, Refusal> {
    Err(Refusal { what: what.into(), remedy })
}

impl State {
    /// The answer to STAGE, PLAN, COMMIT, CLEAR or TRANSFERS.
    pub(super) fn on_verb_frame(
        &mut self,
        frame: &Frame<'_>,
    ) -> Result<(Status, String), FrameRefused> {
        let malformed = |_| FrameRefused::Malformed;
        let answer = match frame.op() {
            Op::Stage => self.stage(&Stage::new_checked(frame.payload()).map_err(malformed)?),
            Op::Plan => self.plan().map(|plan| self.plan_json(&plan)),
            Op::Commit => self.commit(Commit::new_checked(frame.payload()).map_err(malformed)?),
            Op::Clear => {
                self.node_input(NodeInput::ClearStaged);
                Ok(json!({}))
            }
            _ => Ok(self.transfers_json()),
        };
        Ok(match answer {
            Ok(json) => (Status::Ok, json.to_string()),
            Err(Refusal { what, remedy }) => {
                (Status::ConditionFailed, json!({ "what": what, "remedy": remedy }).to_string())
            }
        })
    }

    fn stage(&mut self, stage: &Stage<'_>) -> Result<Value, Refusal> {
        let Some(members) = &self.members else { return Ok(Value::Null) };
        let operations = wanted(&members.node, self.about.node, stage)?;
        for operation in &operations {
            self.node_input(NodeInput::Stage { operation: *operation });
        }
        Ok(operations.iter().map(|operation| self.operation_json(operation)).collect())
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        let Some(members) = &self.members else { unreachable!("shard 0 alone is asked") };
        let node = &members.node;
        may_change(node, self.about.node)?;
        let (_, staged) = node.staged();
        let config = node.rings().committed().config();
        Plan::new(config, self.about.w, node.operations(), staged)
            .or_else(|_full| refusal(FULL, CLEAR))
    }

    fn commit(&mut self, asked: Commit) -> Result<Value, Refusal> {
        let plan = self.plan()?;
        if plan.staged.is_empty() {
            return refusal(
                "nothing is staged",
                "stage a change first, as with `ringmain cluster leave NODE`",
            );
        }
        if plan.hash != asked.hash {
            return refusal(
                format!("the plan is {} by now, not {}", hex(plan.hash), hex(asked.hash)),
                "look at `ringmain cluster plan` again, and commit what it shows",
            );
        }
        if plan.member_count == 0 {
            return refusal("no member would be left", CLEAR);
        }
        if !plan.thin.is_empty() && !asked.accepts_loss {
            let thin = plan.thin.len();
            return refusal(
                format!(
                    "of {thin} partitions too few copies are left to have all that was written"
                ),
                "bring a lost node back, or commit with --accept-loss",
            );
        }
        let Some(members) = &self.members else { return Ok(Value::Null) };
        let staged = members.node.staged().1.bytes().to_vec();
        let operations = Operations::new_checked(&staged).expect("a node has checked them");
        self.node_input(NodeInput::Commit { operations });
        for operation in &plan.staged {
            tracing::info!("committed: {}", self.operation_json(operation));
        }
        Ok(json!({ "topology": hex(plan.hash), "moves": plan.moves }))
    }

    fn plan_json(&self, plan: &Plan) -> Value {
        let staged = plan.staged.iter().map(|operation| self.operation_json(operation));
        let thin = plan.thin.iter().take(THIN_LISTED_MAX).map(|partition| partition.0);
        // What this node has tells how large a copy is.
        let me = self.about.node;
        let owned = self.engine.shard.rings().settled().owned_count(me);
        let live = self.about.metrics.gauge_total(Gauge::LogLiveBytes);
        let bytes = live.checked_div(u64::from(owned)).map(|each| each * u64::from(plan.moves));
        json!({
            "hash": hex(plan.hash),
            "staged": staged.collect::<Vec<_>>(),
            "moves": plan.moves,
            "bytes": bytes.unwrap_or(0),
            "bytes_are_known": bytes.is_some(),
            "peak_over_fair": plan.peak_over_fair_milli as f64 / 1000.0,
            "members": plan.member_count,
            "zone_relaxations": plan.relaxations.zone,
            "cap_relaxations": plan.relaxations.cap,
            "thin": plan.thin.len(),
            "thin_partitions": thin.collect::<Vec<_>>(),
        })
    }

    fn operation_json(&self, operation: &Operation) -> Value {
        let node = operation.node();
        let mut value = match operation {
            Operation::Add(Member { zone, weight, .. }) => {
                json!({ "op": "join", "zone": zone.as_str(), "weight": weight })
            }
            Operation::Remove { is_lost: false, .. } => json!({ "op": "leave" }),
            Operation::Remove { is_lost: true, .. } => json!({ "op": "forget" }),
            Operation::SetWeight { weight, .. } => json!({ "op": "weight", "weight": weight }),
            Operation::SetZone { zone, .. } => json!({ "op": "zone", "zone": zone.as_str() }),
        };
        value["node"] = node.to_string().into();
        value["name"] = self.members.as_ref().and_then(|members| name(&members.node, node)).into();
        value
    }

    /// How far this node has caught up, and for whom the cluster waits as far as it knows.
    fn transfers_json(&self) -> Value {
        let Some(members) = &self.members else { return Value::Null };
        let (node, me) = (&members.node, self.about.node);
        let rings = node.rings();
        let partitions = 0..rings.committed().config().partition_count();
        let partitions = partitions.map(|index| Partition(index as u16));
        let gains = partitions.filter(|partition| rings.catches_up(*partition, me)).count();
        let shards = self.engine.shard.config().shards;
        let cold = self.clerk.ledger().cold_count(node.published(), shards);
        let awaited = node.awaited().map(|other| {
            let state = health(members, other);
            json!({ "node": other.to_string(), "name": name(node, other), "state": state })
        });
        let metrics = &self.about.metrics;
        json!({
            "node": me.to_string(),
            "name": self.about.name,
            "topology": hex(node.published()),
            "is_moving": node.operations().is_moving(),
            "gains": gains,
            "left": cold.unwrap_or(gains),
            "keys": metrics.gauge_total(Gauge::Keys),
            "exchanges": metrics.counter_total(Counter::Exchanges),
            "records_sent": metrics.counter_total(Counter::ExchangeRecords),
            "bytes_sent": metrics.counter_total(Counter::ExchangeBytes),
            "awaited": awaited.collect::<Vec<_>>(),
        })
    }
}

const FULL: &str = "the cluster would have more members, or changes, than it can have";
const CLEAR: &str = "drop what is staged with `ringmain cluster clear`, and stage other changes";

fn hex(topology: TopologyId) -> String {
    format!("{:016x}", topology.0)
}

fn name<'n>(node: &'n Node<'_>, of: NodeId) -> Option<&'n str> {
    node.contacts().iter().find(|contact| contact.node == of).map(|contact| contact.name.as_str())
}

/// Whether changes of the cluster may be asked of this node.
fn may_change(node: &Node<'_>, me: NodeId) -> Result<(), Refusal> {
    if node.operations().is_removed(me) {
        return refusal("this node was removed from the cluster", "ask a member: give its --node");
    }
    if node.operations().is_empty() {
        return refusal(
            "this node knows no member of a cluster yet",
            "check that a node answers at its --seed, and try again",
        );
    }
    Ok(())
}

/// The operations that `stage` comes to.
fn wanted(node: &Node<'_>, me: NodeId, stage: &Stage<'_>) -> Result<Vec<Operation>, Refusal> {
    may_change(node, me)?;
    let version = |of| node.operations().next_version(of).max(node.staged().1.next_version(of));
    let operations = match stage.verb {
        Verb::Join if stage.node.is_empty() => vec![Operation::Add(candidate(node, me, me)?)],
        Verb::Join => vec![Operation::Add(candidate(node, me, find(node, me, stage.node)?)?)],
        Verb::Leave => {
            let node = member(node, find(node, me, stage.node)?)?;
            vec![Operation::Remove { node, is_lost: false }]
        }
        Verb::Replace => {
            let old = member(node, find(node, me, stage.node)?)?;
            let new = candidate(node, me, find(node, me, stage.argument)?)?;
            let is_lost = !answers(node, me, old);
            vec![Operation::Remove { node: old, is_lost }, Operation::Add(new)]
        }
        Verb::Forget => {
            let lost = find(node, me, stage.node)?;
            if !node.operations().leaving().contains(&lost) {
                member(node, lost)?;
            }
            if answers(node, me, lost) && !stage.is_forced {
                return refusal(
                    format!("node {} answers, or did just now", called(node, lost)),
                    "have it leave, or stop it and wait until it is down, or say --force",
                );
            }
            vec![Operation::Remove { node: lost, is_lost: true }]
        }
        Verb::Weight => {
            let node = member(node, find(node, me, stage.node)?)?;
            vec![Operation::SetWeight { node, version: version(node), weight: stage.weight }]
        }
        Verb::Zone => {
            let node = member(node, find(node, me, stage.node)?)?;
            let Ok(zone) = Name::new(stage.argument) else {
                return refusal(
                    "the zone is no name",
                    "give 1 to 32 bytes of printable text without blanks",
                );
            };
            vec![Operation::SetZone { node, version: version(node), zone }]
        }
    };
    check(node, &operations)?;
    Ok(operations)
}

/// Whether all that is staged, and `more`, may be committed.
fn check(node: &Node<'_>, more: &[Operation]) -> Result<(), Refusal> {
    let (_, staged) = node.staged();
    let mut storage = vec![[0; Operation::BYTES]; STAGED_COUNT_MAX];
    let mut all = Topology::new(&mut storage);
    let fits = all.merge(staged).is_ok() && more.iter().all(|one| all.insert(one.moving()).is_ok());
    if !fits {
        return refusal(
            format!("{STAGED_COUNT_MAX} changes are staged already"),
            "commit them or drop them first",
        );
    }
    let mut storage = vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX];
    let Ok(union) = united(&mut storage, node.operations(), all.operations()) else {
        return refusal(FULL, CLEAR);
    };
    let removes = |one: &Operation| matches!(one, Operation::Remove { .. });
    let most = match more.iter().any(removes) {
        true => REMOVE_OPERATION_COUNT_MAX,
        false => COMMIT_OPERATION_COUNT_MAX,
    };
    if union.operations().len() > most {
        return refusal(
            format!("the cluster keeps {} changes already, for good", node.operations().len()),
            match most {
                COMMIT_OPERATION_COUNT_MAX => "what is left is for nodes that leave or are lost",
                _ => "move the data to a new cluster",
            },
        );
    }
    if union.members().is_empty() {
        return refusal(
            "no member would be left",
            "a cluster has one at least: stop the last node instead",
        );
    }
    Ok(())
}

/// The node that `word` names, by its id or its name.
fn find(node: &Node<'_>, me: NodeId, word: &str) -> Result<NodeId, Refusal> {
    let is_known = |one: NodeId| {
        one == me
            || node.rings().contains(one)
            || node.candidates().iter().any(|candidate| candidate.node == one)
    };
    let id = (word.len() == 8).then(|| u32::from_str_radix(word, 16).ok().map(NodeId)).flatten();
    if let Some(id) = id {
        if is_known(id) {
            return Ok(id);
        }
        if node.operations().is_removed(id) {
            return refusal(
                format!("node {id} was removed, which is for ever"),
                "see `ringmain cluster status` for who is there",
            );
        }
    }
    let named =
        node.contacts().iter().filter(|one| is_known(one.node) && one.name.as_str() == word);
    let named: Vec<NodeId> = named.map(|contact| contact.node).collect();
    match named[..] {
        [one] => Ok(one),
        [] => refusal(
            format!("no node {word} is a member, or waits to join"),
            "give an id or a name, as `ringmain cluster status` shows them",
        ),
        _ => refusal(
            format!("{} nodes have the name {word}", named.len()),
            "give the id of one, as `ringmain cluster status` shows it",
        ),
    }
}

fn member(node: &Node<'_>, of: NodeId) -> Result<NodeId, Refusal> {
    if node.operations().members().iter().any(|member| member.node == of) {
        return Ok(of);
    }
    let who = called(node, of);
    match node.rings().contains(of) {
        true => {
            refusal(format!("node {who} is leaving already"), "see `ringmain cluster transfers`")
        }
        false => refusal(
            format!("node {who} is no member"),
            "see `ringmain cluster status` for the members",
        ),
    }
}

/// As what `of` would become a member.
fn candidate(node: &Node<'_>, me: NodeId, of: NodeId) -> Result<Member, Refusal> {
    let own = node.own_candidacy().filter(|own| own.node == of);
    let told = node.candidates().iter().find(|candidate| candidate.node == of).copied();
    if let Some(candidate) = own.or(told) {
        return Ok(candidate);
    }
    let who = called(node, of);
    if of == me && !node.is_member() {
        return refusal(
            format!("node {who} cannot join: another one has its id"),
            "start it with an empty data directory",
        );
    }
    refusal(format!("node {who} is a member already"), "give a node that waits to join")
}

/// Whether `of` answers this node, or others as far as is known.
fn answers(node: &Node<'_>, me: NodeId, of: NodeId) -> bool {
    of == me || node.is_reachable(of) || node.liveness(of) == Some(Liveness::Alive)
}

fn called(node: &Node<'_>, of: NodeId) -> String {
    match name(node, of) {
        Some(name) => format!("{name} ({of})"),
        None => of.to_string(),
    }
}

#[cfg(test)]
mod tests;
