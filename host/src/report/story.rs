//! What a report is made of: the summary, and of each workload what happened when.
//!
//! The summary alone makes every page; without chapters there are no charts and no rows by interval.

pub use crate::run::Chapter;
use crate::run::summary::Summary;

/// A run, to be told.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it came to.
    pub summary: Summary,
    /// Each workload, in the order in which they ran; a run of one has one.
    pub chapters: Vec<Chapter>,
}

impl Story {
    /// The chapter that a threshold belongs to, by its place in the summary.
    pub fn chapter_of(&self, threshold: usize) -> Option<&Chapter> {
        let mut end = 0;
        self.chapters.iter().find(|chapter| {
            end += chapter.thresholds;
            threshold < end
        })
    }

    /// What a chapter is called on a page: its rows, and its name.
    pub fn title(chapter: &Chapter) -> String {
        if chapter.rows.is_empty() {
            chapter.name.clone()
        } else {
            format!("{} · {}", chapter.rows.join(" "), chapter.name)
        }
    }
}
