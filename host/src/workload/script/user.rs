//! A virtual user that runs a script.
//!
//! Its state is one map, which is `this` in `init`, the iteration functions and `teardown`. It lives
//! as long as the virtual user: an iteration that throws, or is cut off, leaves it as it was at that
//! moment, because the script's frames are unwound by returning. Only a panic inside the interpreter
//! (a bug) loses it; then it is made anew and `init` runs again before the next iteration.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use rhai::{Dynamic, EvalAltResult, FnPtr, Map, NativeCallContext, Position};
use serde_json::Value as Json;

use super::{
    ShardProgram, convert, fault,
    fibre::{self, Fibre},
    session::Session,
    surface::{Context, Received},
};
use crate::{
    metric::Builtin,
    primitive::{Misuse, bus::Message},
    workload::{
        GuestError, GuestErrorKind, Iteration, Targets, VirtualUser, VirtualUserInput,
        slice::Allowance,
    },
};

/// What a call may use of its shard.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Guest CPU time after which it is cut off.
    pub allowance: Allowance,
    /// Whether a hog has to rest: yes where others share the shard.
    pub rests: bool,
}

/// A function of a script, ready to be called.
#[derive(Debug)]
pub struct Entry {
    /// Linked to its definition.
    pub function: FnPtr,
    /// Whether it takes its one argument, or none.
    pub takes_one: bool,
}

/// A virtual user.
pub struct User {
    program: Rc<ShardProgram>,
    session: Rc<Session>,
    /// `ctx`
    context: Dynamic,
    /// The function of the last iteration.
    entry: Option<(Rc<str>, Rc<Entry>)>,
    is_initialised: bool,
}

impl User {
    pub fn new(program: &Rc<ShardProgram>, input: VirtualUserInput) -> Self {
        let data = program.data(&input.data);
        let targets = Targets::new(input.targets, Arc::clone(&program.grants));
        let current = program.current.clone();
        let session = Rc::new(Session::new(input.primitives, targets, current, input.seed, data));
        let context = Dynamic::from(Context(session.clone()));
        session.state.replace(Some(fresh()));
        let program = program.clone();
        Self { program, session, context, entry: None, is_initialised: false }
    }

