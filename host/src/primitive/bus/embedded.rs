//! The embedded bus: NATS subject semantics inside the process, without a server.
//!
//! One router for all threads, one connection per shard. A publication resolves its subject (from
//! memory, [`super::table`]), pushes the message into the queue of each subscription, and wakes whoever
//! waits there. A waiter on the publisher's own thread is woken directly; one on another thread
//! through that connection's [`Bell`], which wakes the thread once for all that has come meanwhile,
//! because waking a parked thread is a system call.
//!
//! Replies to requests do not pass the table: their subject names the connection and the slot.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread::ThreadId,
};

use futures_util::task::AtomicWaker;
use rustc_hash::FxHashMap;

use super::{
    Message,
    connection::Sending,
    delivery::{Sent, Stamp, Tracked},
    inbox::{Inbox, Put, Received},
    replies::{Replies, Reply, Ticket},
    subject::{contains, header_bytes},
    table::{Reader, Table},
};
use crate::{clock::Instant, primitive::Failure};

/// What the subjects of replies begin with; the connection's number and the slot follow.
const REPLY_PREFIX: &str = "_INBOX.w";

/// Payload and headers of a message at the most, as nats-server has it by default.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The bus itself; shared by all threads.
#[derive(Debug, Default)]
pub struct Router {
    table: Arc<Table<Arc<Subscriber>>>,
    posts: RwLock<FxHashMap<u32, Weak<Post>>>,
    next: AtomicU64,
    /// Subscriptions that would see replies, such as `>`.
    watchers: AtomicUsize,
}

/// What other threads reach of a connection.
#[derive(Debug)]
struct Post {
    replies: Arc<Replies>,
    bell: Arc<Bell>,
    home: ThreadId,
}

/// A subscription, as publishers see it.
#[derive(Debug)]
struct Subscriber {
    inbox: Arc<Inbox>,
    post: Arc<Post>,
    tracked: Option<Arc<Tracked>>,
}

/// A connection to the router; stays on its thread.
#[derive(Debug)]
pub struct Embedded {
    router: Arc<Router>,
    post: Arc<Post>,
    number: u32,
    /// What the subjects of this connection's replies begin with.
    inbox: String,
    reader: Reader<Arc<Subscriber>>,
    peers: RefCell<FxHashMap<u32, Weak<Post>>>,
    /// Numbers of the messages whose delivery is measured.
    sequence: Cell<u64>,
    /// Which member of a queue group is next: a xorshift generator, whose quality suffices here.
    random: Cell<u64>,
}

