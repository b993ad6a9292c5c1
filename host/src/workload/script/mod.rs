//! The script kind of workload.

use std::{path::Path, rc::Rc};

use super::{Description, GuestError, LoadError, LoadInput, VirtualUser, VirtualUserInput};
use crate::diagnostic::Diagnostic;

/// A loaded script; shared by all shards.
#[derive(Debug)]
pub struct Program {
    description: Description,
}

/// A script prepared for one shard's thread.
#[derive(Debug)]
pub struct ShardProgram;

impl Program {
    /// Reads, checks and describes it.
    pub fn load(path: &Path, input: &LoadInput) -> Result<Self, LoadError> {
        let _ = (path, input, Description::default());
        Err(Diagnostic::new("not built yet").into())
    }

    /// What it says of itself.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// Prepares it for the calling thread.
    pub fn on_shard(&self) -> Result<ShardProgram, LoadError> {
        Ok(ShardProgram)
    }
}

impl ShardProgram {
    /// A new virtual user.
    pub fn virtual_user(
        self: &Rc<Self>,
        input: VirtualUserInput,
    ) -> Result<Box<dyn VirtualUser>, GuestError> {
        let _ = input;
        Err(GuestError {
            kind: super::GuestErrorKind::Limit,
            message: "not built yet".to_owned(),
            place: None,
        })
    }
}
