//! Values that stay on the thread that made them, inside a store that wasmtime wants to be `Send`.
//!
//! A VU's primitives are full of `Rc`: they belong to one shard's thread. wasmtime asks that a store's
//! data and the futures of host functions be `Send`, because a store *may* be moved. Ours is not: the
//! only owner of a store is a `Guest`, which is not `Send` (it holds a `PhantomData<*const ()>`), and
//! its calls are polled where it lives. So the marker is true of every use, though not of the type.
//! This file is the whole of that promise: two wrappers, private to the room.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A value, or a future, that stays on its thread.
#[derive(Debug)]
pub(super) struct Stay<T>(T);

// SAFETY: a `Stay` is only put into the store of a `Guest` or into the future of a host function that
// was called through one; a `Guest` is neither `Send` nor `Sync`, so neither it, nor its store, nor
// a future of its calls can reach another thread. Without a second thread there is no race.
#[expect(unsafe_code, reason = "see the top of the file")]
unsafe impl<T> Send for Stay<T> {}

impl<T> Stay<T> {
    /// Wraps a value on the thread where it will be used and dropped.
    pub(super) const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub(super) const fn get(&self) -> &T {
        &self.0
    }
}

impl<F: Future> Future for Stay<F> {
    type Output = F::Output;

    #[expect(unsafe_code, reason = "pin projection to the only field")]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the field is pinned whenever the wrapper is; it is never moved out, and the wrapper
        // has neither `Drop` nor a hand-written `Unpin`.
        let inner = unsafe { self.map_unchecked_mut(|stay| &mut stay.0) };
        inner.poll(context)
    }
}
