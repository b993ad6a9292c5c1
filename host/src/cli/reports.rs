//! `--report FORMAT=PATH`: which files a run is told in, and writing them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Failed, folder, print::out};
use crate::{
    diagnostic::Diagnostic,
    report::{csv, github, html, json, junit, markdown, story::Story, terminal},
    verdict::Cause,
};

/// Files that a run is told in.
#[derive(Debug, Default, Args)]
#[command(group = clap::ArgGroup::new("told").multiple(true))]
pub struct FilesArgs {
    /// Writes the run as `html`, `markdown`, `csv`, `json`, `junit`, `terminal` or `github` (the job's summary; its
    /// annotations go to standard output) into a file; repeat for more
    #[arg(long = "report", value_name = "FORMAT=PATH", value_parser = report, group = "told")]
    pub reports: Vec<(Format, PathBuf)>,
    /// Makes the Markdown report short enough for a comment on a pull request
    #[arg(long, requires = "told")]
    pub brief: bool,
    /// The token of the fence behind which everything is printed.
    #[arg(skip)]
    pub fence: Option<String>,
}

/// How a run is told, in a file or on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One page with charts.
    Html,
    /// The performance report.
    Markdown,
    /// One row for each metric, set of tags and interval.
    Csv,
    /// The summary.
    Json,
    /// Test cases.
    Junit,
    /// The page that a run ends with.
    Terminal,
    /// What a workflow of GitHub shows.
    Github,
}

fn report(words: &str) -> Result<(Format, PathBuf), String> {
    let formats: Vec<_> = Format::value_variants()
        .iter()
        .filter_map(|it| Some(it.to_possible_value()?.get_name().to_owned()))
        .collect();
    let formats = formats.join(", ");
    let Some((format, path)) = words.split_once('=').filter(|(_, path)| !path.is_empty()) else {
        return Err(format!(
            "`{words}` is not of the form FORMAT=PATH (FORMAT is one of {formats})"
        ));
    };
    let format = Format::from_str(format, false)
        .map_err(|_| format!("there is no report `{format}`: it is one of {formats}"))?;
    Ok((format, PathBuf::from(path)))
}

impl FilesArgs {
    /// Refuses places that do not exist before anything is run: a run is dear, a folder is cheap.
    pub fn check(&self) -> Result<(), Failed> {
        for (_, path) in &self.reports {
            let folder =
                path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() || path.is_dir() {
                return Err(Failed::new(
                    Cause::NotWritten,
                    Diagnostic::new(format!("the report `{}` has no place", path.display()))
                        .help("name a file in a folder that exists"),
                ));
            }
        }
        Ok(())
    }

    /// Writes all of them; what could not be written is told at the end, the others are there.
    pub fn write(&self, story: &Story) -> Result<(), Failed> {
        let mut failed = None;
        for (format, path) in &self.reports {
            let written = folder::write(path, &self.render(*format, story));
            if *format == Format::Github {
                self.annotate(story);
            }
            failed = failed.or(written.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is printed of a format: of `github` the annotations, which are commands to whoever reads the log.
    pub fn printed(&self, format: Format, story: &Story) -> String {
        match format {
            Format::Github => github::annotations(story),
            format => self.render(format, story),
        }
    }

    /// Whether something is printed that a workflow of GitHub is to obey.
    pub fn has_annotations(&self) -> bool {
        self.reports.iter().any(|(format, _)| *format == Format::Github)
    }

    /// Prints the annotations, for which the fence is opened.
    fn annotate(&self, story: &Story) {
        if let Some(token) = &self.fence {
            out(&github::resumed(token));
        }
        out(github::annotations(story).trim_end());
        if let Some(token) = &self.fence {
            out(&github::stopped(token));
        }
    }

    fn render(&self, format: Format, story: &Story) -> String {
        match format {
            Format::Html => html::render(story),
            Format::Markdown if self.brief => markdown::brief(story),
            Format::Markdown => markdown::render(story),
            Format::Csv => csv::render(story),
            Format::Json => json::render(&story.summary),
            Format::Junit => junit::render(story),
            Format::Terminal => terminal::render(&story.summary, terminal::Options::default()),
            Format::Github => github::summary(story),
        }
    }
}
