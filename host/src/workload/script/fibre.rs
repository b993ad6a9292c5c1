//! Stackful fibres: a script's blocking call suspends, and the shard goes on.
//!
//! Why: Rhai evaluates synchronously, so a call that has to wait needs a stack of its own to wait on.
//! A thread per virtual user reached 0.24–0.55 of a bare client's throughput, a fibre 0.83–0.90.
//!
//! How: a future is pinned on the fibre's own stack, [`Switch::block_on`] yields a pointer to it;
//! [`Fibre::poll`] polls it through that pointer on the shard's native stack, with the shard's real
//! context, and resumes the fibre when it is ready. Polling there keeps deep futures off the small
//! stack.
//!
//! This is the only file of the room with unsafe code. Its invariants:
//!
//! 1. A fibre is created, resumed and dropped on one thread: neither `Fibre` nor `Switch` is `Send`.
//! 2. The yielded pointer is used only while the fibre is suspended inside `block_on`, whose frame
//!    owns the future. Resuming, for whatever reason, forgets the pointer first.
//! 3. Nothing suspends except through [`Switch::suspend`], and that refuses to do so unless the stack
//!    pointer lies within this fibre's own stack.
//! 4. A fibre that is dropped while suspended is resumed once with `Cancel`. From then on `suspend`
//!    refuses, so its frames can only return; their values are dropped in the usual order. Should a
//!    fibre suspend all the same, its stack is leaked, never unwound by force.
//! 5. A stack returns to the pool only after its fibre has returned from its first frame.
//!
//! It refuses to let a script reach the guard page. [`Switch::is_shallow`] is asked before each
//! operation and turns a recursion of the script into an error at 1 MiB. What Rhai does natively it
//! does without asking: dropping, copying or measuring an array within an array within an array …
//! recurses as deep as the value. So below that megabyte lies spare address space, never touched by
//! an honest script and therefore never resident, deep enough for what a script can nest within its
//! CPU timeout.

#![expect(unsafe_code, reason = "a future on a fibre's stack is polled from another stack")]

use std::{
    cell::{Cell, RefCell},
    io,
    pin::{Pin, pin},
    ptr::NonNull,
    rc::Rc,
    task::{Context, Poll},
};

use corosensei::{
    Coroutine, CoroutineResult, Yielder,
    stack::{Stack, StackPointer},
};
use rustix::mm;

/// How much of its stack a script may use.
const SCRIPT_BYTES: usize = 1 << 20;

/// Address space of a stack, the largest that this machine grants; what is not touched is not
/// resident.
const STACK_BYTES: [usize; 4] = [4 << 30, 256 << 20, 16 << 20, 2 << 20];

/// At least a page, on any machine.
const GUARD_BYTES: usize = 64 << 10;

/// The unit in which memory is given back; where pages are larger, the kernel refuses.
#[cfg(target_os = "linux")]
const PAGE: usize = 4 << 10;

/// Below its stack pointer a function may keep this much (x86-64: 128 bytes), and a little more.
#[cfg(target_os = "linux")]
const RED_ZONE: usize = 512;

/// Stacks kept for the next fibre; more than that are unmapped.
const POOLED: usize = 1_024;

/// Why a fibre goes on.
enum Signal {
    Go,
    Cancel,
}

/// Why a fibre stopped: until this future is ready.
type Parked = NonNull<dyn Future<Output = ()>>;

/// The fibre was dropped: unwind by returning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// What happens around each stretch that a fibre runs.
pub trait Turn {
    /// Right before the fibre runs.
    fn begin(&self);
    /// Right after it stopped running.
    fn end(&self);
    /// Whether it ran for so long that its stack may have grown large: then it is not kept.
    fn was_long(&self) -> bool;
}

/// Stacks that no fibre uses at the moment. One per shard.
#[derive(Default)]
pub struct StackPool(RefCell<Vec<SpareStack>>);

/// The fibre's own way to suspend itself.
#[derive(Debug, Default)]
pub struct Switch {
    yielder: Cell<Option<NonNull<Yielder<Signal, Parked>>>>,
    cancelled: Cell<bool>,
    /// Lowest and highest address of the stack.
    limit: Cell<usize>,
    base: Cell<usize>,
}

/// A function that runs on a stack of its own, as a future.
pub struct Fibre<T: 'static, H: Turn> {
    coroutine: Option<Coroutine<Signal, Parked, T, SpareStack>>,
    parked: Option<NonNull<dyn Future<Output = ()>>>,
    switch: Rc<Switch>,
    pool: Rc<StackPool>,
    turn: H,
}

