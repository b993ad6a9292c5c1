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
