//! Services inside the process of a run: what `wavetank serve` does in a process of its own, on a thread
//! of its own, over the same bus and the same questions and answers ([`super::collect`]).
//!
//! So a suite needs nothing but itself on the embedded bus, and what a service is measured by does not
//! depend on where it runs. What its thread uses is the service's CPU and not the runner's; the memory of a
//! process is nobody's alone, and of a service inside the runner none is told.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{ServeInput, StopLevel, StopSignal, health, serve};
use crate::verdict::Cause;

/// A service on a thread of this process. It is stopped by [`Hosted::stop`]; one that is dropped is told
/// to stop and not waited for.
#[derive(Debug)]
pub struct Hosted {
    name: String,
    stop: StopSignal,
    thread: Option<JoinHandle<Result<(), (Cause, String)>>>,
}

impl Hosted {
    /// Starts a service; it answers when this returns.
    pub async fn start(input: ServeInput) -> Result<Self, (Cause, String)> {
        let (name, stop) = (input.name.clone(), input.stop.clone());
        input.bus.has_services();
        let (ready, answers) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("{}{name}", health::SERVICE))
            .spawn(move || live(input, ready))
            .map_err(|error| (Cause::Internal, format!("service `{name}`: no thread: {error}")))?;
        let mut hosted = Self { name, stop, thread: Some(thread) };
        match answers.await {
            Ok(()) => Ok(hosted),
            // It ended before it was ready: its own error says why.
            Err(_) => match hosted.ended() {
                Err((cause, text)) => Err((cause, text)),
                Ok(()) => Err(hosted.early()),
            },
        }
    }

    /// Why the service is not there any more, if it ended before it was told to.
    pub fn failure(&mut self) -> Option<(Cause, String)> {
        if !self.thread.as_ref()?.is_finished() {
            return None;
        }
        Some(match self.ended() {
            Ok(()) => self.early(),
            Err((_, text)) => (Cause::TargetDied, text),
        })
    }

    /// Stops the service and waits until it has.
    pub async fn stop(mut self) -> Result<(), (Cause, String)> {
        self.stop.stop(StopLevel::Graceful);
        // It drains in bounded time; meanwhile what it waits for must go on turning.
        let ended = tokio::task::spawn_blocking(move || self.ended());
        ended.await.unwrap_or_else(|error| Err((Cause::Internal, error.to_string())))
    }

    fn early(&self) -> (Cause, String) {
        let text = format!("the service `{}` ended before it was told to", self.name);
        (Cause::TargetDied, text)
    }

    /// Waits for the thread; how the service ended, by its name.
    fn ended(&mut self) -> Result<(), (Cause, String)> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let named = |text: String| format!("the service `{}`: {text}", self.name);
        match thread.join() {
            Ok(result) => result.map_err(|(cause, text)| (cause, named(text))),
            Err(_) => Err((Cause::Internal, named("it panicked".to_owned()))),
        }
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.stop.stop(StopLevel::Graceful);
    }
}

fn live(input: ServeInput, ready: oneshot::Sender<()>) -> Result<(), (Cause, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (Cause::Internal, format!("no runtime: {error}")))?;
    runtime.block_on(serve(input, |_| {
        // Whoever waited may have given up; then a stop is on its way.
        let _ = ready.send(());
    }))
}
