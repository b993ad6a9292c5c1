//! What a plugin implements, and the macros that make a component of it.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{Result, bindings::workload::wavetank::workload::types, bus::Message};

/// What a workload or a service says of itself. Nothing of the world is at hand while it is asked.
#[derive(Clone, Debug)]
pub struct Description {
    name: String,
    version: String,
    options: Json,
    functions: Option<Vec<String>>,
    parameters: Vec<types::Parameter>,
}

impl Description {
    /// A description without options: one VU, one iteration.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            options: Json::Object(serde_json::Map::new()),
            functions: None,
            parameters: Vec::new(),
        }
    }

    /// The options: the same object that a script exports as `options`.
    #[must_use]
    pub fn options(mut self, options: Json) -> Self {
        self.options = options;
        self
    }

    /// The names that `exec` and `services` in the options may have. A workload that lists them is told
    /// of a misspelt one before it runs.
    #[must_use]
    pub fn functions(mut self, names: &[&str]) -> Self {
        self.functions = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// Adds a parameter: its name in `-p NAME=VALUE`, its default, what it means.
    #[must_use]
    pub fn parameter(mut self, name: &str, default: impl Into<Json>, doc: &str) -> Self {
        self.parameters.push(types::Parameter {
            name: name.to_owned(),
            default: default.into().to_string(),
            doc: doc.to_owned(),
        });
        self
    }

    #[doc(hidden)]
    pub fn into_wit(mut self) -> types::Description {
        if let (Some(names), Json::Object(options)) = (self.functions, &mut self.options) {
            options.insert("functions".to_owned(), names.into());
        }
        types::Description {
            name: self.name,
            version: self.version,
            options: self.options.to_string(),
            parameters: self.parameters,
        }
    }
}

/// What a call outside iterations is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The VU's number, from 1; 0 in `setup` and `teardown`.
    pub vu: u32,
    /// The seed of the run.
    pub seed: u64,
    /// What `setup` returned; null in `setup` itself and in services.
    pub data: Json,
    parameters: Json,
    secrets: Vec<(String, String)>,
}

impl Context {
    /// The value of a declared parameter in this run.
    ///
    /// ```no_run
    /// # use wavetank_sdk::{Context, Result};
    /// # fn init(context: &Context) -> Result {
    /// let players: i64 = context.parameter("players")?;
    /// # Ok(()) }
    /// ```
    pub fn parameter<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self
            .parameters
            .get(name)
            .ok_or_else(|| format!("parameter `{name}` is not declared in `describe`"))?;
        serde_json::from_value(value.clone())
            .map_err(|error| format!("parameter `{name}` is {value}: {error}").into())
    }

    /// A secret given with `--secret-env NAME=VAR`; in a suite, one that its grants name (`secrets`).
    ///
    /// ```no_run
    /// # use wavetank_sdk::{Context, Result};
    /// # fn init(context: &Context) -> Result {
    /// let token = context.secret("token").ok_or("run it with --secret-env token=TOKEN")?;
    /// # Ok(()) }
    /// ```
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[doc(hidden)]
    pub fn from_wit(context: types::Context) -> Self {
        Self {
            vu: context.vu,
            seed: context.seed,
            data: serde_json::from_str(&context.data).unwrap_or_default(),
            parameters: serde_json::from_str(&context.parameters).unwrap_or_default(),
            secrets: context.secrets,
        }
    }
}

/// One iteration: `vu`, `number`, `scenario`, `stage`, `exec`, `due`, `env`.
pub use types::Iteration;

/// What each virtual user does. One value per VU, kept between its iterations.
pub trait Workload: Sized + 'static {
    /// Name, options, parameters; must always say the same.
    fn describe() -> Description;

    /// Once per run, before all VUs; what it returns is `context.data` everywhere else.
    fn setup(_context: &Context) -> Result<Json> {
        Ok(Json::Null)
    }

    /// Once per VU, before its first iteration, and again after a panic.
    fn init(context: &Context) -> Result<Self>;

    /// One iteration. A workload with several functions looks at `iteration.exec`.
    fn iterate(&mut self, iteration: &Iteration) -> Result;

    /// Once per run, at the end.
    fn teardown(_context: &Context) -> Result {
        Ok(())
    }
}

