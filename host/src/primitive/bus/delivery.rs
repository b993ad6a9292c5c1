//! Delivery between publishers and subscribers of one run, measured by the host (DESIGN §4).
//!
//! Only for subjects that a VU of this run subscribes to, and free of cost where none does. The host
//! numbers each such message per sender (a connection) and keeps when it was sent; on NATS the number
//! travels in the header `Wavetank-Seq: run,sender,sequence`, which is taken out on receipt, on the
//! embedded bus it travels beside the message.
//!
//! What is counted, exactly:
//! - **duration**: from just before the message was handed to the connection until it was in the
//!   subscription's queue in this process; where the VU was waiting for it in `next` already, until
//!   `next` had it. A message that waits because its VU is busy is not billed to the bus.
//! - **duplicated**: the same number again on the same subscription, within the last 1 024 numbers of
//!   that sender; an older one counts as reordered.
//! - **reordered**: a number below one that this subscription already had of that sender.
//! - **lost**: numbered while the subscription was live (from the return of `subscribe` until
//!   `unsubscribe`), handed to the bus without a failure, and not received until the subscription's
//!   end plus [`SETTLE`]; what the subscription's own full queue dropped is not lost, it is counted
//!   as a slow consumer's drop. Members of a queue group have durations, duplicates and
//!   reorderings but no losses, since a member outside of this run may have had the message.
//! - Each lost message is also a censored sample of the duration, and so is one that comes when its
//!   sender has sent 16 384 later ones and its own time is not remembered.
//!
//! A loss belongs to its sender: it bears the sender's tags and stands at the intended start of the
//! sender's iteration, as the duration would have. So a subscription made in `init` shows the losses of
//! the load, and a window the losses of what was sent in it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;

use crate::{
    clock::{Clock, Instant},
    metric::{Builtin, Recorder, TagSet},
};

/// How long after its end a subscription still waits for what was sent to it.
pub const SETTLE: Duration = Duration::from_secs(1);

/// Sent messages whose send times are kept, of one sender and of all together (60 MB).
const MAX_REMEMBERED: usize = 16_384;
const MAX_REMEMBERED_OF_ALL: usize = 1 << 20;

/// Iterations whose messages one subscription may wait for and tell apart, and all of them together
/// (100 MB).
const MAX_OPEN: usize = 65_536;
const MAX_OPEN_OF_ALL: usize = 1 << 20;

/// Numbers of one sender, back from the highest, in which a subscription can tell a duplicate.
const WINDOW: u64 = 1_024;

/// When, and as part of what, a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Right before it was handed to the connection.
    pub at: Instant,
    /// The intended start of the sender's iteration.
    pub origin: Instant,
    /// The sender's tags, `op` among them.
    pub tags: TagSet,
}

/// What is known of when a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Then.
    At(Sent),
    /// Before that: so many messages ago that only later ones are remembered.
    Before(Sent),
}

/// What is known of a received message of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it was sent.
    pub departure: Departure,
    /// It had come before.
    pub duplicate: bool,
    /// A later one had come before.
    pub reordered: bool,
}

/// A message's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sender.
    pub sender: u32,
    /// Its count of numbered messages.
    pub sequence: u64,
}

/// A subscription of a VU, as the senders of the run see it.
#[derive(Debug)]
pub struct Tracked {
    clock: Clock,
    /// A member of a queue group: losses cannot be told.
    group: bool,
    /// How many entries `open` may have; set when the subscription is live.
    room: OnceLock<Arc<AtomicUsize>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By sender.
    seen: FxHashMap<u32, Seen>,
    open: Open,
    expected: u64,
    distinct: u64,
}

/// What a loss is booked under: the sender's intended start and tags.
type Book = (Instant, TagSet);

/// Messages that were sent and have not come.
#[derive(Debug, Default)]
struct Open {
    messages: BTreeMap<Book, Missing>,
    count: u64,
    /// Some were added to a neighbour for want of room: what a message is booked under may be another.
    folded: bool,
}

/// Messages of one iteration that have not come.
#[derive(Clone, Copy, Debug)]
struct Missing {
    count: u64,
    /// When the last of them was sent: the others have waited longer.
    latest: Instant,
}