    /// Calls a function of the script on a fibre. `keep` takes there what is wanted of the returned
    /// value: a value may be so deep that only a fibre's stack is fit to drop it.
    async fn call<T: 'static>(
        &self,
        entry: Rc<Entry>,
        argument: Dynamic,
        budget: Budget,
        keep: fn(&Dynamic, usize) -> Result<T, Misuse>,
    ) -> Result<T, GuestError> {
        self.session.begin_call(budget);
        let (program, session) = (self.program.clone(), self.session.clone());
        let work = move || {
            let mut state = session.state.take().unwrap_or_else(fresh);
            session.enter_guest();
            let run = AssertUnwindSafe(|| program.call(&entry, &mut state, argument));
            let Ok(result) = catch_unwind(run) else {
                return Err(GuestError {
                    kind: GuestErrorKind::Trapped,
                    message: "the interpreter panicked: a bug, please report the script".to_owned(),
                    place: None,
                });
            };
            session.state.replace(Some(state));
            let limit = session.primitives.scope.limits().payload_bytes;
            let result = result.map_err(|error| {
                fault::guest_error(&error, session.ended.get(), &program.origin, &program.root)
            });
            result.and_then(|value| {
                keep(&value, limit).map_err(|error| GuestError {
                    kind: GuestErrorKind::Misuse,
                    message: format!("what the function returned: {error}"),
                    place: None,
                })
            })
        };
        let fibre =
            Fibre::new(&self.program.stacks, &self.session.switch, self.session.clone(), work);
        let fibre = fibre.map_err(|error| GuestError {
            kind: GuestErrorKind::Limit,
            message: format!("no stack for a virtual user: {error}; use fewer VUs"),
            place: None,
        })?;
        let result = fibre.await;
        self.session.leave_guest();
        self.session.settle(result.as_ref().is_err_and(GuestError::is_end)).await;
        result
    }

    /// Calls a lifecycle function if the script has it.
    async fn lifecycle<T: Default + 'static>(
        &self,
        name: &str,
        keep: fn(&Dynamic, usize) -> Result<T, Misuse>,
    ) -> Result<T, GuestError> {
        match self.program.entry(name)? {
            Some(entry) => {
                let time = self.session.primitives.scope.limits().lifecycle_cpu;
                let budget = Budget { allowance: Allowance::Lifecycle(time), rests: false };
                self.call(entry, self.context.clone(), budget, keep).await
            }
            None => Ok(T::default()),
        }
    }

    /// An iteration's function.
    fn iteration_entry(&mut self, exec: &Rc<str>) -> Result<Rc<Entry>, GuestError> {
        if let Some((name, entry)) = &self.entry
            && Rc::ptr_eq(name, exec)
        {
            return Ok(entry.clone());
        }
        let entry = self.program.entry(exec)?.ok_or_else(|| GuestError {
            kind: GuestErrorKind::Misuse,
            message: format!("the script has no function `{exec}(ctx)`"),
            place: None,
        })?;
        self.entry = Some((exec.clone(), entry.clone()));
        Ok(entry)
    }

    fn enter(&self, iteration: &Iteration) {
        let session = &self.session;
        session.iteration.set(iteration.number);
        session.scenario.replace(iteration.scenario.clone());
        session.stage.replace(iteration.stage.clone());
        session.env.replace(iteration.env.clone());
    }

    async fn run(&mut self, iteration: &Iteration) -> Result<(), GuestError> {
        let entry = self.iteration_entry(&iteration.exec)?;
        self.enter(iteration);
        if self.is_initialised && self.is_lost() {
            self.lifecycle("init", nothing).await?;
        }
        let allowance = Allowance::Iteration(iteration.cpu_timeout);
        let budget = Budget { allowance, rests: true };
        let result = self.call(entry, self.context.clone(), budget, nothing).await;
        let scope = &self.session.primitives.scope;
        let ran = self.session.ran().as_nanos() as u64;
        scope.recorder().trend(Builtin::GuestCpuTime.id(), scope.tags(), scope.origin(), ran);
        result
    }

    /// Whether the state was lost in a panic.
    fn is_lost(&self) -> bool {
        self.session.state.borrow().is_none()
    }

    async fn answer(
        &mut self,
        handler: &str,
        message: Message,
    ) -> Result<Option<Bytes>, GuestError> {
        let Some(entry) = self.program.entry(handler)? else {
            return Err(GuestError {
                kind: GuestErrorKind::Misuse,
                message: format!("the script has no function `{handler}(message)`"),
                place: None,
            });
        };
        if self.is_initialised && self.is_lost() {
            self.lifecycle("init", nothing).await?;
        }
        let argument = Dynamic::from(Received::message(message));
        let time = self.session.primitives.scope.limits().handler_cpu;
        let budget = Budget { allowance: Allowance::Handler(time), rests: true };
        self.call(entry, argument, budget, |value, limit| {
            if value.is_unit() { Ok(None) } else { convert::payload(value, limit).map(Some) }
        })
        .await
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut state = self.session.state.take();
        // Where there is no stack to be had, the state is dropped here all the same.
        let _ = fibre::on_roomy_stack(|| drop(state.take()));
    }
}

/// What is kept of a value that nobody wants.
#[expect(clippy::unnecessary_wraps, reason = "one of the ways to keep a value")]
fn nothing(_: &Dynamic, _: usize) -> Result<(), Misuse> {
    Ok(())
}

/// An empty state.
fn fresh() -> Dynamic {
    Dynamic::from_map(Map::new())
}

impl ShardProgram {
    /// Calls a function with a state as `this`. On a fibre.
    fn call(
        &self,
        entry: &Entry,
        state: &mut Dynamic,
        argument: Dynamic,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut global = self.engine.new_global_runtime_state();
        // What a function pointer is linked to is looked up in the first library.
        global.lib.push(self.module.clone());
        let context = NativeCallContext::new_with_all_fields(
            &self.engine,
            entry.function.fn_name(),
            None,
            &global,
            Position::NONE,
        );
        if entry.takes_one {
            entry.function.call_raw(&context, Some(state), [argument])
        } else {
            entry.function.call_raw(&context, Some(state), [])
        }
    }
}

impl VirtualUser for User {
    fn setup(&mut self) -> LocalBoxFuture<'_, Result<Json, GuestError>> {
        Box::pin(self.lifecycle("setup", |value, _| convert::to_json(value)))
    }

    fn init(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        Box::pin(async {
            self.lifecycle("init", nothing).await?;
            self.is_initialised = true;
            Ok(())
        })
    }

    fn iterate<'a>(
        &'a mut self,
        iteration: &'a Iteration,
    ) -> LocalBoxFuture<'a, Result<(), GuestError>> {
        Box::pin(self.run(iteration))
    }

    fn teardown(&mut self) -> LocalBoxFuture<'_, Result<(), GuestError>> {
        Box::pin(async { self.lifecycle("teardown", nothing).await })
    }

    fn handle<'a>(
        &'a mut self,
        handler: &'a str,
        message: Message,
    ) -> LocalBoxFuture<'a, Result<Option<Bytes>, GuestError>> {
        Box::pin(self.answer(handler, message))
    }
}