impl StackPool {
    fn take(&self) -> io::Result<SpareStack> {
        match self.0.borrow_mut().pop() {
            Some(stack) => Ok(stack),
            None => SpareStack::new(),
        }
    }

    fn give(&self, stack: SpareStack) {
        let mut stacks = self.0.borrow_mut();
        if stacks.len() < POOLED {
            stacks.push(stack);
        }
    }
}

impl std::fmt::Debug for StackPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StackPool").field(&self.0.borrow().len()).finish()
    }
}

impl Switch {
    /// Waits for a future without blocking the shard. Only on the fibre that this switch belongs to;
    /// anywhere else, and once the fibre is cancelled, it is `Cancelled` without being polled. The
    /// future is pinned by the caller, because each function that it were handed on through by value
    /// would keep a copy on the stack, for as long as it waits.
    pub fn block_on<F: Future>(&self, mut future: Pin<&mut F>) -> Result<F::Output, Cancelled> {
        let mut output = None;
        {
            let task = pin!(async {
                output = Some(future.as_mut().await);
            });
            // SAFETY: the pointee is not moved: the pointer is only ever used to make another `Pin`.
            let task: NonNull<dyn Future<Output = ()> + '_> =
                NonNull::from(unsafe { Pin::get_unchecked_mut(task) });
            // SAFETY: only the lifetime changes. The pointer is used while this frame is suspended
            // (invariant 2), so the future outlives every use.
            let task = unsafe {
                std::mem::transmute::<
                    NonNull<dyn Future<Output = ()> + '_>,
                    NonNull<dyn Future<Output = ()> + 'static>,
                >(task)
            };
            self.suspend(task)?;
        }
        output.ok_or(Cancelled)
    }

    /// Gives back the pages of the stack that no frame is on, before a long wait: what an iteration
    /// touched at its deepest would stay resident in every VU that sleeps.
    #[cfg(target_os = "linux")]
    #[inline(never)]
    pub fn trim(&self) {
        let here = stack_pointer();
        if !self.owns(here) {
            return;
        }
        // Whole pages below this frame, its red zone included.
        let end = (here - RED_ZONE) & !(PAGE - 1);
        let start = self.limit.get().next_multiple_of(PAGE) + GUARD_BYTES;
        if end > start {
            let unused = std::ptr::with_exposed_provenance_mut(start);
            // SAFETY: the range lies within this fibre's own stack (checked above), below every frame
            // that is on it; what it held is dead. A refusal leaves it resident, and that is all.
            let _ = unsafe { mm::madvise(unused, end - start, mm::Advice::LinuxDontNeed) };
        }
    }

    /// Nothing is given back where the kernel has no word for it.
    #[cfg(not(target_os = "linux"))]
    pub fn trim(&self) {}

    /// Whether there is room on the stack for another operation; true off the fibre.
    pub fn is_shallow(&self) -> bool {
        let here = stack_pointer();
        !self.owns(here) || self.base.get() - here < SCRIPT_BYTES
    }

    /// Whether the fibre was dropped and is unwinding.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn owns(&self, address: usize) -> bool {
        (self.limit.get()..self.base.get()).contains(&address)
    }

    fn suspend(&self, parked: Parked) -> Result<(), Cancelled> {
        let (false, true, Some(yielder)) =
            (self.cancelled.get(), self.owns(stack_pointer()), self.yielder.get())
        else {
            return Err(Cancelled);
        };
        // SAFETY: the yielder lives in the first frame of the stack that we are on (checked just
        // above); it is forgotten when that frame returns.
        match unsafe { yielder.as_ref() }.suspend(parked) {
            Signal::Go => Ok(()),
            Signal::Cancel => Err(Cancelled),
        }
    }
}