impl Open {
    /// Adds a message.
    fn add(&mut self, book: Book, at: Instant, room: usize) {
        let place = place(&self.messages, book, room);
        self.folded |= place != book;
        self.count += 1;
        let mine = self.messages.entry(place).or_insert(Missing { count: 0, latest: at });
        mine.count += 1;
        mine.latest = mine.latest.max(at);
    }

    /// Takes one message out again. One that was never promised takes nothing, or it would hide the
    /// loss of another.
    fn take(&mut self, book: Book) {
        if self.folded {
            self.take_at(place(&self.messages, book, 0));
        } else {
            self.take_at(book);
        }
    }

    /// Takes out a message of which is known only that it is among the oldest.
    fn take_oldest(&mut self) {
        if let Some((oldest, _)) = self.messages.first_key_value() {
            self.take_at(*oldest);
        }
    }

    fn take_at(&mut self, place: Book) {
        let Some(missing) = self.messages.get_mut(&place) else { return };
        missing.count -= 1;
        self.count -= 1;
        if missing.count == 0 {
            self.messages.remove(&place);
        }
    }
}

/// Where something is kept under `book`: there, or where there is no room for another place at the
/// nearest one before it, else after it.
fn place<T>(places: &BTreeMap<Book, T>, book: Book, room: usize) -> Book {
    if places.contains_key(&book) || places.len() < room {
        return book;
    }
    let before = places.range(..book).next_back();
    before.or_else(|| places.range(book..).next()).map_or(book, |(nearest, _)| *nearest)
}

/// The numbers of one sender that a subscription has had.
#[derive(Clone, Copy, Debug)]
struct Seen {
    highest: u64,
    window: [u64; (WINDOW / 64) as usize],
}

impl Seen {
    /// Notes a number: (duplicate, reordered).
    fn note(&mut self, sequence: u64) -> (bool, bool) {
        if sequence > self.highest {
            let from = (self.highest + 1).max(sequence.saturating_sub(WINDOW - 1));
            (from..=sequence).for_each(|skipped| self.set(skipped, false));
            self.highest = sequence;
            self.set(sequence, true);
            return (false, false);
        }
        if self.highest - sequence >= WINDOW {
            return (false, true);
        }
        let bit = sequence % WINDOW;
        if self.window[(bit / 64) as usize] >> (bit % 64) & 1 == 1 {
            return (true, false);
        }
        self.set(sequence, true);
        (false, true)
    }

    fn set(&mut self, sequence: u64, on: bool) {
        let bit = sequence % WINDOW;
        let mask = 1 << (bit % 64);
        let word = &mut self.window[(bit / 64) as usize];
        *word = if on { *word | mask } else { *word & !mask };
    }
}

impl Tracked {
    /// A subscription from now on.
    pub fn new(clock: Clock, group: bool) -> Arc<Self> {
        Arc::new(Self { clock, group, room: OnceLock::new(), state: Mutex::default() })
    }

    /// A message was sent that it should receive.
    pub fn expect(&self, sent: &Sent) {
        let room = self.room.get().map_or(MAX_OPEN, |room| room.load(Ordering::Relaxed));
        let mut state = lock(&self.state);
        state.expected += 1;
        state.open.add((sent.origin, sent.tags), sent.at, room);
    }

    /// The bus refused a message that it should have received.
    pub fn expect_no_more(&self, sent: &Sent) {
        let mut state = lock(&self.state);
        state.expected -= 1;
        state.open.take((sent.origin, sent.tags));
    }

    /// A numbered message came.
    pub fn arrive(&self, stamp: Stamp, departure: Departure) -> Arrival {
        let mut state = lock(&self.state);
        let arrival = state.note(stamp, departure);
        if !arrival.duplicate {
            match departure {
                Departure::At(sent) => state.open.take((sent.origin, sent.tags)),
                Departure::Before(_) => state.open.take_oldest(),
            }
        }
        arrival
    }

