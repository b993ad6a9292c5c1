//! A run's events on standard error: bars on a terminal, a line per interval elsewhere.
//!
//! Runs on a thread of its own behind a bounded queue: a terminal that is slow to write loses events,
//! the engine loses nothing.

use std::{io::IsTerminal, thread::JoinHandle, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    args::{ProgressMode, ScreenArgs},
    print::say,
};
use crate::{
    primitive::LogLine,
    report::printable::printable,
    run::event::{Event, Progress},
};

/// Events that may wait for the screen.
const QUEUE: usize = 1_024;
/// Characters of a line of a workload.
const LINE: usize = 4_096;
/// Where no terminal is, a line each five seconds: what is told of a second is not told at exactly its end.
const PLAIN_INTERVAL: Duration = Duration::from_millis(4_500);
/// Of a shorter time no rate is told: a few iterations in a few milliseconds are chance.
const SHORTEST_RATE: Duration = Duration::from_millis(500);

/// The screen of a run.
pub struct Screen {
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Starts showing events; the sender is for the run.
    pub fn start(args: &ScreenArgs) -> (Self, Sender<Event>) {
        let (sender, receiver) = channel(QUEUE);
        let terminal = std::io::stderr().is_terminal();
        let mode = match args.progress {
            _ if args.quiet => ProgressMode::None,
            ProgressMode::Auto if !terminal => ProgressMode::Plain,
            mode => mode,
        };
        let thread = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || show(receiver, mode))
            .ok();
        (Self { thread }, sender)
    }

    /// Waits until everything that was sent is shown; the run must have dropped its sender.
    pub fn finish(mut self) {
        if let Some(thread) = self.thread.take() {
            // A screen that panicked has nothing left to show.
            let _ = thread.join();
        }
    }
}

fn show(mut events: Receiver<Event>, mode: ProgressMode) {
    let mut screen = Bars::new(mode);
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Phase(phase) if mode != ProgressMode::None => screen.phase(phase),
            Event::Phase(_) => {}
            Event::Progress(progress) => screen.progress(&progress),
            Event::Log(line) => screen.line(&log_text(&line)),
            Event::Note(note) => screen.line(&format!("wavetank: {}", printable(&note, LINE))),
        }
    }
    screen.clear();
}

fn log_text(line: &LogLine) -> String {
    format!("[{}] vu {}: {}", line.level.name(), line.vu, printable(&line.text, LINE))
}

/// Iterations per second since the last line; since the start if that is too short a time.
fn rate(last: (Duration, u64), now: (Duration, u64)) -> f64 {
    let (from, before) =
        if now.0.saturating_sub(last.0) < SHORTEST_RATE { (Duration::ZERO, 0) } else { last };
    let seconds = now.0.saturating_sub(from).as_secs_f64();
    if seconds > 0.0 { now.1.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

/// One bar per scenario, or lines.
struct Bars {
    mode: ProgressMode,
    screen: MultiProgress,
    scenarios: Vec<ProgressBar>,
    /// When the last line was written, and the iterations that it told.
    last_line: Option<(Duration, u64)>,
}

impl Bars {
    fn new(mode: ProgressMode) -> Self {
        let bars = MultiProgress::with_draw_target(match mode {
            ProgressMode::Auto => ProgressDrawTarget::stderr_with_hz(4),
            ProgressMode::Plain | ProgressMode::None => ProgressDrawTarget::hidden(),
        });
        Self { mode, screen: bars, scenarios: Vec::new(), last_line: None }
    }

    fn phase(&mut self, phase: &str) {
        if self.mode == ProgressMode::Plain {
            self.line(&format!("wavetank: {phase}"));
        }
    }

    fn progress(&mut self, progress: &Progress) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Plain => self.plain(progress),
            ProgressMode::Auto => self.draw(progress),
        }
    }

    fn plain(&mut self, progress: &Progress) {
        let last = self.last_line.unwrap_or_default();
        let due = self.last_line.is_none() || progress.elapsed >= last.0 + PLAIN_INTERVAL;
        let ended = progress.elapsed >= progress.planned;
        let now = (progress.elapsed, progress.iterations);
        let news = now.1 > last.1 || now.0 >= last.0 + SHORTEST_RATE || self.last_line.is_none();
        if !(due || ended && news) {
            return;
        }
        self.last_line = Some(now);
        self.line(&format!(
            "{:>5.0}s/{:.0}s  {} iterations  {:.0}/s{}  {} errors",
            progress.elapsed.as_secs_f64(),
            progress.planned.as_secs_f64(),
            progress.iterations,
            rate(last, now),
            progress.p95.map_or_else(String::new, |p95| {
                format!("  p95 {}{p95:.1?}", if progress.p95_at_least { "≥" } else { "" })
            }),
            progress.errors,
        ));
    }

    fn draw(&mut self, progress: &Progress) {
        while self.scenarios.len() < progress.scenarios.len() {
            let style = ProgressStyle::with_template("{prefix:16!} [{bar:24}] {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = self.screen.add(ProgressBar::new(1_000).with_style(style));
            self.scenarios.push(bar);
        }
        for (bar, scenario) in self.scenarios.iter().zip(&progress.scenarios) {
            bar.set_prefix(scenario.name.clone());
            bar.set_position((scenario.share.clamp(0.0, 1.0) * 1_000.0) as u64);
            bar.set_message(format!(
                "{}/{} VUs  {} started{}{}",
                scenario.vus.0,
                scenario.vus.1,
                scenario.started,
                scenario.stage.as_deref().map_or_else(String::new, |stage| format!("  {stage}")),
                if scenario.backlog > 0 {
                    format!("  {} waiting", scenario.backlog)
                } else {
                    String::new()
                },
            ));
        }
    }

    fn line(&self, text: &str) {
        if self.mode == ProgressMode::Auto {
            self.screen.suspend(|| say(text));
        } else {
            say(text);
        }
    }

    fn clear(&self) {
        // Nothing depends on the bars being gone.
        let _ = self.screen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_of_a_time_that_is_long_enough_for_one() {
        let at = |millis, iterations| (Duration::from_millis(millis), iterations);
        assert_eq!(rate(at(0, 0), at(0, 0)), 0.0);
        assert_eq!(rate(at(0, 0), at(200, 10)), 50.0);
        assert_eq!(rate(at(1_000, 100), at(6_000, 1_100)), 200.0);
        // The run ended 3 ms after a line: not 1000 a second because of the 3 iterations in them.
        assert_eq!(rate(at(6_997, 697), at(7_000, 700)), 100.0);
    }
}
