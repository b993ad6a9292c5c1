//! One instant to wait for, by the finest timer there is.
//!
//! On Linux that is a timerfd read through the runtime's reactor: 19–29 × less late than the
//! runtime's own timers, which know whole milliseconds (DESIGN §3). Under a virtual clock it is the
//! runtime's timer, which is exact there. Elsewhere the runtime's timer has to do.

use std::time::Duration;

use crate::clock::{Clock, Instant};

/// How long before an instant a spinning timer wakes to spin.
const SPIN: Duration = Duration::from_micros(60);

/// A timer of a shard's thread. Waiting for the same instant twice arms it once.
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    spin: bool,
    #[cfg(target_os = "linux")]
    descriptor: Option<Descriptor>,
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Descriptor {
    fd: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    armed: Option<Instant>,
}

impl Timer {
    /// A timer on this clock. Must be called on the runtime that will wait.
    pub fn new(clock: Clock, spin: bool) -> Self {
        Self {
            clock,
            spin: spin && !clock.is_virtual(),
            #[cfg(target_os = "linux")]
            descriptor: if clock.is_virtual() { None } else { Descriptor::open() },
        }
    }

    /// Suspends until `instant`; at once if it has passed. May be dropped and called again.
    pub async fn wait_until(&mut self, instant: Instant) {
        let spin = if self.spin { SPIN } else { Duration::ZERO };
        let wake = Instant::from_nanos(
            instant.as_nanos().saturating_sub(u64::try_from(spin.as_nanos()).unwrap_or(0)),
        );
        self.sleep_until(wake).await;
        while self.spin && self.clock.now() < instant {
            std::hint::spin_loop();
        }
    }

    #[cfg(target_os = "linux")]
    async fn sleep_until(&mut self, instant: Instant) {
        let now = self.clock.now();
        if now >= instant {
            return;
        }
        if let Some(descriptor) = &mut self.descriptor
            && descriptor.arm(now, instant)
        {
            return descriptor.fired().await;
        }
        self.clock.sleep_until(instant).await;
    }

    #[cfg(not(target_os = "linux"))]
    async fn sleep_until(&mut self, instant: Instant) {
        if self.clock.now() < instant {
            self.clock.sleep_until(instant).await;
        }
    }
}

#[cfg(target_os = "linux")]
impl Descriptor {
    /// `None` where timerfds cannot be had (descriptors used up): the runtime's timer has to do.
    fn open() -> Option<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        let interest = tokio::io::Interest::READABLE;
        #[expect(unsafe_code, reason = "tokio asks for I/O safety to be promised by hand")]
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and `AsyncFd`
        // deregisters it before that.
        let fd = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) };
        Some(Self { fd: fd.ok()?, armed: None })
    }

    fn arm(&mut self, now: Instant, instant: Instant) -> bool {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if self.armed == Some(instant) {
            return true;
        }
        let wait = instant.since(now);
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let armed = timerfd_settime(
            self.fd.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )
        .is_ok();
        self.armed = armed.then_some(instant);
        armed
    }

    async fn fired(&mut self) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else { return };
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?));
            if read.is_ok() {
                self.armed = None;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timer_is_never_early_and_may_be_dropped_and_armed_anew() {
        let clock = Clock::real();
        let mut timer = Timer::new(clock, false);
        let far = clock.now() + Duration::from_secs(3600);
        let given_up = tokio::time::timeout(Duration::from_millis(5), timer.wait_until(far)).await;
        assert!(given_up.is_err());
        for spin in [false, true] {
            timer.spin = spin;
            for step in 1..20 {
                let due = clock.now() + Duration::from_micros(step * 100);
                timer.wait_until(due).await;
                assert!(clock.now() >= due);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_is_exact_in_virtual_time() {
        let clock = Clock::paused();
        let mut timer = Timer::new(clock, true);
        timer.wait_until(Instant::ZERO + Duration::from_millis(1_234)).await;
        assert_eq!(clock.now().as_nanos(), 1_234_000_000);
    }
}
