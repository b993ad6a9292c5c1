//! Time as guests see it: now, sleep, deadline.

use std::time::Duration;

use super::Scope;

/// Nanoseconds on the run's timeline.
pub fn now(scope: &Scope) -> u64 {
    scope.host_call(|| "time::now()".to_owned());
    scope.clock().now().as_nanos()
}

/// Suspends the VU. Its database lease is given back first.
pub async fn sleep(scope: &Scope, duration: Duration) {
    scope.host_call(|| format!("sleep({duration:?})"));
    scope.about_to_wait();
    let clock = scope.clock();
    clock.sleep_until(clock.now() + duration).await;
}