    /// A numbered message was sent and has come in one step, so that it is never waited for.
    pub fn deliver(&self, stamp: Stamp, sent: Sent) -> Arrival {
        let mut state = lock(&self.state);
        state.expected += 1;
        state.note(stamp, Departure::At(sent))
    }

    /// Messages that it should have received and has not.
    pub fn outstanding(&self) -> u64 {
        if self.group { 0 } else { lock(&self.state).open.count }
    }
}

impl State {
    fn note(&mut self, stamp: Stamp, departure: Departure) -> Arrival {
        let of_sender = self
            .seen
            .entry(stamp.sender)
            .or_insert(Seen { highest: 0, window: [0; (WINDOW / 64) as usize] });
        let (duplicate, reordered) = of_sender.note(stamp.sequence);
        self.distinct += u64::from(!duplicate);
        Arrival { departure, duplicate, reordered }
    }
}

/// What only the end of a run can tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryReport {
    /// Lost messages (`bus_lost`).
    pub lost: Vec<Lost>,
    /// Numbered messages in all, per delivery that should have been.
    pub expected: u64,
    /// Those that came, each once.
    pub received: u64,
}

/// Messages of one iteration that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The intended start of the sender's iteration.
    pub origin: Instant,
    /// The sender's tags.
    pub tags: TagSet,
    /// How many.
    pub count: u64,
    /// How long each was waited for, at the least.
    pub waited: Duration,
}

impl DeliveryReport {
    /// Records the losses: `bus_lost`, and a censored sample of the duration for each.
    pub fn record(&self, recorder: &Recorder) {
        for Lost { origin, tags, count, waited } in &self.lost {
            recorder.add(Builtin::BusLost.id(), *tags, *origin, *count as f64);
            let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
            for _ in 0..*count {
                recorder.censored(Builtin::BusDeliveryDuration.id(), *tags, *origin, waited);
            }
        }
    }
}

/// What the connections of a run know together.
#[derive(Debug, Default)]
pub struct Ledger {
    senders: Mutex<FxHashMap<u32, Arc<Sender>>>,
    /// How many send times each sender may keep.
    share: Arc<AtomicUsize>,
    live: Mutex<FxHashMap<u64, Arc<Tracked>>>,
    /// How many iterations each subscription may wait for.
    room: Arc<AtomicUsize>,
    ended: Mutex<Ended>,
}

#[derive(Debug, Default)]
struct Ended {
    /// Counts, and the shortest wait of each.
    lost: BTreeMap<Book, (u64, Duration)>,
    expected: u64,
    received: u64,
}

impl Ended {
    fn add(&mut self, tracked: &Tracked) {
        if tracked.group {
            return;
        }
        let state = lock(&tracked.state);
        self.expected += state.expected;
        self.received += state.distinct;
        for (book, missing) in &state.open.messages {
            let waited = tracked.clock.now().since(missing.latest);
            let place = place(&self.lost, *book, MAX_OPEN_OF_ALL);
            let (count, least) = self.lost.entry(place).or_insert((0, waited));
            *count += missing.count;
            *least = waited.min(*least);
        }
    }
}

/// The send times of one connection.
#[derive(Debug)]
pub struct Sender {
    times: Mutex<Times>,
    share: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Times {
    /// Number of the first one kept.
    first: u64,
    kept: VecDeque<(u64, Sent)>,
}

impl Sender {
    /// Gives a message its number and keeps when it was sent.
    pub fn number(&self, subject: &str, sent: Sent) -> u64 {
        let mut times = lock(&self.times);
        while times.kept.len() >= self.share.load(Ordering::Relaxed) {
            times.kept.pop_front();
            times.first += 1;
        }
        times.kept.push_back((fingerprint(subject), sent));
        // Numbers begin at 1, so that 0 is below every number.
        times.first + times.kept.len() as u64
    }

