//! What a target writes: its last lines, in little memory, and whether a line that was waited for came.
//!
//! Hostile: a line may have a gigabyte and no end, and hold anything. Bytes that are no text and control
//! characters are replaced when a line is kept, so that whoever prints it does no harm.

use std::{
    collections::VecDeque,
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Lines that are kept.
const LINES: usize = 40;
/// Bytes of a line that are kept and searched.
const LINE: usize = 4 << 10;
/// Lines that an error shows.
const SHOWN: usize = 10;

/// What a target has written.
#[derive(Clone, Debug)]
pub(super) struct Output(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<VecDeque<String>>,
    /// Which of the wanted lines have come.
    seen: watch::Sender<Vec<bool>>,
    wanted: Vec<String>,
}

impl Output {
    /// Nothing yet; `wanted` are parts of lines that are waited for.
    pub(super) fn new(wanted: Vec<String>) -> Self {
        let seen = watch::channel(vec![false; wanted.len()]).0;
        Self(Arc::new(Shared { lines: Mutex::default(), seen, wanted }))
    }

    /// Which of the wanted lines have come.
    pub(super) fn seen(&self) -> watch::Receiver<Vec<bool>> {
        self.0.seen.subscribe()
    }

    /// The last lines.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let lines = self.lines();
        lines.iter().skip(lines.len().saturating_sub(SHOWN)).cloned().collect()
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a stream to its end.
    pub(super) fn pump(&self, mut stream: impl Read) {
        let (mut line, mut bytes) = (Line::default(), vec![0; 16 << 10]);
        loop {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(length) => line.take(&bytes[..length], &mut |line| self.keep(line)),
            }
        }
        line.end(&mut |line| self.keep(line));
    }

    fn keep(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let wanted = self.0.wanted.iter().map(|wanted| text.contains(wanted));
        let came: Vec<bool> = wanted.collect();
        if came.contains(&true) {
            self.0.seen.send_modify(|seen| {
                for (seen, came) in seen.iter_mut().zip(&came) {
                    *seen |= came;
                }
            });
        }
        let harmless = |c: char| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        let text: String = text.trim_end().chars().map(harmless).collect();
        let mut lines = self.lines();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Line {
    start: Vec<u8>,
    cut: bool,
    any: bool,
}

impl Line {
    fn take(&mut self, mut bytes: &[u8], keep: &mut impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end]);
            self.any = true;
            self.end(keep);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cut |= bytes.len() > room;
        self.any |= !bytes.is_empty();
    }

    fn end(&mut self, keep: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.any) {
            if std::mem::take(&mut self.cut) {
                self.start.extend_from_slice("…".as_bytes());
            }
            keep(&self.start);
        }
        self.start.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_whatever_they_are() {
        let output = Output::new(vec!["ready to serve".to_owned(), "never".to_owned()]);
        let mut text = vec![b'x'; 5 << 20];
        text.extend_from_slice(b"\n\x1b[31mred\0\xff\nis ready to serve\n\n");
        for index in 0..LINES {
            text.extend_from_slice(format!("line {index}\n").as_bytes());
        }
        text.extend_from_slice(b"no end");
        output.pump(text.as_slice());
        assert_eq!(*output.seen().borrow(), [true, false]);
        let lines = output.last_lines();
        assert_eq!(lines.len(), SHOWN);
        assert_eq!(lines.last().unwrap(), "no end");
        assert_eq!(output.lines().len(), LINES);
    }

    #[test]
    fn a_long_line_is_cut_and_a_binary_one_made_harmless() {
        let output = Output::new(Vec::new());
        let mut text = vec![b'x'; 1 << 20];
        text.extend_from_slice(b"\n\x1b[31mred\0\xff\n");
        output.pump(text.as_slice());
        let lines = output.last_lines();
        assert!(lines[0].ends_with("x…") && lines[0].len() < LINE + 8, "{}", lines[0].len());
        assert_eq!(lines[1], "\u{fffd}[31mred\u{fffd}\u{fffd}");
    }
}