/// What answers messages in place of a system, or is one.
///
/// ```
/// use wavetank_sdk::{bus::Message, json, Context, Description, Result, Service};
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn describe() -> Description {
///         Description::new("echo", "0.1.0").options(json!({"services": {"echo": "echo"}}))
///     }
///     fn start(_: &Context) -> Result<Self> {
///         Ok(Self)
///     }
///     fn handle(&mut self, _handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
///         Ok(Some(message.payload.clone()))
///     }
/// }
///
/// wavetank_sdk::service!(Echo);
/// # fn main() {}
/// ```
pub trait Service: Sized + 'static {
    /// Name, options (`services: {subject: handler}`), parameters; must always say the same.
    fn describe() -> Description;

    /// Once per instance, before its first message.
    fn start(context: &Context) -> Result<Self>;

    /// One message, by the handler that its subject names; the reply, if there is one.
    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>>;

    /// Once per instance, at the end.
    fn stop(&mut self) -> Result {
        Ok(())
    }
}

/// Makes a component of a [`Workload`].
#[macro_export]
macro_rules! workload {
    ($workload:ty) => {
        #[doc(hidden)]
        struct WavetankGuest;

        const _: () = {
            use $crate::bindings::workload as bindings;

            std::thread_local! {
                static VU: std::cell::RefCell<Option<$workload>> =
                    const { std::cell::RefCell::new(None) };
            }

            fn said(error: impl std::string::ToString) -> String {
                error.to_string()
            }

            impl bindings::Guest for WavetankGuest {
                fn describe() -> bindings::Description {
                    <$workload as $crate::Workload>::describe().into_wit()
                }

                fn setup(context: bindings::Context) -> Result<String, String> {
                    let context = $crate::Context::from_wit(context);
                    <$workload as $crate::Workload>::setup(&context)
                        .map(|data| data.to_string())
                        .map_err(said)
                }

                fn init(context: bindings::Context) -> Result<(), String> {
                    let context = $crate::Context::from_wit(context);
                    let vu = <$workload as $crate::Workload>::init(&context).map_err(said)?;
                    VU.set(Some(vu));
                    Ok(())
                }

                fn iterate(iteration: bindings::Iteration) -> Result<(), String> {
                    VU.with_borrow_mut(|vu| match vu {
                        Some(vu) => $crate::Workload::iterate(vu, &iteration).map_err(said),
                        None => Err("the host called `iterate` before `init`".to_owned()),
                    })
                }

                fn teardown(context: bindings::Context) -> Result<(), String> {
                    let context = $crate::Context::from_wit(context);
                    <$workload as $crate::Workload>::teardown(&context).map_err(said)
                }
            }
        };

        $crate::bindings::workload::export!(WavetankGuest with_types_in $crate::bindings::workload);
    };
}

/// Makes a component of a [`Service`].
#[macro_export]
macro_rules! service {
    ($service:ty) => {
        #[doc(hidden)]
        struct WavetankGuest;

        const _: () = {
            use $crate::bindings::service as bindings;

            std::thread_local! {
                static SERVICE: std::cell::RefCell<Option<$service>> =
                    const { std::cell::RefCell::new(None) };
            }

            fn said(error: impl std::string::ToString) -> String {
                error.to_string()
            }

            impl bindings::Guest for WavetankGuest {
                fn describe() -> bindings::Description {
                    <$service as $crate::Service>::describe().into_wit()
                }

                fn start(context: bindings::Context) -> Result<(), String> {
                    let context = $crate::Context::from_wit(context);
                    let service = <$service as $crate::Service>::start(&context).map_err(said)?;
                    SERVICE.set(Some(service));
                    Ok(())
                }

                fn handle(
                    handler: String,
                    message: bindings::Message,
                ) -> Result<Option<Vec<u8>>, String> {
                    SERVICE.with_borrow_mut(|service| match service {
                        Some(service) => {
                            $crate::Service::handle(service, &handler, &message).map_err(said)
                        }
                        None => Err("the host called `handle` before `start`".to_owned()),
                    })
                }

                fn stop(_context: bindings::Context) -> Result<(), String> {
                    SERVICE.with_borrow_mut(|service| match service {
                        Some(service) => $crate::Service::stop(service).map_err(said),
                        None => Ok(()),
                    })
                }
            }
        };

        $crate::bindings::service::export!(WavetankGuest with_types_in $crate::bindings::service);
    };
}
