//! The two streams. A reader that has gone away (a closed pipe) is no error of ours.

use std::io::Write;

/// A line on standard output: what was asked for.
pub fn out(text: &str) {
    let mut stream = anstream::AutoStream::auto(std::io::stdout()).lock();
    let _ = writeln!(stream, "{}", text.trim_end_matches('\n'));
}

/// A line on standard error: everything else.
pub fn say(text: &str) {
    let mut stream = anstream::AutoStream::auto(std::io::stderr()).lock();
    let _ = writeln!(stream, "{}", text.trim_end_matches('\n'));
}

/// A page on standard output, byte by byte as a file would have it.
pub fn page(text: &str) {
    let mut stream = std::io::stdout().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// A page on standard output whose colours were already decided.
pub fn paint(page: &str, color: bool) {
    let choice =
        if color { anstream::ColorChoice::AlwaysAnsi } else { anstream::ColorChoice::Never };
    let mut stream = anstream::AutoStream::new(std::io::stdout(), choice);
    let _ = writeln!(stream, "{}", page.trim_end_matches('\n'));
}
