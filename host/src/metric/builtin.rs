//! The metrics that the host itself measures. Their ids are their places in this table.

use serde::{Deserialize, Serialize};

use super::{Kind, MetricId, Unit};

macro_rules! builtins {
    ($($variant:ident $name:literal $kind:ident $unit:ident $doc:literal;)*) => {
        /// A built-in metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Builtin { $(#[doc = $doc] $variant,)* }

        impl Builtin {
            /// All of them, in the order of their ids.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written in thresholds.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Which aggregates it has.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// The unit of its samples.
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)* }
            }

            /// What it measures, in one sentence.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

impl Builtin {
    /// Its id in every registry.
    pub const fn id(self) -> MetricId {
        MetricId(self as u16)
    }
}

builtins! {
    Iterations "iterations" Counter Count "Iterations that ran to their end, with or without an error.";
    DroppedIterations "dropped_iterations" Counter Count "Arrivals for which no VU was free and no place in the backlog was left.";
    NeverStartedIterations "never_started_iterations" Counter Count "Planned iterations that were still waiting when their scenario ended.";
    InterruptedIterations "interrupted_iterations" Counter Count "Iterations cut off by a stop, a timeout or a limit.";
    IterationErrors "iteration_errors" Rate Count "The share of iterations that threw or trapped.";
    IterationDuration "iteration_duration" Trend Nanoseconds "From an iteration's first guest instruction to its end.";
    IterationResponseTime "iteration_response_time" Trend Nanoseconds "From the instant an iteration was due to its end.";
    DispatchDelay "dispatch_delay" Trend Nanoseconds "From the instant an iteration was due to its first guest instruction.";
    DispatchRelease "dispatch_delay_release" Trend Nanoseconds "First part of the dispatch delay, the runner's: due to released.";
    DispatchQueue "dispatch_delay_queue" Trend Nanoseconds "Second part of the dispatch delay, the system's: released to a VU being free.";
    DispatchStart "dispatch_delay_start" Trend Nanoseconds "Third part of the dispatch delay, the runner's: VU free to first guest instruction.";
    IterationsEnded "iterations_ended" Counter Count "Iterations that ended without an error, at the instant of their end: the throughput of a scenario with levels or a search.";
    IterationsEndedSeconds "iterations_ended_seconds" Counter Seconds "Response times of all iterations that ended, at the instant of their end: per second, how many were in the system (Little's law).";
    Checks "checks" Rate Count "The share of checks that held.";
    Vus "vus" Gauge Count "VUs that are running an iteration.";
    VusMax "vus_max" Gauge Count "VUs that exist.";
    BusRequests "bus_requests" Counter Count "Requests sent.";
    BusRequestDuration "bus_request_duration" Trend Nanoseconds "From sending a request to having its reply.";
    BusRequestFailed "bus_request_failed" Rate Count "The share of requests without a good reply.";
    BusPublished "bus_published" Counter Count "Messages published.";
    BusPublishDuration "bus_publish_duration" Trend Nanoseconds "JetStream: from publishing to the server's acknowledgement; core: until handed to the connection.";
    BusPublishFailed "bus_publish_failed" Rate Count "The share of messages that could not be published.";
    BusReceived "bus_received" Counter Count "Messages received by subscriptions of the run.";
    BusDeliveryDuration "bus_delivery_duration" Trend Nanoseconds "From publishing to reception, where this run does both.";
    BusLost "bus_lost" Counter Count "Messages of the run that a subscription of the run should have received and did not.";
    BusDuplicated "bus_duplicated" Counter Count "Messages of the run received more than once by one subscription.";
    BusReordered "bus_reordered" Counter Count "Messages of the run received after a later one of the same sender.";
    BusReconnects "bus_reconnects" Counter Count "Times a connection to the bus was established again.";
    BusConnects "bus_connects" Counter Count "Connections that VUs asked for beside their own.";
    BusConnectDuration "bus_connect_duration" Trend Nanoseconds "From asking for a further connection to the server's welcome.";
    BusConnectFailed "bus_connect_failed" Rate Count "The share of further connections that were refused.";
    BusConnections "bus_connections" Gauge Count "Further connections that are up, of all VUs: at each change that a VU makes, and each second.";
    BusSlowConsumerDrops "bus_slow_consumer_drops" Counter Count "Messages dropped because a subscription's queue was full.";
    EffectDuration "effect_duration" Trend Nanoseconds "From publishing to the effect being seen.";
    EffectError "effect_duration_error" Trend Nanoseconds "Width of the bracket from last-unseen to first-seen of each effect.";
    EffectFailed "effect_failed" Rate Count "The share of effects not seen within their timeout.";
    DbQueries "db_queries" Counter Count "Statements executed.";
    DbQueryDuration "db_query_duration" Trend Nanoseconds "Time of a statement in the database.";
    DbQueryFailed "db_query_failed" Rate Count "The share of statements that failed.";
    DbRows "db_rows" Counter Count "Rows read and changed.";
    DbWaitDuration "db_wait_duration" Trend Nanoseconds "Waiting for a connection or a database thread.";
    DataSent "data_sent" Counter Bytes "Payload and header bytes sent.";
    DataReceived "data_received" Counter Bytes "Payload and header bytes received.";
    ServiceHandleDuration "service_handle_duration" Trend Nanoseconds "Time of a service's handler, taken by the host that runs it.";
    ServiceCpuSeconds "service_cpu_seconds" Counter Seconds "CPU time of a service, taken by the host that runs it: of each operation while it was handled, and without `op` what belongs to none.";
    ServiceHandled "service_handled" Counter Count "Messages that a service's handlers finished.";
    ServiceFailed "service_failed" Rate Count "The share of messages whose handler threw or trapped.";
    TargetCpuSeconds "target_cpu_seconds" Counter Seconds "CPU time of a target and all that descends from it, by `mode`: user and system.";
    TargetCpuPercent "target_cpu_percent" Gauge Percent "CPU of a target over a tenth of a second, in percent of one core.";
    TargetRssBytes "target_rss_bytes" Gauge Bytes "Resident memory of a target's processes; pages that they share count for each.";
    TargetPssBytes "target_pss_bytes" Gauge Bytes "Resident memory of a target of more than one process, shared pages divided among those who share them; once a second.";
    TargetPeakRssBytes "target_peak_rss_bytes" Gauge Bytes "The most resident memory of a target so far.";
    TargetVmsBytes "target_vms_bytes" Gauge Bytes "Address space of a target's processes.";
    TargetReadBytes "target_read_bytes" Counter Bytes "Bytes that a target read from storage.";
    TargetWrittenBytes "target_written_bytes" Counter Bytes "Bytes that a target wrote to storage.";
    TargetNetworkBytes "target_network_bytes" Counter Bytes "Bytes received and sent by a target that has a network namespace of its own; of no other is it known.";
    TargetThreads "target_threads" Gauge Count "Threads of a target.";
    TargetFds "target_fds" Gauge Count "Open descriptors of a target, once a second.";
    TargetRestartDuration "target_restart_duration" Trend Nanoseconds "From asking a target to start again, or to restart, until it was ready.";
    TargetOutageDuration "target_outage_duration" Trend Nanoseconds "From the start of the first operation that failed after a target was asked to go, to the end of the first that succeeded again.";
    RunnerCpuPercent "runner_cpu_percent" Gauge Percent "CPU of the runner's own threads, in percent of one core.";
    RunnerRssBytes "runner_rss_bytes" Gauge Bytes "Resident memory of the runner.";
    RunnerLoopLag "runner_loop_lag" Trend Nanoseconds "How late each shard's heartbeat was, each missed beat recorded from when it was due.";
    GuestCpuTime "guest_cpu_time" Trend Nanoseconds "Time spent in guest code by an iteration.";
    GuestHostCalls "guest_host_calls" Counter Count "Calls from guests to the host.";
    GuestMemoryBytes "guest_memory_bytes" Gauge Bytes "Memory of the largest guest seen.";
    GuestTraps "guest_traps" Counter Count "Guests that trapped and were replaced.";
    GuestRefused "guest_refused" Counter Count "Calls of components that were refused: not granted, or against the contract.";
    SeriesFolded "series_folded" Counter Count "Samples folded into `other` because the limit on series was reached.";
}
