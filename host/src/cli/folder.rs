//! The run's id and its folder.

use std::path::{Path, PathBuf};

use super::Failed;
use crate::{diagnostic::Diagnostic, verdict::Cause};

/// An id that is a file name, a subject token and an SQL identifier at once:
/// `20261121_065837_quickstart_3fa2`.
pub fn run_id(name: &str, started: jiff::Timestamp) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(24)
        .collect();
    let time = started.strftime("%Y%m%d_%H%M%S");
    // Two runs of one second differ in their process.
    let salt = started.subsec_nanosecond().unsigned_abs() ^ std::process::id();
    format!("{time}_{name}_{:04x}", salt & 0xffff)
}

/// Makes the run's folder.
pub fn make(out: Option<&Path>, id: &str) -> Result<PathBuf, Failed> {
    let folder = out.map_or_else(|| Path::new("wavetank-runs").join(id), Path::to_path_buf);
    std::fs::create_dir_all(&folder).map_err(|error| {
        Failed::new(
            Cause::NotWritten,
            Diagnostic::new(format!("the run's folder `{}`: {error}", folder.display()))
                .help("name a folder that can be written with --out DIR"),
        )
    })?;
    Ok(folder)
}

/// Writes a file whole, or not at all: beside it first, then renamed.
pub fn write(path: &Path, content: &str) -> Result<(), Failed> {
    let beside = path.with_extension("partial");
    std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path)).map_err(
        |error| {
            // Half a file is none, and its bytes may be what is missing.
            let _ = std::fs::remove_file(&beside);
            Failed::new(
                Cause::NotWritten,
                Diagnostic::new(format!("`{}` could not be written: {error}", path.display()))
                    .help("free some space, or name another place"),
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_name_everywhere() {
        let id = run_id("Nasty; name/../x", jiff::Timestamp::UNIX_EPOCH);
        assert!(id.starts_with("19700101_000000_nasty__name____x_"), "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    }
}
