//! The inert part of WASI that ordinary Rust needs, and nothing else.
//!
//! Environment, arguments and standard input are empty. Standard output and error go to the run's log,
//! line by line and bounded. Random numbers and hashing seeds come from the run's seed, clocks from
//! the run's clock. There are no files, no sockets: a component that imports them is refused before it
//! is linked ([`super::inspect`]), so they are not even defined here.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::component::Linker;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiView,
    cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView},
    p2::{OutputStream, Pollable, StreamResult, bindings::cli},
};

use crate::{
    clock::Clock,
    primitive::{LogLevel, Random, Scope},
};

/// Bytes of output that one call may leave in the log; the rest is counted.
const OUTPUT_BYTES: usize = 64 << 10;

/// What a guest wrote to its standard output and error since it was last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Output(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    out: Vec<u8>,
    error: Vec<u8>,
    dropped: usize,
}

impl Output {
    fn add(&self, bytes: &[u8], level: LogLevel) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_BYTES - written.out.len() - written.error.len();
        let taken = &bytes[..bytes.len().min(room)];
        written.dropped += bytes.len() - taken.len();
        match level {
            LogLevel::Error => written.error.extend_from_slice(taken),
            _ => written.out.extend_from_slice(taken),
        }
    }

    /// Takes what was written to standard error and drops the rest.
    pub(super) fn take_error(&self) -> String {
        let written = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&written.error).into_owned()
    }

    /// Writes whole lines to the log; what was written to standard error is returned as well.
    pub(super) fn flush(&self, scope: &Scope) -> String {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.out.is_empty() && locked.error.is_empty() && locked.dropped == 0 {
            return String::new();
        }
        let written = std::mem::take(&mut *locked);
        drop(locked);
        let error = String::from_utf8_lossy(&written.error).into_owned();
        for line in String::from_utf8_lossy(&written.out).lines() {
            scope.log(LogLevel::Info, line.to_owned());
        }
        for line in error.lines() {
            scope.log(LogLevel::Warn, line.to_owned());
        }
        if written.dropped > 0 {
            scope.log(
                LogLevel::Warn,
                format!(
                    "{} more bytes of output were dropped: a call may write {OUTPUT_BYTES}",
                    written.dropped
                ),
            );
        }
        error
    }
}

/// One of the two streams.
#[derive(Clone, Debug)]
struct Stream {
    output: Output,
    level: LogLevel,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.add(&bytes, self.level);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

struct RunClock(Clock);

impl HostMonotonicClock for RunClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.now().as_nanos()
    }
}

impl HostWallClock for RunClock {
    fn resolution(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(1)
    }

    fn now(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.now().as_nanos())
    }
}

/// An empty context: output to `output`, randomness from the seed, time from the run.
pub(super) fn context(output: &Output, clock: Clock, seed: u64, vu: u32) -> WasiCtx {
    let random = |stream| Random::new(seed, stream, u64::from(vu));
    let mut hashing = random("wasi hashing");
    let hashing = (u128::from(hashing.bits()) << 64) | u128::from(hashing.bits());
    let mut builder = WasiCtx::builder();
    builder
        .stdout(Stream { output: output.clone(), level: LogLevel::Info })
        .stderr(Stream { output: output.clone(), level: LogLevel::Error })
        .secure_random(random("wasi").into_generator())
        .insecure_random(random("wasi insecure").into_generator())
        .insecure_random_seed(hashing)
        .max_random_size(1 << 20)
        .monotonic_clock(RunClock(clock))
        .wall_clock(RunClock(clock))
        .allow_blocking_current_thread(true);
    builder.build()
}

/// Links what is allowed: `io`, `clocks`, `random`, and all of `cli`.
pub(super) fn link<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    // This set is io, clocks, random and the three standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    wasmtime_wasi::p2::bindings::random::insecure::add_to_linker::<
        T,
        wasmtime_wasi::random::WasiRandom,
    >(linker, |data| data.ctx().ctx.random())?;
    wasmtime_wasi::p2::bindings::random::insecure_seed::add_to_linker::<
        T,
        wasmtime_wasi::random::WasiRandom,
    >(linker, |data| data.ctx().ctx.random())?;
    cli::exit::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::environment::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    Ok(())
}
