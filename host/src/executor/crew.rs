//! The VUs of a lane: made before the scenario starts, one task each, and what all executors do
//! with them: begin, let go, finish, interrupt. SEMANTICS §1, Stop.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
};

use super::{
    arrivals, closed, constant_arrival_rate, constant_vus,
    ground::Notice,
    handle::{Cut, Gate, Handle},
    iteration::Vu,
    lane::Lane,
    per_vu_iterations, ramping_arrival_rate, ramping_vus, shared_iterations,
};
use crate::{clock::Instant, plan::Executor, verdict::Cause};

/// The least time between two looks at the iterations' timeouts.
const SWEEP: Duration = Duration::from_millis(1);

/// Whether the run is being stopped.
#[derive(Clone, Debug)]
pub(super) struct Stop(pub(super) watch::Receiver<bool>);

impl Stop {
    /// Suspends until the run is stopped.
    pub(super) async fn asked(&mut self) {
        // Without its sender the run is gone: that is a stop too.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// The VUs of a lane.
#[derive(Debug)]
pub struct Crew {
    pub(super) lane: Rc<Lane>,
    pub(super) tasks: JoinSet<()>,
    unready: Rc<(Cell<u32>, Notify)>,
}

impl Crew {
    /// Makes the VUs that a scenario has from its start; they run `init` and then wait.
    pub fn hire(lane: Rc<Lane>) -> Self {
        let vus = lane.first_vus();
        let mut crew = Self { lane, tasks: JoinSet::new(), unready: Rc::default() };
        crew.unready.0.set(vus);
        for order in 0..vus {
            let in_scenario = crew.lane.vu_in_scenario(order);
            crew.add(in_scenario, false);
        }
        crew
    }

    /// Suspends until all of them have run `init`, or failed to.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let unready = Rc::clone(&self.unready);
        async move {
            while unready.0.get() > 0 {
                unready.1.notified().await;
            }
        }
    }

    /// Runs the lane's share of its scenario from `start`, until all iterations have ended.
    pub async fn run(&mut self, start: Instant, stop: watch::Receiver<bool>) {
        let lane = Rc::clone(&self.lane);
        let mut stop = Stop(stop);
        let scenario = lane.scenario();
        let running = async {
            match &scenario.executor {
                Executor::SharedIterations { .. }
                | Executor::PerVuIterations { .. }
                | Executor::ConstantVus { .. } => closed::run(self, start, &mut stop).await,
                Executor::RampingVus { .. } => ramping_vus::run(self, start, &mut stop).await,
                Executor::ConstantArrivalRate { .. } => {
                    constant_arrival_rate::run(self, start, &mut stop).await;
                }
                Executor::RampingArrivalRate { .. } => {
                    ramping_arrival_rate::run(self, start, &mut stop).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = running => {}
            () = sweep(&lane, scenario.iteration_timeout) => {}
        }
    }

    /// Adds a VU; `cold` if after the scenario's start, when arrivals may wait for it.
    pub(super) fn add(&mut self, in_scenario: u32, cold: bool) {
        let handle = Rc::<Handle>::default();
        self.lane.handles.borrow_mut().push(Rc::clone(&handle));
        let lane = Rc::clone(&self.lane);
        let unready = Rc::clone(&self.unready);
        self.tasks.spawn_local(async move {
            let begun = lane.ground.clock.now();
            handle.begin(begun);
            // On the heap, because a VU's task keeps room for it as long as it lives.
            let making = Box::pin(Vu::make(Rc::clone(&lane), Rc::clone(&handle), in_scenario));
            let (made, _) = handle.until_cut(making).await;
            handle.end();
            if !cold {
                unready.0.set(unready.0.get() - 1);
                unready.1.notify_one();
            }
            match made {
                Ok(Some(mut vu)) => {
                    vu.cold = cold;
                    if let Some(dispatch) = &lane.shared.dispatch {
                        let took = lane.ground.clock.now().since(begun);
                        dispatch.made(took.as_nanos() as u64, cold);
                    }
                    let bus = vu.primitives.bus.clone();
                    live(vu).await;
                    // What the VU's subscriptions still hold was delivered, and is counted.
                    bus.reset();
                }
                Ok(None) | Err(Cut::Stop) => {}
                Err(Cut::Timeout) => {
                    let limit = lane.scenario().iteration_timeout;
                    let text = format!(
                        "init of a VU of `{}` took longer than iteration_timeout ({limit:?}): raise \
                         `iteration_timeout` in the scenario's options, or pre-allocate the VUs",
                        lane.name
                    );
                    (lane.ground.notify)(Notice::Failed(Cause::WorkloadError, text));
                }
            }
        });
    }

    /// Waits for the scenario's start. False if the run is stopped before.
    pub(super) async fn begin(&self, start: Instant, stop: &mut Stop) -> bool {
        self.lane.open(start);
        tokio::select! {
            biased;
            () = stop.asked() => false,
            () = self.lane.ground.clock.sleep_until(start) => true,
        }
    }

    /// Tells all VUs.
    pub(super) fn tell(&self, gate: Gate) {
        for handle in self.lane.handles.borrow().iter() {
            handle.set_gate(gate);
        }
    }

    /// Suspends until all VUs have ended. May be dropped and called again.
    pub(super) async fn finished(&mut self) {
        while let Some(result) = self.tasks.join_next().await {
            self.left(result);
        }
    }

    /// A VU's task has ended: if by a panic, that is a bug and ends the run.
    pub(super) fn left(&self, result: Result<(), JoinError>) {
        let Err(error) = result else { return };
        if error.is_panic() {
            let text = format!("a VU of `{}` panicked: {error}", self.lane.name);
            (self.lane.ground.notify)(Notice::Failed(Cause::Internal, text));
        }
    }

    /// No further starts; what runs may go on for `graceful_stop`, then it is interrupted.
    pub(super) async fn finish(&mut self, stop: &mut Stop) {
        self.tell(Gate::Over);
        let lane = Rc::clone(&self.lane);
        let patience = lane.end.get() + lane.scenario().graceful_stop;
        if !stop.is_asked() {
            tokio::select! {
                biased;
                () = self.finished() => {}
                () = stop.asked() => {}
                () = lane.ground.clock.sleep_until(patience) => {}
            }
        }
        for handle in lane.handles.borrow().iter() {
            handle.interrupt(Cut::Stop);
        }
        self.finished().await;
        let mut counts = lane.counts.borrow_mut();
        if counts.running > 0 {
            counts.settle();
        }
    }
}

/// What a VU does from its `init` to its end.
async fn live(vu: Box<Vu>) {
    let lane = Rc::clone(&vu.lane);
    match &lane.scenario().executor {
        Executor::SharedIterations { iterations, .. } => {
            shared_iterations::live(vu, *iterations).await;
        }
        Executor::PerVuIterations { iterations, pace, .. } => {
            per_vu_iterations::live(vu, *iterations, *pace).await;
        }
        Executor::ConstantVus { pace, .. } => constant_vus::live(vu, *pace).await,
        Executor::RampingVus { pace, .. } => ramping_vus::live(vu, *pace).await,
        Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => {
            arrivals::live(vu).await;
        }
    }
}

/// Interrupts iterations that outlast their timeout, with one timer for all VUs: it wakes when the
/// oldest running one would be due, which is seldom, and then looks at all of them.
async fn sweep(lane: &Lane, timeout: Duration) {
    let clock = lane.ground.clock;
    let mut wake = clock.now() + timeout;
    loop {
        clock.sleep_until(wake).await;
        let now = clock.now();
        let mut next = now + timeout;
        for handle in lane.handles.borrow().iter() {
            let Some(since) = handle.running_since() else { continue };
            if since + timeout <= now {
                handle.interrupt(Cut::Timeout);
            } else {
                next = next.min(since + timeout);
            }
        }
        wake = if clock.is_virtual() { next } else { next.max(now + SWEEP) };
    }
}
