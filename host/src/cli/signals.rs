//! Ctrl-C and SIGTERM: the first stops the run in order, the second ends the process at once.

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

use crate::{
    run::{StopLevel, StopSignal},
    verdict::Cause,
};

/// Watches for both signals until aborted; on the calling runtime.
pub fn watch(stop: StopSignal) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            // Without a watcher the signals keep their default: the process ends.
            return;
        };
        let mut level = StopLevel::Graceful;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if level == StopLevel::Hard {
                std::process::exit(i32::from(Cause::Interrupted.code()));
            }
            stop.stop(level);
            level = StopLevel::Hard;
        }
    })
}
