//! What a tree of processes has used so far, so that none of it is lost with a child and none counted
//! twice.
//!
//! The kernel keeps for each process what it used itself and, apart, what its children used that have
//! ended and that it has waited for. So the sum of both over all living processes of a tree goes on over
//! every child's end, also of one that was born and died between two looks. Two children are not in it:
//! one whose parent ignores its end, and one that its parent left behind. Those are seen to vanish
//! without their parent's account growing, and what they had used when they were last looked at is kept.
//! What they used after that look, a tenth of a second at the most, is lost.
//!
//! Whether an account grew is decided one look later: a child may be waited for while the tree is read.

use std::collections::{BTreeMap, BTreeSet};

use super::procfs::{self, Identity, Io, Stat, TICK_NS};

/// What was used, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    pub(super) read: u64,
    pub(super) written: u64,
}

impl Used {
    fn add(&mut self, other: Self) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.read += other.read;
        self.written += other.written;
    }

    const fn cpu_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }

    /// The larger of each.
    fn at_least(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns.max(other.user_ns),
            system_ns: self.system_ns.max(other.system_ns),
            read: self.read.max(other.read),
            written: self.written.max(other.written),
        }
    }
}

/// A process as it was when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) stat: Stat,
    /// By itself.
    pub(super) own: Used,
    /// Since its children ended, in its account.
    pub(super) inherited: Used,
}

impl Process {
    fn read(pid: i32, before: Option<&Self>) -> Option<(Identity, Self)> {
        let stat = procfs::stat(pid)?;
        let identity = Identity { pid, started: stat.started };
        let ticks = stat.user_ns + stat.system_ns;
        // Of one that has ended only the ticks are left; what was known more exactly stays.
        let before = before.map_or(0, |before| before.own.cpu_ns());
        let total = procfs::cpu_ns(pid).unwrap_or(ticks).max(before).max(ticks);
        let io = procfs::io(pid).unwrap_or(Io { read: 0, written: 0 });
        let system_ns = stat.system_ns.min(total);
        let own =
            Used { user_ns: total - system_ns, system_ns, read: io.read, written: io.written };
        let inherited = Used {
            user_ns: stat.children_user_ns,
            system_ns: stat.children_system_ns,
            ..Used::default()
        };
        Some((identity, Self { stat, own, inherited }))
    }

    fn used(&self) -> Used {
        let mut used = self.own;
        used.add(self.inherited);
        used
    }
}

/// A process that is no longer there.
#[derive(Clone, Copy, Debug)]
struct Vanished {
    used: Used,
    /// Who would have waited for it, and what that one's account was before.
    heir: Option<(Identity, u64)>,
}

/// A tree of processes.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Identity,
    /// Its process group, if that is the tree's own.
    group: Option<i32>,
    living: BTreeMap<Identity, Process>,
    vanished: Vec<Vanished>,
    /// Of processes that are gone and in nobody's account.
    lost: Used,
    told: Used,
}

impl Tree {
    pub(super) fn new(root: Identity, group: Option<i32>) -> Self {
        Self {
            root,
            group,
            living: BTreeMap::new(),
            vanished: Vec::new(),
            lost: Used::default(),
            told: Used::default(),
        }
    }

    /// Looks at all processes of the tree; with `all`, also for those that left their parents.
    pub(super) fn look(&mut self, all: bool) {
        let mut now = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut ahead: Vec<i32> = self.living.keys().map(|known| known.pid).collect();
        ahead.push(self.root.pid);
        if let Some(group) = self.group.filter(|_| all) {
            ahead.extend(procfs::group(group).iter().map(|member| member.pid));
        }
        while let Some(pid) = ahead.pop() {
            if !seen.insert(pid) {
                continue;
            }
            let before = self.living.iter().find(|(known, _)| known.pid == pid);
            let Some((identity, process)) = Process::read(pid, before.map(|(_, process)| process))
            else {
                continue;
            };
            // A number that was used again is someone else, and so are the children.
            let someone_else = before.is_some_and(|(known, _)| *known != identity)
                || (pid == self.root.pid && identity != self.root);
            if !someone_else {
                now.insert(identity, process);
                ahead.extend(procfs::children(pid));
            }
        }
        self.settle(now);
    }

