//! Random clusters under random losses: nothing panics, every command ends once, and nothing is
//! left behind. Whether the answers are right is for the simulator, which has an oracle.

use super::*;
use crate::prng::Prng;

struct World {
    cluster: Cluster,
    prng: Prng,
    /// Contexts that clients hold, by key.
    held: Vec<(u8, Vec<u8>)>,
    ended: u32,
}

fn any_put<'a>(prng: &mut Prng, context: &'a [u8], value: &'a [u8]) -> PutRequest<'a> {
    let put = match prng.below(5) {
        0 | 1 => set(value),
        2 => replace(context, value),
        3 => first(Condition::Always, value),
        _ => first([Condition::IfAbsent, Condition::IfPresent][prng.below(2) as usize], value),
    };
    let put = if prng.chance(20) { delete(put) } else { put };
    let dw = if prng.chance(10) { 1 } else { 0 };
    PutRequest { w: prng.below(4) as u8, dw, ..put }
}

impl World {
    fn new(seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let setup = Setup {
            nodes: 1 + prng.below(5) as u32,
            shards: 1 + prng.below(3) as u16,
            mixed: prng.chance(50),
            r: 1 + prng.below(3) as u8,
            w: 1 + prng.below(3) as u8,
            sync_before_ack: prng.chance(30),
            interval: None,
        };
        World { cluster: Cluster::new(setup), prng, held: Vec::new(), ended: 0 }
    }

    fn any_site(&mut self) -> At {
        let ats = self.cluster.ats();
        ats[self.prng.below(ats.len() as u64) as usize]
    }

    fn begin(&mut self) {
        let (to, key) = (self.any_site(), self.prng.below(4) as u8);
        let value = self.cluster.requests.to_be_bytes();
        let context = self.held.iter().rfind(|(of, _)| *of == key);
        let context = context.map_or(Vec::new(), |(_, context)| context.clone());
        let prng = &mut self.prng;
        if prng.chance(50) {
            let put = any_put(prng, &context, &value);
            self.cluster.send(to, &[key], Command::Put(put));
        } else {
            let context = if prng.chance(30) { &context[..] } else { &[] };
            let get = GetRequest { r: prng.below(4) as u8, context, ..GET };
            self.cluster.send(to, &[key], Command::Get(get));
        }
    }

    /// One frame of the network arrives, is lost, or arrives twice; not in order.
    fn deliver(&mut self) {
        let flights = &mut self.cluster.network.flights;
        if flights.is_empty() {
            return;
        }
        let index = self.prng.below(flights.len().min(8) as u64) as usize;
        let flight = flights.remove(index).unwrap();
        match self.prng.below(20) {
            0 => {}
            1 => {
                self.cluster.deliver(&flight);
                self.cluster.deliver(&flight);
            }
            _ => self.cluster.deliver(&flight),
        }
    }

    fn sync(&mut self, at: At) {
        let synced = self.cluster.sites[&at].store.end();
        self.cluster.turn(at, |turn| turn.input(Input::Stored { written: AT_ONCE, synced }));
    }

    fn flap(&mut self) {
        let (at, other) = (self.any_site(), self.any_site());
        if at.node == other.node {
            return;
        }
        let cut = &mut self.cluster.network.cut;
        let down = cut.insert((at.node, other.node));
        if !down {
            cut.remove(&(at.node, other.node));
        }
        // Sometimes the driver knows of it, sometimes frames are just not taken.
        let node = NodeId(other.node);
        if !down || self.prng.chance(50) {
            for at in self.cluster.ats().into_iter().filter(|of| of.node == at.node) {
                let input = if down { Input::PeerDown(node) } else { Input::PeerUp(node) };
                self.cluster.turn(at, |turn| {
                    turn.input(input);
                    turn.timeouts(2);
                });
            }
        }
    }

    fn read_replies(&mut self) {
        for bytes in core::mem::take(&mut self.cluster.network.replies) {
            let frame = Frame::new_checked::<Software>(&bytes).unwrap();
            let reply = Reply::new_checked(frame.payload()).unwrap();
            assert_ne!(reply.head.status, Status::Malformed);
            self.ended += 1;
            if reply.head.status == Status::Ok && !reply.context.is_empty() {
                // Its key is found by trying: a token is worth nothing for another one.
                let key = (0..4u8).find(|key| {
                    let secret = &self.cluster.settings.context_key;
                    causality::decode_token(secret, &[*key], reply.context).is_ok()
                });
                self.held.push((key.unwrap(), reply.context.to_vec()));
            }
        }
    }

    fn step(&mut self) {
        match self.prng.below(40) {
            0..=6 => self.begin(),
            7..=33 => self.deliver(),
            34..=36 => {
                let at = self.any_site();
                self.sync(at);
            }
            37 => {
                let time = self.prng.below(300_000);
                self.cluster.pass(Duration::from_micros(time));
            }
            _ => self.flap(),
        }
        self.read_replies();
    }

    /// The network heals and everything in flight ends.
    fn finish(&mut self) {
        self.cluster.network.cut.clear();
        for _ in 0..4 {
            self.cluster.run();
            for at in self.cluster.ats() {
                self.sync(at);
            }
            self.cluster.pass(TIMEOUT / 3);
        }
        self.cluster.run();
        self.cluster.pass(TIMEOUT);
        self.cluster.run();
        self.read_replies();
        assert_eq!(self.ended, self.cluster.requests, "one reply to each");
        self.hand_off();
        self.cluster.check_idle();
    }

    /// Everybody reaches everybody, and every hint goes home.
    fn hand_off(&mut self) {
        let nodes: BTreeSet<u32> = self.cluster.ats().iter().map(|at| at.node).collect();
        nodes.into_iter().for_each(|node| self.cluster.back(node));
        for _ in 0..30 {
            self.cluster.pass(TIMEOUT);
            self.cluster.home();
        }
        assert_eq!(self.cluster.hints().iter().sum::<usize>(), 0);
    }
}

#[test]
fn every_command_is_answered_once_whatever_is_lost() {
    for seed in 0..80 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
        world.finish();
    }
}