impl<T: 'static, H: Turn> Fibre<T, H> {
    /// A fibre that will run `work` when it is polled. One fibre at a time per switch.
    pub fn new(
        pool: &Rc<StackPool>,
        switch: &Rc<Switch>,
        turn: H,
        work: impl FnOnce() -> T + 'static,
    ) -> io::Result<Self> {
        let stack = pool.take()?;
        switch.cancelled.set(false);
        switch.limit.set(stack.limit().get());
        switch.base.set(stack.base().get());
        let own = switch.clone();
        let coroutine = Coroutine::with_stack(stack, move |yielder, _: Signal| {
            own.yielder.set(Some(NonNull::from(yielder)));
            let value = work();
            own.yielder.set(None);
            value
        });
        let (switch, pool) = (switch.clone(), pool.clone());
        Ok(Self { coroutine: Some(coroutine), parked: None, switch, pool, turn })
    }

    fn resume(&mut self, signal: Signal) -> Option<CoroutineResult<Parked, T>> {
        // Invariant 2: whatever was yielded may be gone once the fibre runs again.
        self.parked = None;
        let coroutine = self.coroutine.as_mut()?;
        self.turn.begin();
        let result = coroutine.resume(signal);
        self.turn.end();
        if matches!(result, CoroutineResult::Return(_)) {
            self.switch.limit.set(0);
            self.switch.base.set(0);
            if let Some(coroutine) = self.coroutine.take() {
                let stack = coroutine.into_stack();
                if !self.turn.was_long() {
                    self.pool.give(stack);
                }
            }
        }
        Some(result)
    }
}

impl<T: 'static, H: Turn> Unpin for Fibre<T, H> {}

impl<T: 'static, H: Turn> Future for Fibre<T, H> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        loop {
            if let Some(mut future) = this.parked {
                // SAFETY: the fibre is suspended in the frame that owns and pins the future
                // (invariant 2), and nothing else refers to it meanwhile.
                let future = unsafe { Pin::new_unchecked(future.as_mut()) };
                if future.poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
            match this.resume(Signal::Go) {
                Some(CoroutineResult::Return(value)) => return Poll::Ready(value),
                Some(CoroutineResult::Yield(future)) => this.parked = Some(future),
                // Polled after its end: nothing will ever come.
                None => return Poll::Pending,
            }
        }
    }
}

impl<T: 'static, H: Turn> Drop for Fibre<T, H> {
    fn drop(&mut self) {
        if !self.coroutine.as_ref().is_some_and(Coroutine::started) {
            return;
        }
        self.switch.cancelled.set(true);
        if let Some(CoroutineResult::Yield(_)) = self.resume(Signal::Cancel) {
            // Invariant 4: cannot happen while invariant 3 holds.
            std::mem::forget(self.coroutine.take());
        }
    }
}

/// Runs `work` to its end on a stack of its own: what parses, evaluates or drops a script's values
/// must not depend on how large a stack its thread happens to have.
pub fn on_roomy_stack<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    Ok(corosensei::on_stack(SpareStack::new()?, work))
}

/// A mapping with a guard at its lower end.
struct SpareStack {
    start: *mut std::ffi::c_void,
    bytes: usize,
}

impl SpareStack {
    fn new() -> io::Result<Self> {
        let mut refused = io::Error::other("no stack size");
        for bytes in STACK_BYTES {
            match Self::map(bytes) {
                Ok(stack) => return Ok(stack),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn map(bytes: usize) -> rustix::io::Result<Self> {
        let (access, kind) = (
            mm::ProtFlags::READ | mm::ProtFlags::WRITE,
            mm::MapFlags::PRIVATE | mm::MapFlags::NORESERVE,
        );
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, kind)? };
        let stack = Self { start, bytes };
        // SAFETY: the first bytes of the mapping that was just made; nobody else knows it.
        unsafe { mm::mprotect(start, GUARD_BYTES, mm::MprotectFlags::empty())? };
        // One huge page per suspended VU would be 2 MB of memory instead of 8 KB. Where the kernel
        // has none, it refuses the advice, and that is as good.
        #[cfg(target_os = "linux")]
        // SAFETY: the same mapping; the advice changes no content.
        let _ = unsafe { mm::madvise(start, bytes, mm::Advice::LinuxNoHugepage) };
        Ok(stack)
    }
}

impl Drop for SpareStack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; nothing runs on it (invariant 5).
        let _ = unsafe { mm::munmap(self.start, self.bytes) };
    }
}

// SAFETY: the mapping is aligned to pages, has a guard at its lower end, and is larger than the
// minimum.
unsafe impl Stack for SpareStack {
    fn base(&self) -> StackPointer {
        StackPointer::MIN.saturating_add(self.start.addr() + self.bytes - 1)
    }

    fn limit(&self) -> StackPointer {
        StackPointer::MIN.saturating_add(self.start.addr() - 1)
    }
}

/// About where the stack ends at the moment.
#[inline(never)]
fn stack_pointer() -> usize {
    let marker = 0_u8;
    std::hint::black_box(&raw const marker).addr()
}