    /// Takes the tree as it is now.
    fn settle(&mut self, now: BTreeMap<Identity, Process>) {
        for vanished in std::mem::take(&mut self.vanished) {
            self.lost.add(lost(&vanished, &now));
        }
        for (identity, process) in &self.living {
            if !now.contains_key(identity) {
                let heir = heir(&self.living, &now, process.stat.parent);
                self.vanished.push(Vanished { used: process.used(), heir });
            }
        }
        self.living = now;
        let mut used = self.lost;
        self.living.values().for_each(|process| used.add(process.used()));
        self.told = self.told.at_least(used);
    }

    /// What the tree has used so far; never less than before.
    pub(super) const fn used(&self) -> Used {
        self.told
    }

    /// Its processes that have not ended.
    pub(super) fn running(&self) -> impl Iterator<Item = (&Identity, &Process)> {
        self.living.iter().filter(|(_, process)| !process.stat.is_zombie())
    }
}

/// The nearest ancestor that is still there, and what its account was before.
fn heir(
    before: &BTreeMap<Identity, Process>,
    now: &BTreeMap<Identity, Process>,
    mut parent: i32,
) -> Option<(Identity, u64)> {
    // As many steps as there are processes: a ring is no tree.
    for _ in 0..=before.len() {
        let (identity, process) = before.iter().find(|(known, _)| known.pid == parent)?;
        if now.contains_key(identity) {
            return Some((*identity, process.inherited.cpu_ns()));
        }
        parent = process.stat.parent;
    }
    None
}

/// What of a process that is gone is in nobody's account.
fn lost(vanished: &Vanished, now: &BTreeMap<Identity, Process>) -> Used {
    let used = vanished.used;
    let Some((heir, before)) = vanished.heir else { return used };
    // An heir that has ended since has handed its account on.
    let Some(process) = now.get(&heir) else { return Used::default() };
    let gained = process.inherited.cpu_ns().saturating_sub(before);
    if gained + 2 * TICK_NS >= used.cpu_ns() {
        return Used::default();
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn process(parent: i32, own_s: u64, inherited_s: u64) -> Process {
        Process {
            stat: Stat { state: b'S', parent, ..Stat::default() },
            own: Used { user_ns: own_s * SECOND, ..Used::default() },
            inherited: Used { user_ns: inherited_s * SECOND, ..Used::default() },
        }
    }

    fn id(pid: i32) -> Identity {
        Identity { pid, started: 1 }
    }

    fn seconds(looks: &[&[(i32, Process)]]) -> Vec<u64> {
        let mut tree = Tree::new(id(1), None);
        let mut told = Vec::new();
        for look in looks {
            tree.settle(look.iter().map(|(pid, process)| (id(*pid), *process)).collect());
            told.push(tree.used().cpu_ns() / SECOND);
        }
        told
    }

    #[test]
    fn a_child_that_is_waited_for_is_counted_once() {
        let with = [(1, process(0, 1, 0)), (2, process(1, 5, 0))];
        // While the tree was read, the child went and the account had been read before.
        let between = [(1, process(0, 1, 0))];
        let after = [(1, process(0, 1, 6))];
        assert_eq!(seconds(&[&with, &between, &after, &after]), [6, 6, 7, 7]);
        assert_eq!(seconds(&[&with, &after, &after]), [6, 7, 7]);
    }

    #[test]
    fn a_child_that_nobody_waits_for_is_not_lost() {
        let with = [(1, process(0, 1, 0)), (2, process(1, 5, 2))];
        let after = [(1, process(0, 2, 0))];
        assert_eq!(seconds(&[&with, &after, &after, &after]), [8, 8, 9, 9]);
        // Nor one that was left behind: its parent is nobody of the tree.
        let orphan = [(1, process(0, 1, 0)), (2, process(77, 5, 2))];
        assert_eq!(seconds(&[&orphan, &after, &after]), [8, 8, 9]);
    }

    #[test]
    fn a_branch_that_goes_is_in_the_account_of_the_nearest_ancestor() {
        let with = [(1, process(0, 1, 0)), (2, process(1, 3, 0)), (3, process(2, 4, 0))];
        let after = [(1, process(0, 1, 7))];
        assert_eq!(seconds(&[&with, &after, &after]), [8, 8, 8]);
    }

    #[test]
    fn children_that_were_never_seen_are_counted() {
        let looks = [[(1, process(0, 1, 0))], [(1, process(0, 1, 9))]];
        assert_eq!(seconds(&[&looks[0], &looks[1]]), [1, 10]);
    }
}
