//! Which way is the good one: one table for all metrics that the host measures itself.
//!
//! Times, errors, CPU and memory are to be low, rates of completed work high. Of a metric that a workload
//! declared only times are known to be low; of anything else a threshold says it, or nobody does, and then it
//! can change but not regress.

use super::Better;
use crate::{
    metric::{Builtin, Kind, Unit},
    plan::threshold::{Aggregate, Comparison},
};

/// Which way is the good one for a figure; `limit` is how a threshold on it compares, if there is one.
pub fn better(
    metric: &str,
    (kind, unit): (Kind, Unit),
    aggregate: Aggregate,
    limit: Option<Comparison>,
) -> Better {
    match limit {
        Some(Comparison::Less | Comparison::AtMost) => return Better::Lower,
        Some(Comparison::Greater | Comparison::AtLeast) => return Better::Higher,
        Some(Comparison::Equal | Comparison::NotEqual) | None => {}
    }
    // How many samples a distribution has says nothing of what they are.
    if (kind, aggregate) == (Kind::Trend, Aggregate::Count) {
        return Better::Unknown;
    }
    match Builtin::ALL.iter().find(|builtin| builtin.name() == metric) {
        Some(builtin) => of(*builtin),
        None if (kind, unit) == (Kind::Trend, Unit::Nanoseconds) => Better::Lower,
        None => Better::Unknown,
    }
}

const fn of(metric: Builtin) -> Better {
    use Builtin::{
        BusPublished, BusReceived, BusRequests, Checks, DataReceived, DataSent, DbQueries, DbRows,
        GuestHostCalls, Iterations, IterationsEnded, ServiceHandled, Vus, VusMax,
    };
    match metric {
        // Completed work, and what held of it.
        Iterations | IterationsEnded | BusRequests | BusPublished | BusReceived | DbQueries
        | DbRows | ServiceHandled | Checks => Better::Higher,
        // How much was asked for is not the system's doing.
        Vus | VusMax | DataSent | DataReceived | GuestHostCalls => Better::Unknown,
        // Whatever else the host measures is a cost: times, errors, losses, what could not be done, CPU,
        // memory, what goes through disk and network, threads, descriptors.
        _ => Better::Lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_says_it_and_else_the_table() {
        let p99 = Aggregate::Percentile(99.0);
        let time = (Kind::Trend, Unit::Nanoseconds);
        assert_eq!(better("bus_request_duration", time, p99, None), Better::Lower);
        assert_eq!(better("bus_request_duration", time, Aggregate::Count, None), Better::Unknown);
        let counter = (Kind::Counter, Unit::Count);
        assert_eq!(better("iterations", counter, Aggregate::Rate, None), Better::Higher);
        assert_eq!(better("bus_lost", counter, Aggregate::Count, None), Better::Lower);
        assert_eq!(better("rows_stored", counter, Aggregate::Rate, None), Better::Unknown);
        let more = Some(Comparison::AtLeast);
        assert_eq!(better("rows_stored", counter, Aggregate::Rate, more), Better::Higher);
        assert_eq!(better("own_time", time, p99, None), Better::Lower);
    }
}
