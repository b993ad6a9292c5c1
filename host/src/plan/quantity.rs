//! Durations and sizes as they are written: `"500ms"`, `"1m30s"`, `"64MiB"`.
//!
//! One parser each, for options, flags, limits and thresholds alike. A bare number is refused where a
//! unit is due: k6 takes it for milliseconds, others for seconds, and a wrong guess is a wrong run.

use std::time::Duration;

use crate::diagnostic::Diagnostic;

/// The longest duration that a plan may hold.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

const TIME_UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
];

const BYTE_UNITS: [(&str, f64); 9] = [
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

/// Nanoseconds of a unit of time.
pub(super) fn time_unit(name: &str) -> Option<f64> {
    TIME_UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, nanos)| *nanos)
}

/// Bytes of a unit of size.
pub(super) fn byte_unit(name: &str) -> Option<f64> {
    BYTE_UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, bytes)| *bytes)
}

/// A number as people write it: `5`, `2.5`, `.5`, `10_000`, `1e6`.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text.replace('_', "");
    let starts = plain.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !starts || text.starts_with('_') || text.ends_with('_') {
        return None;
    }
    plain.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Parses `"500ms"`, `"1m30s"`, `"1.5s"`, `"100us"`, `"2h"`, `"1d"`, and `"0"`.
pub fn parse_duration(text: &str) -> Result<Duration, Diagnostic> {
    let wrong = |why: &str| {
        Diagnostic::new(format!("`{}` is not a duration: {why}", shown(text)))
            .help(
                "write a number and a unit (ns, us, ms, s, m, h, d), as in \"500ms\" or \"1m30s\"",
            )
            .at("duration", text, 0..text.len())
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("it is empty"));
    }
    if number(rest).is_some_and(|value| value == 0.0) {
        return Ok(Duration::ZERO);
    }
    if rest.starts_with('-') {
        return Err(wrong("it is negative"));
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
        let Some(digits) = digits else { return Err(wrong("it has no unit")) };
        let Some(value) = number(&rest[..digits]) else {
            return Err(wrong("a number is missing before the unit"));
        };
        let after = &rest[digits..];
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace())
            .unwrap_or(after.len());
        let Some(unit) = time_unit(&after[..letters]) else {
            return Err(wrong(&format!("`{}` is not a unit of time", shown(&after[..letters]))));
        };
        nanos += value * unit;
        rest = after[letters..].trim_start();
    }
    if nanos > LONGEST.as_nanos() as f64 {
        return Err(wrong("it is longer than 366 days"));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Parses a size in bytes: `"64MiB"`, `"1.5 GB"`, `"4096"`.
pub fn parse_bytes(text: &str) -> Result<u64, Diagnostic> {
    let wrong = || {
        Diagnostic::new(format!("`{}` is not a size", shown(text)))
            .help("write bytes, or a number and a unit (B, KB, MB, GB, KiB, MiB, GiB), as in \"64MiB\"")
            .at("size", text, 0..text.len())
    };
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(trimmed.len());
    let value = number(&trimmed[..digits]).ok_or_else(wrong)?;
    let unit = match trimmed[digits..].trim() {
        "" => 1.0,
        unit => byte_unit(unit).ok_or_else(wrong)?,
    };
    let bytes = value * unit;
    if bytes > 9e15 || bytes.fract() != 0.0 {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// A duration as [`parse_duration`] reads it, in its largest fitting unit.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let units = [("h", 3_600e9), ("m", 60e9), ("s", 1e9), ("ms", 1e6), ("us", 1e3)];
    for (unit, size) in units {
        let value = nanos / size;
        if value >= 1.0 && (value * 1e3).fract() == 0.0 {
            return format!("{value}{unit}");
        }
    }
    if duration.is_zero() { "0s".to_owned() } else { format!("{nanos}ns") }
}

/// A user's text within a message, cut so that a hostile one cannot fill the screen.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, nanos) in [
            ("500ms", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("2h", 7_200_000_000_000),
            ("1h 15m", 4_500_000_000_000),
            ("7ns", 7),
            ("0", 0),
            ("0s", 0),
            (" .5s ", 500_000_000),
            ("1_000ms", 1_000_000_000),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("10", "no unit"),
            ("-1s", "negative"),
            ("1x", "`x` is not a unit"),
            ("s", "number is missing"),
            ("1s2", "no unit"),
            ("1..5s", "number is missing"),
            ("1e9s", "`e` is not a unit"),
            ("infs", "number is missing"),
            ("999999999999h", "366 days"),
            ("１s", "number is missing"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.message.contains(reason), "{text}: {}", error.message);
            assert!(error.help.is_some());
        }
        let long = parse_duration(&"x".repeat(1_000_000)).unwrap_err();
        assert!(long.message.len() < 1_000);
    }

    #[test]
    fn sizes_are_read_exactly_or_refused() {
        for (text, bytes) in
            [("4096", 4096), ("64MiB", 64 << 20), ("1.5 GB", 1_500_000_000), ("0B", 0)]
        {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MB", "-1", "1 XB", "1.5", "1e30", "99999999TB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["1.5s", "500ms", "1.5m", "2h", "100us", "7ns", "0s", "10s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
