//! Who is interested in a subject: a trie of patterns, read by many, and each reader's memory of what
//! it found.
//!
//! The table is changed under a lock, which costs a change one walk along its tokens however many
//! subscriptions there are. A reader (one per connection) keeps the routes that it has resolved, as
//! nats-server does, and uses them as long as the table's version is what it was: in a steady state
//! an operation reads one atomic number and takes no lock.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use rustc_hash::FxHashMap;

/// Routes that one reader remembers; forgotten together when there are more.
const MAX_REMEMBERED: usize = 4_096;

/// The interested parties of a subject.
#[derive(Debug)]
pub struct Route<T> {
    /// Each of them.
    pub all: Vec<T>,
    /// One of each group.
    pub groups: Vec<(Arc<str>, Vec<T>)>,
}

impl<T> Route<T> {
    /// Whether nobody is interested.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.groups.is_empty()
    }
}

/// Patterns and who wants what they match.
#[derive(Debug)]
pub struct Table<T> {
    root: RwLock<Node<T>>,
    version: AtomicU64,
    entries: AtomicUsize,
}

#[derive(Debug)]
struct Node<T> {
    literal: FxHashMap<Box<str>, Node<T>>,
    any: Option<Box<Node<T>>>,
    /// What ends here.
    here: Vec<Entry<T>>,
    /// What ends here with `>`.
    tail: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    id: u64,
    queue: Option<Arc<str>>,
    value: T,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: FxHashMap::default(), any: None, here: Vec::new(), tail: Vec::new() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { root: RwLock::default(), version: AtomicU64::new(0), entries: AtomicUsize::new(0) }
    }
}

impl<T: Clone> Table<T> {
    /// Adds an entry; `id` is what removes it.
    pub fn insert(&self, pattern: &str, queue: Option<&str>, id: u64, value: T) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { id, queue: queue.map(Arc::from), value };
        let mut node = &mut *root;
        let mut tail = false;
        for token in pattern.split('.') {
            match token {
                ">" => tail = true,
                "*" => node = node.any.get_or_insert_default(),
                literal => {
                    if !node.literal.contains_key(literal) {
                        node.literal.insert(literal.into(), Node::default());
                    }
                    let Some(child) = node.literal.get_mut(literal) else { return };
                    node = child;
                }
            }
        }
        if tail {
            node.tail.push(entry);
        } else {
            node.here.push(entry);
        }
        self.entries.fetch_add(1, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Removes an entry.
    pub fn remove(&self, pattern: &str, id: u64) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let tokens: Vec<&str> = pattern.split('.').collect();
        if root.remove(&tokens, id) {
            self.entries.fetch_sub(1, Ordering::Release);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether it holds nothing: one atomic read.
    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Acquire) == 0
    }

    /// Who is interested in a subject.
    pub fn resolve(&self, subject: &str) -> Route<T> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut route = Route { all: Vec::new(), groups: Vec::new() };
        root.collect(Some(subject), &mut route);
        route
    }
}

