//! Which pairs move together, in memory that grows with the pairs and with nothing else.
//!
//! A price that moves is held against the pairs that moved last ([`WINDOW`]), if that was not too long ago:
//! for each, both remember whether they went the same way. A pair remembers at most [`PEERS`] others, and forgets those
//! that it meets seldom. So an update costs the same however many pairs there are, and a pair costs at most about 1 KB.

use std::collections::{HashMap, VecDeque};

/// Pairs that moved last, against which a move is held.
const WINDOW: usize = 8;
/// Others that a pair remembers.
const PEERS: usize = 64;
/// What an earlier meeting counts beside the next one.
const FADING: f32 = 0.98;

/// The last that is known of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quote {
    pub(crate) price: f64,
    pub(crate) time: f64,
    pub(crate) updates: i64,
}

#[derive(Debug)]
struct Pair {
    name: Box<str>,
    quote: Quote,
    /// Whom it remembers, apart from what it remembers: most of the work is looking for one of them.
    peers: Vec<u32>,
    memories: Vec<Memory>,
    /// The one that is to be forgotten next, unless it is met more often than others.
    hand: usize,
}

/// What a pair remembers of another.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Meetings, faded.
    met: f32,
    /// Those at which both went the same way.
    agreed: f32,
}

#[derive(Clone, Copy, Debug)]
struct Move {
    pair: u32,
    up: bool,
    time: f64,
}

/// All pairs.
#[derive(Debug)]
pub(crate) struct Tracker {
    most: usize,
    /// Moves that are further apart than this in `time` have nothing to do with each other.
    horizon: f64,
    ids: HashMap<Box<str>, u32>,
    pairs: Vec<Pair>,
    /// Who moved last.
    movers: VecDeque<Move>,
}

impl Tracker {
    pub(crate) fn new(most: usize, horizon: f64) -> Self {
        Self {
            most,
            horizon,
            ids: HashMap::new(),
            pairs: Vec::new(),
            movers: VecDeque::with_capacity(WINDOW + 1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Takes in a price; an error if there are too many pairs.
    pub(crate) fn update(&mut self, name: &str, price: f64, time: f64) -> Result<Quote, String> {
        let Some(id) = self.ids.get(name).copied() else { return self.add(name, price, time) };
        let pair = &mut self.pairs[id as usize];
        let before = pair.quote.price;
        pair.quote = Quote { price, time, updates: pair.quote.updates + 1 };
        let quote = pair.quote;
        if price != before {
            self.moved(Move { pair: id, up: price > before, time });
        }
        Ok(quote)
    }

    fn add(&mut self, name: &str, price: f64, time: f64) -> Result<Quote, String> {
        if self.pairs.len() >= self.most {
            return Err(format!("{} pairs are tracked, which is the most", self.most));
        }
        let quote = Quote { price, time, updates: 1 };
        let pair =
            Pair { name: name.into(), quote, peers: Vec::new(), memories: Vec::new(), hand: 0 };
        self.ids.insert(name.into(), self.pairs.len() as u32);
        self.pairs.push(pair);
        Ok(quote)
    }

    fn moved(&mut self, now: Move) {
        for at in 0..self.movers.len() {
            let Move { pair, up, time } = self.movers[at];
            if pair != now.pair && (now.time - time).abs() <= self.horizon {
                self.pairs[now.pair as usize].met(pair, up == now.up);
                self.pairs[pair as usize].met(now.pair, up == now.up);
            }
        }
        self.movers.push_back(now);
        if self.movers.len() > WINDOW {
            self.movers.pop_front();
        }
    }

    /// Those that a pair remembers with their scores, best first; none if it is not known.
    pub(crate) fn related(&self, name: &str) -> Option<Vec<(u32, f32)>> {
        let pair = &self.pairs[*self.ids.get(name)? as usize];
        let memories = pair.peers.iter().zip(&pair.memories);
        let mut scores: Vec<_> = memories.map(|(peer, memory)| (*peer, memory.score())).collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Some(scores)
    }

    pub(crate) fn quote(&self, name: &str) -> Option<Quote> {
        self.ids.get(name).map(|id| self.pairs[*id as usize].quote)
    }

    /// Name and quote of a pair that [`Self::related`] told of.
    pub(crate) fn named(&self, id: u32) -> (String, Quote) {
        let pair = &self.pairs[id as usize];
        (pair.name.to_string(), pair.quote)
    }
}

impl Pair {
    /// Of those that it remembers, a new one takes the place of one that was met seldom: a hand goes round,
    /// halves what it points at, and stops where little is left. So no search for the least is needed.
    fn met(&mut self, other: u32, agreed: bool) {
        let agreed = f32::from(u8::from(agreed));
        if let Some(at) = self.peers.iter().position(|peer| *peer == other) {
            let memory = &mut self.memories[at];
            memory.met = memory.met * FADING + 1.0;
            memory.agreed = memory.agreed * FADING + agreed;
            return;
        }
        let new = Memory { met: 1.0, agreed };
        if self.peers.len() < PEERS {
            self.peers.push(other);
            self.memories.push(new);
            return;
        }
        let at = self.hand % PEERS;
        self.hand += 1;
        let memory = &mut self.memories[at];
        if memory.met < 2.0 {
            self.peers[at] = other;
            *memory = new;
        } else {
            memory.met /= 2.0;
            memory.agreed /= 2.0;
        }
    }
}

impl Memory {
    /// How often both went the same way, from 0 to 1; less for those that met seldom.
    fn score(self) -> f32 {
        self.agreed / (self.met + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_move_together_score_above_those_that_do_not() {
        let mut tracker = Tracker::new(100, 5.0);
        for step in 0..200_i32 {
            let wave = 100.0 + f64::from((step * 7) % 13);
            let other = 100.0 + f64::from((step * 5) % 11);
            for (name, price) in [("a", wave), ("b", wave * 2.0), ("c", other), ("d", 300.0 - wave)]
            {
                tracker.update(name, price, f64::from(step * 10)).unwrap();
            }
        }
        let related = tracker.related("a").unwrap();
        assert_eq!(tracker.named(related[0].0).0, "b");
        assert!(related[0].1 > 0.6, "{related:?}");
        assert_eq!(tracker.named(related[2].0).0, "d");
        assert!(related[2].1 < related[0].1 - 0.2, "{related:?}");
        assert_eq!(tracker.quote("a").unwrap().updates, 200);
    }

    #[test]
    fn memory_of_a_pair_is_bounded() {
        let mut tracker = Tracker::new(300, 1.0);
        for step in 0..20_000_u32 {
            let name = format!("pair{}", step.wrapping_mul(2_654_435_761) % 300);
            tracker.update(&name, f64::from(step % 97 + 1), 0.0).unwrap();
        }
        assert!(tracker.len() > 100);
        assert!(tracker.pairs.iter().all(|pair| pair.peers.len() <= PEERS));
        for extra in 0..300 {
            drop(tracker.update(&format!("more{extra}"), 1.0, 0.0));
        }
        assert_eq!(tracker.len(), 300);
        assert!(tracker.update("one too many", 1.0, 0.0).is_err());
    }
}
