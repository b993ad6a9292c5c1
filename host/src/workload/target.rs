//! Targets as a workload has them: those that were declared, as far as it was granted them.
//!
//! Asked of scripts and components alike: a script is trusted with bus and database, but what it stops
//! is everyone's.

use std::{sync::Arc, time::Duration};

use crate::{
    plan::Grants,
    primitive::{Failure, Measured, Misuse, Scope},
    target::{Order, Refused, Source},
};

/// What a virtual user may do with targets.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    source: Option<Source>,
    grants: Arc<Grants>,
}

impl Targets {
    /// The targets of a run, with what was granted of them.
    pub fn new(source: Option<Source>, grants: Arc<Grants>) -> Self {
        Self { source, grants }
    }

    /// Gives an order and waits until it is carried out; how long that took.
    pub async fn order(&self, scope: &Scope, name: &str, order: Order) -> Measured<Duration> {
        let call = || format!("target::{}(\"{}\")", order.name(), name.escape_debug());
        scope.host_call(call);
        let Some(source) = &self.source else {
            return Err(Misuse::new(format!(
                "{}: this run has no targets; they are declared by a suite file or with --target \
                 NAME=COMMAND",
                call()
            )));
        };
        let Some(target) = source.find(name) else {
            let known: Vec<&str> = source.names().collect();
            return Err(Misuse::new(format!(
                "{}: there is no such target; declared are {}",
                call(),
                known.join(", ")
            )));
        };
        if !self.grants.targets.iter().any(|granted| granted == "*" || granted == name) {
            return Err(Misuse::new(format!(
                "{}: this workload was not granted it: {}",
                call(),
                self.grants.line_to_add(
                    &format!("target={}", name.escape_debug()),
                    "targets",
                    &format!("[\"{}\"]", name.escape_debug())
                )
            )));
        }
        scope.about_to_wait();
        match source.order(target, order).await {
            Ok(took) => Ok(Ok(took)),
            Err(Refused::Misuse(message)) => Err(Misuse::new(message)),
            Err(Refused::Failed { kind, message }) => Ok(Err(Failure::new(kind, message))),
        }
    }
}
