//! The sampler: a thread of its own that looks at every target ten times a second.
//!
//! Figures that only grow are told as sums since the target was first looked at, over all its starts, so
//! that a sample that nobody takes loses resolution and no count. What is dear to ask for (proportional
//! memory, descriptors, the peak, processes that left their parents) is asked for once a second.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Event, Inner,
    procfs::{self, Identity},
    tree::{Tree, Used},
};
use crate::clock::Instant;

/// How often a target is looked at.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Of so many looks one is at everything.
const THOROUGH: u32 = 10;

/// What a target was found to be, all of its processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Which target.
    pub target: usize,
    /// Whether any of its processes runs.
    pub running: bool,
    /// CPU time since it was first looked at.
    pub user_ns: u64,
    /// The same in the kernel.
    pub system_ns: u64,
    /// Bytes read from storage since then.
    pub read_bytes: u64,
    /// Bytes written to storage since then.
    pub written_bytes: u64,
    /// Resident memory; pages that are shared count for each.
    pub rss_bytes: u64,
    /// The most of it so far: of the sum when it was looked at, and of any process at any time.
    pub peak_rss_bytes: u64,
    /// Memory with shared pages divided among those who share them: of more than one process, once a
    /// second.
    pub pss_bytes: Option<u64>,
    /// Address space.
    pub vms_bytes: u64,
    /// Bytes over the network, where the target has a network namespace of its own.
    pub network_bytes: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// Open descriptors, once a second.
    pub fds: Option<u64>,
}

/// What the sampler is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// A target has a new process: look at that one from now on.
    Follow { target: usize, root: Identity, group: Option<i32> },
    /// Look at all targets now.
    Now(Option<oneshot::Sender<()>>),
    /// The target's process has ended and is about to be forgotten: look once more.
    Last { target: usize, done: oneshot::Sender<()> },
}

/// What is known of a target over all its starts.
#[derive(Debug, Default)]
struct Account {
    tree: Option<Tree>,
    /// Of processes before the one that is followed.
    before: Used,
    peak: u64,
    looks: u32,
}

/// Samples until nobody can ask any more.
pub(super) fn run(inner: &Arc<Inner>, asks: &Receiver<Ask>) {
    let clock = inner.clock;
    let mut accounts: Vec<Account> = inner.plans.iter().map(|_| Account::default()).collect();
    let mut next = clock.now() + INTERVAL;
    loop {
        match asks.recv_timeout(next.since(clock.now())) {
            Ok(Ask::Follow { target, root, group }) => {
                if let Some(account) = accounts.get_mut(target) {
                    account.follow(Tree::new(root, group));
                    account.look(inner, target, true);
                }
            }
            Ok(Ask::Last { target, done }) => {
                if let Some(account) = accounts.get_mut(target) {
                    account.look(inner, target, true);
                    // Once more: who inherits is decided one look later.
                    account.look(inner, target, false);
                    account.end(inner, target);
                }
                let _ = done.send(());
            }
            Ok(Ask::Now(done)) => {
                for (target, account) in accounts.iter_mut().enumerate() {
                    account.look(inner, target, true);
                }
                let _ = done.map(|done| done.send(()));
            }
            Err(RecvTimeoutError::Timeout) => {
                for (target, account) in accounts.iter_mut().enumerate() {
                    let thorough = account.looks % THOROUGH == 0;
                    account.looks = account.looks.wrapping_add(1);
                    account.look(inner, target, thorough);
                }
                next = next + INTERVAL;
                if next < clock.now() {
                    next = clock.now() + INTERVAL;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Account {
    fn follow(&mut self, tree: Tree) {
        self.forget();
        self.tree = Some(tree);
    }

    fn forget(&mut self) {
        if let Some(tree) = self.tree.take() {
            let used = tree.used();
            self.before = sum(self.before, used);
        }
    }

    fn look(&mut self, inner: &Inner, target: usize, thorough: bool) {
        let Some(tree) = &mut self.tree else { return };
        let at = inner.clock.now();
        tree.look(thorough);
        let (pss, fds) = if thorough { dear(tree) } else { (None, None) };
        let mut sample = self.sample(target);
        sample.pss_bytes = pss;
        sample.fds = fds;
        publish(inner, at, sample);
    }

    /// The target does not run any more.
    fn end(&mut self, inner: &Inner, target: usize) {
        self.forget();
        let ended = Sample { running: false, ..self.sample(target) };
        publish(inner, inner.clock.now(), ended);
    }

    fn sample(&mut self, target: usize) -> Sample {
        let used = self.tree.as_ref().map_or(self.before, |tree| sum(self.before, tree.used()));
        let mut sample = Sample {
            target,
            user_ns: used.user_ns,
            system_ns: used.system_ns,
            read_bytes: used.read,
            written_bytes: used.written,
            ..Sample::default()
        };
        if let Some(tree) = &self.tree {
            for (identity, process) in tree.running() {
                sample.running = true;
                sample.rss_bytes += process.stat.resident_bytes;
                sample.vms_bytes += process.stat.virtual_bytes;
                sample.threads += process.stat.threads;
                let peak = procfs::peak_resident_bytes(identity.pid).unwrap_or(0);
                self.peak = self.peak.max(peak);
            }
            sample.network_bytes = procfs::network_bytes(tree.root.pid);
        }
        self.peak = self.peak.max(sample.rss_bytes);
        sample.peak_rss_bytes = self.peak;
        sample
    }
}

/// Proportional memory of more than one process, and descriptors.
fn dear(tree: &Tree) -> (Option<u64>, Option<u64>) {
    let pids: Vec<i32> = tree.running().map(|(identity, _)| identity.pid).collect();
    let all = |of: fn(i32) -> Option<u64>| {
        let values: Vec<u64> = pids.iter().filter_map(|pid| of(*pid)).collect();
        // One that cannot be read leaves the sum open; one that has just gone is nothing.
        (!values.is_empty()).then(|| values.iter().sum())
    };
    let pss = if pids.len() > 1 { all(procfs::proportional_bytes) } else { None };
    (pss, all(procfs::descriptors))
}

fn sum(a: Used, b: Used) -> Used {
    Used {
        user_ns: a.user_ns + b.user_ns,
        system_ns: a.system_ns + b.system_ns,
        read: a.read + b.read,
        written: a.written + b.written,
    }
}

fn publish(inner: &Inner, at: Instant, sample: Sample) {
    inner.publish(at, Event::Sample(sample));
}