impl<T: Clone> Node<T> {
    fn remove(&mut self, tokens: &[&str], id: u64) -> bool {
        let Some((token, rest)) = tokens.split_first() else {
            return take_entry(&mut self.here, id);
        };
        match *token {
            ">" => take_entry(&mut self.tail, id),
            "*" => {
                let Some(child) = &mut self.any else { return false };
                let found = child.remove(rest, id);
                if child.is_empty() {
                    self.any = None;
                }
                found
            }
            literal => {
                let Some(child) = self.literal.get_mut(literal) else { return false };
                let found = child.remove(rest, id);
                if child.is_empty() {
                    self.literal.remove(literal);
                }
                found
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.tail.is_empty()
    }

    /// Adds what matches `rest` of a subject, `None` being its end. The recursion is as deep as the
    /// subject has tokens, whose number its length bounds; both ways of a wildcard are walked.
    fn collect(&self, rest: Option<&str>, route: &mut Route<T>) {
        let Some(rest) = rest else {
            self.here.iter().for_each(|entry| entry.add(route));
            return;
        };
        self.tail.iter().for_each(|entry| entry.add(route));
        let (token, rest) = match rest.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = self.literal.get(token) {
            child.collect(rest, route);
        }
        if let Some(child) = &self.any {
            child.collect(rest, route);
        }
    }
}

impl<T: Clone> Entry<T> {
    fn add(&self, route: &mut Route<T>) {
        let Some(queue) = &self.queue else {
            route.all.push(self.value.clone());
            return;
        };
        match route.groups.iter_mut().find(|(name, _)| name == queue) {
            Some((_, members)) => members.push(self.value.clone()),
            None => route.groups.push((queue.clone(), vec![self.value.clone()])),
        }
    }
}

fn take_entry<T>(entries: &mut Vec<Entry<T>>, id: u64) -> bool {
    let before = entries.len();
    entries.retain(|entry| entry.id != id);
    entries.len() != before
}

/// One reader's memory of routes.
#[derive(Debug)]
pub struct Reader<T> {
    table: Arc<Table<T>>,
    version: Cell<u64>,
    routes: RefCell<FxHashMap<Box<str>, Arc<Route<T>>>>,
}

impl<T: Clone> Reader<T> {
    /// A reader of a table.
    pub fn new(table: Arc<Table<T>>) -> Self {
        Self { table, version: Cell::new(0), routes: RefCell::default() }
    }

    /// The table that it reads.
    pub fn table(&self) -> &Arc<Table<T>> {
        &self.table
    }

    /// Who is interested in a subject.
    pub fn route(&self, subject: &str) -> Arc<Route<T>> {
        // The version is read before the table: a change in between is seen by the next call.
        let version = self.table.version.load(Ordering::Acquire);
        let mut routes = self.routes.borrow_mut();
        if self.version.replace(version) != version || routes.len() >= MAX_REMEMBERED {
            routes.clear();
        }
        if let Some(route) = routes.get(subject) {
            return route.clone();
        }
        let route = Arc::new(self.table.resolve(subject));
        routes.insert(subject.into(), route.clone());
        route
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::primitive::bus::subject::matches;

    proptest! {
        #[test]
        fn the_trie_finds_what_matching_one_by_one_finds(
            patterns in prop::collection::vec("(a|b|\\*)(\\.(a|b|\\*)){0,2}(\\.>)?|>", 0..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            subject in "(a|b|c)(\\.(a|b|c)){0,3}",
        ) {
            let table = Arc::new(Table::default());
            let reader = Reader::new(table.clone());
            for (id, pattern) in patterns.iter().enumerate() {
                table.insert(pattern, None, id as u64, id);
                reader.route(&subject);
            }
            for (id, pattern) in patterns.iter().enumerate().filter(|(id, _)| removed[*id]) {
                table.remove(pattern, id as u64);
            }
            let mut expected: Vec<_> = (0..patterns.len())
                .filter(|id| !removed[*id] && matches(&patterns[*id], &subject))
                .collect();
            let mut found = reader.route(&subject).all.clone();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            let left = removed.iter().take(patterns.len()).all(|removed| *removed);
            prop_assert_eq!(table.is_empty(), left);
        }
    }

    #[test]
    fn a_group_is_one_whatever_patterns_its_members_have() {
        let table = Table::default();
        table.insert("a.*", Some("g"), 1, 1);
        table.insert("a.b", Some("g"), 2, 2);
        table.insert("a.b", Some("h"), 3, 3);
        table.insert(">", None, 4, 4);
        let route = table.resolve("a.b");
        assert_eq!(route.all, [4]);
        let mut groups: Vec<_> = route.groups.iter().map(|(_, members)| members.len()).collect();
        groups.sort_unstable();
        assert_eq!(groups, [1, 2]);
    }

    #[test]
    fn an_empty_table_keeps_no_nodes() {
        let table = Table::default();
        for id in 0..100 {
            table.insert(&format!("a.{id}.>"), None, id, id);
        }
        (0..100).for_each(|id| table.remove(&format!("a.{id}.>"), id));
        assert!(table.is_empty() && table.root.read().unwrap().is_empty());
    }
}
