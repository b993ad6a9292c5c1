//! A bounded cache: what was not used for longest goes first.
//!
//! A list through a vector: nothing is allocated for a hit, and a full cache reuses the slot of what goes.

use std::{collections::HashMap, rc::Rc};

/// No slot.
const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Slot<V> {
    key: Rc<str>,
    value: V,
    newer: usize,
    older: usize,
}

/// The cache; at most `bound` entries.
#[derive(Debug)]
pub struct Cache<V> {
    bound: usize,
    slots: Vec<Slot<V>>,
    places: HashMap<Rc<str>, usize>,
    newest: usize,
    oldest: usize,
    evictions: u64,
}

impl<V: Clone> Cache<V> {
    /// An empty one; a bound of zero is one.
    pub fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            slots: Vec::new(),
            places: HashMap::new(),
            newest: NONE,
            oldest: NONE,
            evictions: 0,
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Entries at most.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// Entries that went because it was full.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// What it holds under a key, which is now the one used last.
    pub fn touch(&mut self, key: &str) -> Option<V> {
        let at = *self.places.get(key)?;
        self.unlink(at);
        self.link(at);
        Some(self.slots[at].value.clone())
    }

    /// Another value under a key that it holds; the order stays, for nobody asked for it.
    pub fn refresh(&mut self, key: &str, value: V) {
        if let Some(at) = self.places.get(key) {
            self.slots[*at].value = value;
        }
    }

    /// Puts a value under a key, which is now the one used last.
    pub fn put(&mut self, key: &str, value: V) {
        if self.touch(key).is_some() {
            self.refresh(key, value);
            return;
        }
        let key: Rc<str> = key.into();
        let slot = Slot { key: Rc::clone(&key), value, newer: NONE, older: NONE };
        let at = if self.slots.len() < self.bound {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            let gone = std::mem::replace(&mut self.slots[at], slot);
            self.places.remove(&gone.key);
            self.evictions += 1;
            at
        };
        self.places.insert(key, at);
        self.link(at);
    }

    fn unlink(&mut self, at: usize) {
        let (newer, older) = (self.slots[at].newer, self.slots[at].older);
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older].newer = newer,
        }
    }

    fn link(&mut self, at: usize) {
        let second = std::mem::replace(&mut self.newest, at);
        self.slots[at].newer = NONE;
        self.slots[at].older = second;
        match second {
            NONE => self.oldest = at,
            second => self.slots[second].newer = at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_longest_goes() {
        let mut cache = Cache::new(2);
        cache.put("a", 1);
        cache.put("b", 2);
        assert_eq!(cache.touch("a"), Some(1));
        cache.put("c", 3);
        assert_eq!(cache.touch("b"), None);
        assert_eq!(cache.touch("a"), Some(1));
        cache.refresh("c", 4);
        cache.put("d", 5);
        assert_eq!((cache.touch("c"), cache.touch("d")), (None, Some(5)));
        assert_eq!((cache.len(), cache.evictions()), (2, 2));
    }

    #[test]
    fn it_is_what_a_plain_list_is() {
        let mut cache: Cache<u64> = Cache::new(7);
        let mut list: Vec<u64> = Vec::new();
        let mut state = 1_u64;
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pair = (state >> 40) % 20;
            let there = list.iter().position(|known| *known == pair);
            if state & 1 == 0 {
                assert_eq!(cache.touch(&pair.to_string()).is_some(), there.is_some());
                if let Some(at) = there {
                    let pair = list.remove(at);
                    list.push(pair);
                }
            } else {
                cache.put(&pair.to_string(), pair);
                if let Some(at) = there {
                    list.remove(at);
                } else if list.len() == 7 {
                    list.remove(0);
                }
                list.push(pair);
            }
            assert_eq!(cache.len(), list.len());
        }
        assert!(cache.evictions() > 0);
    }
}
