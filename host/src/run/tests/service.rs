//! Services inside the runner answer the run's own virtual users.

use super::*;
use crate::primitive::bus::Outgoing;

#[tokio::test]
async fn services_answer_on_a_thread_of_their_own_and_are_timed() {
    let executor =
        Executor::SharedIterations { vus: 4, iterations: 100, max_duration: 60 * SECOND };
    let native = Native::new(|primitives, iteration| {
        Box::pin(async move {
            let fails = iteration.number % 10 == 0;
            let message = Outgoing {
                subject: if fails { "svc.broken" } else { "svc.echo" }.to_owned(),
                payload: iteration.number.to_string().into(),
                ..Outgoing::default()
            };
            let reply = primitives.bus.request(message, Some(ms(if fails { 50 } else { 20_000 })));
            match reply.await {
                Ok(Ok(reply)) if reply.payload == iteration.number.to_string() => Ok(()),
                Ok(Err(failure)) if fails && failure.kind == "timeout" => Ok(()),
                other => Err(threw(&format!("{other:?}"))),
            }
        })
    });
    let services = [("svc.echo", "echo"), ("svc.broken", "broken")]
        .map(|(subject, handler)| (subject.to_owned(), handler.to_owned()));
    let plan = Plan { services: BTreeMap::from(services), ..plan(vec![scenario("s", executor)]) };
    let ran = run_on(Clock::real(), plan, &native, StopSignal::new()).await;
    ran.check_identity();
    assert_eq!(ran.scenario(0).errors, 0, "{:?}", ran.outcome.facts.errors);
    let handled =
        ran.trend(Builtin::ServiceHandleDuration, &[("op", "echo"), ("target", "service")]);
    assert_eq!(handled.values.len(), 90);
    let failed = &ran.outcome.facts.errors;
    assert_eq!((failed[0].scenario.as_str(), failed[0].count), ("service", 10));
    assert_eq!(ran.outcome.facts.causes, []);
}

#[tokio::test]
async fn what_a_service_does_is_not_the_load() {
    let executor =
        Executor::SharedIterations { vus: 2, iterations: 100, max_duration: 60 * SECOND };
    let asking = |primitives: Primitives| async move {
        let message = Outgoing { subject: "svc.busy".to_owned(), ..Outgoing::default() };
        let reply = primitives.bus.request(message, Some(20 * SECOND)).await;
        reply.map_err(|misuse| threw(&misuse.0))?.map_err(|failure| threw(&failure.message))
    };
    // Setup asks too: that is not the load either.
    let setup: Arc<Hook> = Arc::new(move |primitives| {
        Box::pin(async move { asking(primitives).await.map(|_| Json::Null) })
    });
    let native = Native::new(move |primitives, _| {
        Box::pin(async move { asking(primitives).await.map(drop) })
    })
    .setup(setup);
    let services = [("svc.busy".to_owned(), "busy".to_owned())];
    let plan = Plan { services: BTreeMap::from(services), ..plan(vec![scenario("s", executor)]) };
    let ran = run_on(Clock::real(), plan, &native, StopSignal::new()).await;
    ran.check_identity();
    assert_eq!(ran.scenario(0).errors, 0, "{:?}", ran.outcome.facts.errors);
    let sum = |metric: Builtin, selector: &[(&str, &str)]| match ran.select(metric, selector) {
        Cell::Counter(sum) => sum,
        Cell::Rate(rate) => rate.total as f64,
        cell => cell.samples() as f64,
    };
    let service = [("phase", "service"), ("target", "service")];
    for metric in [Builtin::BusPublished, Builtin::BusPublishDuration, Builtin::Checks] {
        assert_eq!((sum(metric, &[]), sum(metric, &service)), (0.0, 101.0), "{metric:?}");
    }
    assert_eq!(sum(Builtin::BusRequests, &[]), 100.0);
    let setup = [("phase", "setup")];
    let handled = Builtin::ServiceHandled;
    assert_eq!((sum(handled, &[]), sum(handled, &setup)), (100.0, 1.0));
    // Each handler used two milliseconds, and the thread did little besides.
    let cpu = |selector: &[(&str, &str)]| sum(Builtin::ServiceCpuSeconds, selector);
    let (busy, all) = (cpu(&[("op", "busy")]), cpu(&[]));
    assert!((0.2..0.3).contains(&busy), "{busy} s");
    assert!(busy < all && all < busy + 0.2, "{all} s in all, {busy} s of the operation");
}