/// A live subscription; ends when it is dropped.
#[derive(Debug)]
pub struct Interest {
    router: Arc<Router>,
    pattern: String,
    id: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.router.table.remove(&self.pattern, self.id);
        if watches(&self.pattern) {
            self.router.watchers.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Whether a pattern may match the subject of a reply.
fn watches(pattern: &str) -> bool {
    contains(pattern, "_INBOX.w.x") || pattern.starts_with("_INBOX") || pattern.starts_with('*')
}

impl Embedded {
    /// A connection of the calling thread, on its runtime.
    pub fn connect(router: &Arc<Router>, number: u32) -> Self {
        let bell = Arc::new(Bell::default());
        tokio::spawn(Bell::answer(bell.clone()));
        let post =
            Arc::new(Post { replies: Arc::default(), bell, home: std::thread::current().id() });
        let mut posts = router.posts.write().unwrap_or_else(PoisonError::into_inner);
        posts.insert(number, Arc::downgrade(&post));
        drop(posts);
        Self {
            router: router.clone(),
            post,
            number,
            inbox: format!("{REPLY_PREFIX}{number}"),
            reader: Reader::new(router.table.clone()),
            peers: RefCell::default(),
            sequence: Cell::new(0),
            random: Cell::new(0x9e37_79b9_7f4a_7c15 ^ u64::from(number) << 32),
        }
    }

    /// Subscribes.
    pub fn subscribe(
        &self,
        pattern: &str,
        queue: Option<&str>,
        inbox: Arc<Inbox>,
        tracked: Option<Arc<Tracked>>,
    ) -> Interest {
        let id = self.router.next.fetch_add(1, Ordering::Relaxed);
        if watches(pattern) {
            self.router.watchers.fetch_add(1, Ordering::Release);
        }
        let subscriber = Subscriber { inbox, post: self.post.clone(), tracked };
        self.router.table.insert(pattern, queue, id, Arc::new(subscriber));
        Interest { router: self.router.clone(), pattern: pattern.to_owned(), id }
    }

    /// Publishes; tells whether anybody was interested.
    pub fn publish(
        &self,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<bool, Failure> {
        let bytes = message.payload.len() + header_bytes(&message.headers);
        if bytes > MAX_PAYLOAD {
            return Err(Failure::new(
                "payload_too_large",
                format!("{bytes} bytes are more than the embedded bus takes ({MAX_PAYLOAD})"),
            ));
        }
        if let Some((number, token)) = reply_subject(&message.subject) {
            let token = token.to_owned();
            return Ok(self.reply(number, &token, message));
        }
        let route = self.reader.route(&message.subject);
        if !route.is_empty() {
            self.deliver(&route, message, sending);
            return Ok(true);
        }
        if let Some(reply_to) = message.reply_to {
            self.tell_no_responders(&reply_to);
        }
        Ok(false)
    }

    /// Sends a request; the ticket is the future of its reply.
    pub fn request(
        &self,
        mut message: Message,
        sending: Option<&Sending<'_>>,
    ) -> Result<Ticket, Failure> {
        let ticket = self.post.replies.open();
        message.reply_to = Some(ticket.reply_to(&self.inbox));
        self.publish(message, sending)?;
        Ok(ticket)
    }

    fn deliver(
        &self,
        route: &super::table::Route<Arc<Subscriber>>,
        message: Message,
        sending: Option<&Sending<'_>>,
    ) {
        // Without groups, the usual case, this allocates nothing.
        let chosen: Vec<_> = route.groups.iter().map(|(_, members)| self.choose(members)).collect();
        let targets = route.all.iter().chain(chosen);
        let count = route.all.len() + route.groups.len();
        let stamped = sending
            .filter(|_| targets.clone().any(|target| target.tracked.is_some()))
            .map(|sending| (self.stamp(), sending.sent(), sending.clock.now()));
        let mut message = Some(message);
        for (index, target) in targets.enumerate() {
            let copy = if index + 1 == count { message.take() } else { message.clone() };
            if let Some(copy) = copy {
                self.put(target, copy, stamped);
            }
        }
    }

    fn put(&self, target: &Subscriber, message: Message, stamped: Option<(Stamp, Sent, Instant)>) {
        let mut received = Received::plain(message);
        if let (Some(tracked), Some((stamp, sent, now))) = (&target.tracked, stamped) {
            received.at = Some(now);
            received.arrival = Some(tracked.deliver(stamp, sent));
        }
        match target.inbox.put(received) {
            Put::Kept(Some(waker)) => self.wake(&target.post, waker),
            Put::Kept(None) | Put::Dropped => {}
        }
    }

    fn stamp(&self) -> Stamp {
        self.sequence.set(self.sequence.get() + 1);
        Stamp { sender: self.number, sequence: self.sequence.get() }
    }

    fn choose<'a>(&self, members: &'a [Arc<Subscriber>]) -> &'a Arc<Subscriber> {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        // A group in a route has at least one member.
        &members[(state % members.len() as u64) as usize]
    }

    /// Delivers a reply to the request that it belongs to, and to those who watch inboxes.
    fn reply(&self, number: u32, token: &str, message: Message) -> bool {
        if self.router.watchers.load(Ordering::Acquire) > 0 {
            let route = self.router.table.resolve(&message.subject);
            if !route.is_empty() {
                self.deliver(&route, message.clone(), None);
            }
        }
        let Some(post) = self.peer(number) else { return false };
        if let Some(waker) = post.replies.deliver(token, Reply::Message(message)) {
            self.wake(&post, waker);
        }
        true
    }

    /// As nats-server does, tells only the connection that published, and only where it would hear.
    fn tell_no_responders(&self, reply_to: &str) {
        if let Some((number, token)) = reply_subject(reply_to) {
            if number == self.number
                && let Some(waker) = self.post.replies.deliver(token, Reply::NoResponders)
            {
                waker.wake();
            }
            return;
        }
        for target in &self.reader.route(reply_to).all {
            if Arc::ptr_eq(&target.post, &self.post) {
                let message = Message {
                    subject: reply_to.to_owned(),
                    headers: vec![("Status".to_owned(), "503".to_owned())],
                    ..Message::default()
                };
                self.put(target, message, None);
            }
        }
    }

    fn peer(&self, number: u32) -> Option<Arc<Post>> {
        if number == self.number {
            return Some(self.post.clone());
        }
        if let Some(peer) = self.peers.borrow().get(&number).and_then(Weak::upgrade) {
            return Some(peer);
        }
        let posts = self.router.posts.read().unwrap_or_else(PoisonError::into_inner);
        let peer = posts.get(&number)?.upgrade()?;
        self.peers.borrow_mut().insert(number, Arc::downgrade(&peer));
        Some(peer)
    }

    fn wake(&self, post: &Post, waker: Waker) {
        if post.home == self.post.home { waker.wake() } else { post.bell.ring(waker) }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let mut posts = self.router.posts.write().unwrap_or_else(PoisonError::into_inner);
        posts.remove(&self.number);
        drop(posts);
        self.post.bell.close();
    }
}

/// The connection and the slot of a reply's subject.
fn reply_subject(subject: &str) -> Option<(u32, &str)> {
    let (number, token) = subject.strip_prefix(REPLY_PREFIX)?.split_once('.')?;
    Some((number.parse().ok()?, token))
}

/// Wakes tasks of one thread on behalf of others: the thread once, for all that came meanwhile.
#[derive(Debug, Default)]
struct Bell {
    wakers: Mutex<Vec<Waker>>,
    rung: AtomicBool,
    closed: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    fn ring(&self, waker: Waker) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.task.wake();
    }

    /// The task that answers on the connection's thread.
    async fn answer(bell: Arc<Self>) {
        let mut batch = Vec::new();
        poll_fn(|context| {
            bell.task.register(context.waker());
            bell.rung.store(false, Ordering::Release);
            std::mem::swap(
                &mut batch,
                &mut *bell.wakers.lock().unwrap_or_else(PoisonError::into_inner),
            );
            batch.drain(..).for_each(Waker::wake);
            if bell.closed.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
