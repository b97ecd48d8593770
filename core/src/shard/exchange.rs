//! Anti-entropy as part of a shard's work: what its [`exchange`](crate::exchange)s are told, and
//! what they ask for.

use super::{Output, Shard};
use crate::exchange::{
    Counts, ExchangeFrame, Finished, Heard, Held, Pair, Sent, Session, Step, Versions, Way,
};
use crate::id::{NodeId, Partition, RequestId};
use crate::time::Instant;
use crate::wire::exchange::{EndReason, Entry};
use crate::wire::message::Message;

/// What happened to the exchanges of a shard.
#[derive(Clone, Copy, Debug)]
pub enum ExchangeEvent<'a> {
    /// A frame came, other than EXCHANGE_RECORD.
    Frame {
        /// The frame.
        frame: ExchangeFrame,
        /// What it says.
        message: Message<'a>,
        /// This shard's copy of the partition that it is about; none if that is not known, or the
        /// shard does not hold it.
        held: Option<Held<'a>>,
    },
    /// An EXCHANGE_RECORD came, its bytes at hand.
    Record {
        /// The frame.
        frame: ExchangeFrame,
    },
    /// [`Output::ExchangeJoin`] was done.
    Joined {
        /// The frame that brought the record.
        frame: ExchangeFrame,
        /// Of the key.
        order: u64,
        /// The versions; none: it could not be joined.
        joined: Option<Versions>,
    },
    /// [`Step::Summarize`] was done.
    Summarized {
        /// The exchange.
        session: Session,
        /// Root of the partition's tree.
        root: u64,
        /// Keys in the partition.
        keys: u64,
    },
    /// [`Step::List`] was done.
    Listed {
        /// The exchange.
        session: Session,
        /// Ascending.
        entries: &'a [Entry],
        /// There may be further ones.
        more: bool,
    },
    /// [`Step::Push`] was done.
    Pushed {
        /// The exchange.
        session: Session,
        /// As in the step.
        order: u64,
        /// What was sent.
        sent: Sent,
    },
    /// [`Step::Stream`] was done.
    Streamed {
        /// The exchange.
        session: Session,
        /// The order to go on from, if there is more.
        next: Option<u64>,
        /// What was sent.
        sent: Sent,
    },
    /// A step needs records that are being read into memory.
    Cold {
        /// The exchange.
        session: Session,
        /// The step, to be done again.
        step: Step,
    },
    /// A frame was not taken: the connection is gone, or its queue is full.
    Lost {
        /// The exchange.
        session: Session,
    },
    /// Somebody wants all pairs of owners, or those of a partition, compared now.
    Repair {
        /// The partition.
        partition: Option<Partition>,
    },
}

impl Shard<'_> {
    /// The pairs of owners whose exchanges this shard begins, ascending by partition and peer.
    pub fn exchange_pairs(&self) -> &[Pair] {
        self.exchanges.pairs()
    }

    /// What its exchanges have done.
    pub fn exchange_counts(&self) -> &Counts {
        self.exchanges.counts()
    }

    /// Exchanges that go on now, asking and answering.
    pub fn exchange_count(&self) -> usize {
        self.exchanges.active_count()
    }

    /// The partition of the exchange that a frame belongs to.
    pub(crate) fn exchange_partition(&self, frame: ExchangeFrame) -> Option<Partition> {
        self.exchanges.partition_of(self.config.node, frame)
    }

    /// The message of a [`Step::Send`].
    pub(crate) fn exchange_message(&self, session: Session) -> Message<'_> {
        self.exchanges.message(session)
    }

    /// Where the frames of an exchange go.
    pub(crate) fn exchange_way(&self, session: Session) -> Way {
        self.exchanges.way(session)
    }

    pub(super) fn on_exchange(&mut self, now: Instant, event: ExchangeEvent<'_>) {
        if let ExchangeEvent::Frame { frame, .. } | ExchangeEvent::Record { frame } = event {
            self.on_heard(now, frame.node, RequestId::NONE);
        }
        match event {
            ExchangeEvent::Frame { frame, message, held } => {
                self.on_exchange_frame(now, frame, &message, held);
            }
            ExchangeEvent::Record { frame } => {
                if self.exchanges.on_record(now, self.config.node, frame) {
                    let ExchangeFrame { link, node, .. } = frame;
                    self.output(Output::ExchangeJoin { link, node });
                }
            }
            ExchangeEvent::Joined { frame, order, joined } => {
                self.exchanges.on_joined(now, self.config.node, frame, order, joined);
            }
            ExchangeEvent::Summarized { session, root, keys } => {
                self.exchanges.on_summarized(now, session, root, keys);
            }
            ExchangeEvent::Listed { session, entries, more } => {
                self.exchanges.on_listed(now, session, entries, more);
            }
            ExchangeEvent::Pushed { session, order, sent } => {
                self.exchanges.on_pushed(now, session, order, sent);
            }
            ExchangeEvent::Streamed { session, next, sent } => {
                self.exchanges.on_streamed(now, session, next, sent);
            }
            ExchangeEvent::Cold { session, step } => self.exchanges.on_cold(now, session, step),
            ExchangeEvent::Lost { session } => self.exchanges.on_lost(now, session),
            ExchangeEvent::Repair { partition } => self.exchanges.repair(now, partition),
        }
    }

    fn on_exchange_frame(
        &mut self,
        now: Instant,
        frame: ExchangeFrame,
        message: &Message<'_>,
        held: Option<Held<'_>>,
    ) {
        let owns = match message {
            Message::ExchangeOpen(open) => {
                self.owns(open.partition) && self.rings.is_owner(open.partition, frame.node)
            }
            _ => true,
        };
        let here = (self.config.node, self.topology);
        let held = held.filter(|_| owns);
        let (heard, finished) = self.exchanges.on_frame(now, here, frame, message, held);
        if let Heard::Refused(reason) = heard {
            let ExchangeFrame { link, node, number, .. } = frame;
            self.output(Output::ExchangeRefuse { link, number, reason });
            if reason == EndReason::StaleTopology {
                self.output(Output::TopologyDiffers { node });
            }
        }
        self.finish_exchange(finished);
    }

    /// When [`Shard::exchange`] has something to do.
    pub(super) fn next_exchange(&self) -> Option<Instant> {
        self.exchanges.next()
    }

    /// One step of an exchange, if one is due.
    pub(super) fn exchange(&mut self, now: Instant) {
        let Shard { exchanges, reachable, health, topology, .. } = self;
        let is_well =
            |node: NodeId| reachable.binary_search(&node).is_ok() && !health.is_suspect(node);
        let (granted, finished) = exchanges.step(now, *topology, is_well);
        if let Some((session, partition, step)) = granted {
            self.output(Output::Exchange { session, partition, step });
        }
        self.finish_exchange(finished);
    }

    fn finish_exchange(&mut self, finished: Option<Finished>) {
        if let Some(finished) = finished {
            if finished.differences == 0 {
                self.on_equal(finished.partition, finished.peer);
            }
            self.output(Output::Exchanged(finished));
        }
    }

    /// No exchange begins while this node may not write.
    pub(super) fn hold_exchanges(&mut self, now: Instant) {
        self.exchanges.hold(now, self.is_stopping || self.read_only);
    }
}