    /// When a message was sent; none if this number was never given to that subject (a header that a
    /// service copied into another message).
    fn find(&self, subject: &str, sequence: u64) -> Option<Departure> {
        let times = lock(&self.times);
        let Some(index) = sequence.checked_sub(times.first + 1) else {
            let (_, oldest) = times.kept.front()?;
            return (sequence > 0).then_some(Departure::Before(*oldest));
        };
        let (print, sent) = times.kept.get(index as usize)?;
        (*print == fingerprint(subject)).then_some(Departure::At(*sent))
    }
}

impl Ledger {
    /// The sender of a number (a connection's).
    pub fn sender(&self, number: u32) -> Arc<Sender> {
        let mut senders = lock(&self.senders);
        let sender = senders
            .entry(number)
            .or_insert_with(|| {
                Arc::new(Sender { times: Mutex::default(), share: self.share.clone() })
            })
            .clone();
        let share = (MAX_REMEMBERED_OF_ALL / senders.len()).clamp(16, MAX_REMEMBERED);
        self.share.store(share, Ordering::Relaxed);
        sender
    }

    /// When a message was sent, by its header; none if the header is not about this message.
    pub fn find(&self, subject: &str, stamp: Stamp) -> Option<Departure> {
        let sender = lock(&self.senders).get(&stamp.sender).cloned();
        sender?.find(subject, stamp.sequence)
    }

    /// A subscription is live.
    pub fn begin(&self, id: u64, tracked: Arc<Tracked>) {
        // Only a subscription that is begun twice has its room already, and it is the same.
        let _ = tracked.room.set(self.room.clone());
        let mut live = lock(&self.live);
        live.insert(id, tracked);
        self.room.store((MAX_OPEN_OF_ALL / live.len()).clamp(16, MAX_OPEN), Ordering::Relaxed);
    }

    /// A subscription has ended, and has had its time to settle.
    pub fn end(&self, id: u64) {
        let ended = lock(&self.live).remove(&id);
        if let Some(tracked) = ended {
            lock(&self.ended).add(&tracked);
        }
    }

    /// Messages that some subscription still waits for.
    pub fn outstanding(&self) -> u64 {
        lock(&self.live).values().map(|tracked| tracked.outstanding()).sum()
    }

