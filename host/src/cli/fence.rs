//! Around everything that is printed in a workflow of GitHub, so that of all lines only the tool's own
//! annotations are obeyed there.
//!
//! It is raised before anything is read that somebody else wrote, and taken down when nothing is left to say,
//! an error's message included. Its token is made anew each time, and nothing that runs gets to see it.

use super::{
    args::{Action, Command},
    print::out,
};
use crate::report::github;

/// A fence that stands; dropped, it is taken down.
#[derive(Debug)]
pub struct Fence {
    token: String,
}

impl Fence {
    /// Raises one around a command that is told to GitHub, and tells the command.
    pub fn around(command: &mut Command) -> Option<Self> {
        let reports = match &mut command.action {
            Action::Run(args) => &mut args.reports,
            Action::Report(args) => &mut args.files,
            _ => return None,
        };
        if !reports.has_annotations() {
            return None;
        }
        let token = format!("wavetank-{:032x}", rand::random::<u128>());
        out(&github::stopped(&token));
        reports.fence = Some(token.clone());
        Some(Self { token })
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        out(&github::resumed(&self.token));
    }
}
