//! What is typed to compare runs: `compare`, `ab`, `runs trend`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ColorMode;
use crate::plan::threshold::FigureName;

/// `wavetank compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// What is compared with: runs' folders or ids, summaries' files, or `latest:TAG`
    #[arg(value_name = "BASE", required = true)]
    pub base: Vec<String>,
    /// What is judged, named likewise
    #[arg(long = "with", value_name = "NEW", required = true, num_args = 1..)]
    pub new: Vec<String>,
    #[command(flatten)]
    pub terms: TermsArgs,
}

/// How things are compared.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// Compares this figure, written as in a threshold: `bus_request_duration.p(99){op:stats}`; repeat for
    /// more (default: what thresholds limit, rate of iterations, p99 of requests, CPU per request)
    #[arg(long = "metric", value_name = "METRIC.FIGURE", value_parser = figure)]
    pub metrics: Vec<FigureName>,
    /// A change for the worse beyond this is a regression
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = part)]
    pub tolerance: f64,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    pub format: ComparisonFormat,
    /// Whether it is coloured
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorMode,
    /// Allows what is refused by default: `other-machine`
    #[arg(long = "allow", value_name = "CAPABILITY")]
    pub allow: Vec<String>,
}

/// `wavetank ab`
#[derive(Debug, Args)]
pub struct AbArgs {
    /// A workload or a suite; it may be the same as NEW, if something else differs
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// A workload or a suite
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Pairs of runs; 8 are enough for six metrics
    #[arg(long, value_name = "N", default_value_t = crate::verdict::comparison::PAIRS as u32,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pairs: u32,
    /// The seed of the first pair; each pair has the next one, both of its runs the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Runs BASE with this wavetank (default: this one)
    #[arg(long, value_name = "PATH")]
    pub base_binary: Option<PathBuf>,
    /// Runs NEW with this wavetank (default: this one)
    #[arg(long, value_name = "PATH")]
    pub new_binary: Option<PathBuf>,
    /// Declares a target in the runs of BASE, as `wavetank run --target` does; repeat for more
    #[arg(long = "base-target", value_name = "NAME=COMMAND")]
    pub base_targets: Vec<String>,
    /// Declares a target in the runs of NEW; repeat for more
    #[arg(long = "new-target", value_name = "NAME=COMMAND")]
    pub new_targets: Vec<String>,
    /// Where the runs' folders are made (default: `wavetank-runs/<time>-ab`)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Flags of `wavetank run` for all of the runs, behind `--`
    #[arg(last = true, value_name = "RUN FLAGS")]
    pub flags: Vec<String>,
}

/// `wavetank runs trend`
#[derive(Debug, Args)]
pub struct TrendArgs {
    /// The figure, written as in a threshold: `bus_request_duration.p(99){op:stats}`
    #[arg(value_name = "METRIC.FIGURE", value_parser = figure)]
    pub metric: FigureName,
    /// Only runs of this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only runs with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    pub format: ComparisonFormat,
}

/// `--format` of comparisons
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ComparisonFormat {
    /// For people
    Terminal,
    /// For a pull request
    Markdown,
    /// One JSON object
    Json,
}

fn figure(text: &str) -> Result<FigureName, String> {
    FigureName::parse(text).map_err(|error| match error.help {
        Some(help) => format!("{}; {help}", error.message),
        None => error.message,
    })
}

/// A part of something, as `10%` or `0.1`: above 0 and at most 1 000 %.
pub(super) fn part(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    let part = number.parse::<f64>().map(|number| number / scale);
    part.ok().filter(|part| *part > 0.0 && *part <= 10.0).ok_or_else(|| {
        format!("`{text}` is no part above 0 and up to 1000%, such as `10%` or `0.1`")
    })
}