    /// The account, what is live now taken as ended.
    pub fn report(&self) -> DeliveryReport {
        for (_, tracked) in lock(&self.live).drain() {
            lock(&self.ended).add(&tracked);
        }
        let ended = lock(&self.ended);
        let lost = ended.lost.iter().map(|((origin, tags), (count, waited))| Lost {
            origin: *origin,
            tags: *tags,
            count: *count,
            waited: *waited,
        });
        DeliveryReport { lost: lost.collect(), expected: ended.expected, received: ended.received }
    }
}

fn fingerprint(subject: &str) -> u64 {
    use std::hash::BuildHasher;
    rustc_hash::FxBuildHasher.hash_one(subject)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent {
        at: Instant::from_nanos(1),
        origin: Instant::ZERO,
        tags: TagSet {
            phase: crate::metric::Phase::Main,
            outcome: crate::metric::Outcome::None,
            workload: crate::metric::Name::NONE,
            row: crate::metric::Name::NONE,
            scenario: crate::metric::Name::NONE,
            stage: crate::metric::Name::NONE,
            level: crate::metric::Name::NONE,
            group: crate::metric::Name::NONE,
            op: crate::metric::Name::NONE,
            check: crate::metric::Name::NONE,
            target: crate::metric::Name::NONE,
            error: crate::metric::Name::NONE,
            extra: crate::metric::Name::NONE,
        },
    };

    fn arrive(tracked: &Tracked, sequence: u64) -> (bool, bool) {
        let arrival = tracked.arrive(Stamp { sender: 1, sequence }, Departure::At(SENT));
        (arrival.duplicate, arrival.reordered)
    }

    #[test]
    fn duplicates_and_reorderings_are_told_apart() {
        let tracked = Tracked::new(Clock::real(), false);
        (0..8).for_each(|_| tracked.expect(&SENT));
        assert_eq!(arrive(&tracked, 1), (false, false));
        assert_eq!(arrive(&tracked, 3), (false, false));
        assert_eq!(arrive(&tracked, 2), (false, true));
        assert_eq!(arrive(&tracked, 2), (true, false));
        assert_eq!(arrive(&tracked, 3), (true, false));
        assert_eq!(arrive(&tracked, 5_000), (false, false));
        assert_eq!(arrive(&tracked, 4_999), (false, true));
        assert_eq!(arrive(&tracked, 5_000 - 1_024), (false, true));
        assert_eq!(arrive(&tracked, 5_000 - 1_023), (false, true));
        assert_eq!(tracked.outstanding(), 8 - 7);
    }

    #[test]
    fn a_copied_header_is_not_taken_for_the_message() {
        let ledger = Ledger::default();
        let sequence = ledger.sender(7).number("in.x", SENT);
        let found = ledger.find("in.x", Stamp { sender: 7, sequence });
        assert_eq!(found, Some(Departure::At(SENT)));
        for (subject, sender, sequence) in
            [("out.x", 7, sequence), ("in.x", 8, sequence), ("in.x", 7, 99), ("in.x", 7, 0)]
        {
            assert_eq!(ledger.find(subject, Stamp { sender, sequence }), None);
        }
    }

    #[test]
    fn send_times_are_bounded_and_old_ones_are_only_forgotten() {
        let ledger = Ledger::default();
        let sender = ledger.sender(1);
        for _ in 0..MAX_REMEMBERED + 10 {
            sender.number("a", SENT);
        }
        let find = |sequence| ledger.find("a", Stamp { sender: 1, sequence });
        assert_eq!(find(10), Some(Departure::Before(SENT)));
        assert_eq!(find(11), Some(Departure::At(SENT)));
        assert_eq!(lock(&sender.times).kept.len(), MAX_REMEMBERED);
        // Thousands of senders keep no more together than the bound, each a little.
        (2..=10_000).for_each(|number| drop(ledger.sender(number)));
        sender.number("a", SENT);
        assert_eq!(lock(&sender.times).kept.len(), MAX_REMEMBERED_OF_ALL / 10_000);
    }

    fn sent(iteration: u64) -> Sent {
        Sent { origin: Instant::from_nanos(iteration), ..SENT }
    }

    #[test]
    fn losses_are_what_was_expected_and_did_not_come_and_belong_to_the_sender() {
        let ledger = Ledger::default();
        let tracked = Tracked::new(Clock::real(), false);
        let group = Tracked::new(Clock::real(), true);
        ledger.begin(1, tracked.clone());
        ledger.begin(2, group.clone());
        for sequence in 1..=10 {
            let sent = sent(sequence);
            tracked.expect(&sent);
            group.expect(&sent);
            if sequence % 5 != 0 {
                tracked.arrive(Stamp { sender: 1, sequence }, Departure::At(sent));
            }
        }
        // One that was never promised to it hides no loss, nor does one that the bus refused make one.
        tracked.arrive(Stamp { sender: 2, sequence: 1 }, Departure::At(sent(99)));
        tracked.expect(&sent(11));
        tracked.expect_no_more(&sent(11));
        assert_eq!(ledger.outstanding(), 2);
        let report = ledger.report();
        let lost: Vec<_> = report
            .lost
            .iter()
            .map(|lost| (lost.origin.as_nanos(), lost.tags, lost.count))
            .collect();
        assert_eq!(lost, [(5, SENT.tags, 1), (10, SENT.tags, 1)]);
        assert_eq!((report.expected, report.received), (10, 9));
        assert!(report.lost.iter().all(|lost| !lost.waited.is_zero()), "{report:?}");
    }

    #[test]
    fn what_is_waited_for_is_bounded_and_no_loss_is_forgotten() {
        let ledger = Ledger::default();
        let tracked = Tracked::new(Clock::real(), false);
        ledger.begin(1, tracked.clone());
        let sent_in_all = MAX_OPEN as u64 + 500;
        (1..=sent_in_all).for_each(|number| tracked.expect(&sent(number)));
        assert_eq!(lock(&tracked.state).open.messages.len(), MAX_OPEN);
        (1..=sent_in_all).filter(|number| number % 100 != 0).for_each(|sequence| {
            tracked.arrive(Stamp { sender: 1, sequence }, Departure::At(sent(sequence)));
        });
        let lost: u64 = ledger.report().lost.iter().map(|lost| lost.count).sum();
        assert_eq!(lost, sent_in_all / 100);
    }
}
