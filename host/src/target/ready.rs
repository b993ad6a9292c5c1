//! Whether a target is ready: a request answered, a port that accepts, a line of its output, a command
//! that ends well. All of its conditions have to hold, each at least once.

use std::{process::Stdio, sync::Arc, time::Duration};

use super::{Probe, output::Output, process::Surroundings};
use crate::plan::{Ready, TargetPlan};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(2);

/// Waits until a target is ready; for ever, if it never is. An error if that cannot be found out.
pub(super) async fn wait(
    plan: &TargetPlan,
    surroundings: &Surroundings,
    probe: Option<&Arc<dyn Probe>>,
    output: &Output,
) -> Result<(), String> {
    let mut lines = 0;
    for ready in &plan.ready {
        match ready {
            Ready::Request { subject, payload } => {
                let probe = probe.ok_or("this run has no bus that could be asked")?;
                probe.answered(subject, payload).await?;
            }
            Ready::Port(port) => accepts(*port).await,
            Ready::Line(_) => {
                let index = lines;
                lines += 1;
                let came = |seen: &Vec<bool>| seen.get(index).copied().unwrap_or(false);
                if output.seen().wait_for(came).await.is_err() {
                    return Err("its output is not read".to_owned());
                }
            }
            Ready::Command(words) => succeeds(words, surroundings).await?,
        }
    }
    Ok(())
}

/// What a target is waited for, in words.
pub(super) fn words(plan: &TargetPlan) -> String {
    let one = |ready: &Ready| match ready {
        Ready::Request { subject, .. } => format!("an answer on `{subject}`"),
        Ready::Port(port) => format!("port {port} to accept"),
        Ready::Line(line) => format!("a line with `{line}`"),
        Ready::Command(words) => format!("`{}` to end well", words.join(" ")),
    };
    plan.ready.iter().map(one).collect::<Vec<_>>().join(" and ")
}

async fn accepts(port: u16) {
    loop {
        for host in ["127.0.0.1", "::1"] {
            let connecting = tokio::net::TcpStream::connect((host, port));
            if matches!(tokio::time::timeout(TRY, connecting).await, Ok(Ok(_))) {
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn succeeds(words: &[String], surroundings: &Surroundings) -> Result<(), String> {
    loop {
        let mut command = tokio::process::Command::from(surroundings.command(words));
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(TRY, command.status()).await;
        match ended {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Err(error)) => {
                let program = words.first().map_or("", String::as_str);
                return Err(format!("`{program}`, which says whether it is ready: {error}"));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
