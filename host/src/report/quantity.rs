//! Numbers in a unit that fits: three digits that matter, and no more zeroes than it takes.

/// A number in its unit, as people write it.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ns" => scaled(value, &TIMES),
        "ns/s" => format!("{}/s", scaled(value, &TIMES)),
        "s" => scaled(value * 1e9, &TIMES),
        "s/s" => format!("{}/s", scaled(value * 1e9, &TIMES)),
        "B" => scaled(value, &BYTES),
        "B/s" => format!("{}/s", scaled(value, &BYTES)),
        "" => digits(value),
        "/s" => format!("{}/s", digits(value)),
        unit => format!("{} {unit}", digits(value)),
    }
}

/// The same of what may not be known: a dash.
pub fn known(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| quantity(value, unit))
}

/// How many there were per second; nothing is known of no time.
pub fn per_second(count: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| count as f64 / seconds)
}

/// A time in nanoseconds.
pub fn time(nanos: f64) -> String {
    scaled(nanos, &TIMES)
}

/// A share as a percentage, two digits after the point: 99.99 % is not 100 %.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    // A share that is not whole is never rounded to none or all.
    let shown = (percent * 100.0).round() / 100.0;
    if shown >= 100.0 && percent < 100.0 {
        return "99.99 %".to_owned();
    }
    if shown <= 0.0 && percent > 0.0 {
        return "0.01 %".to_owned();
    }
    format!("{shown:.2} %")
}

const TIMES: [(f64, &str); 6] =
    [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s"), (60e9, "min"), (3_600e9, "h")];

const BYTES: [(f64, &str); 5] = [(1.0, "B"), (1e3, "KB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")];

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // Minutes and hours only where seconds would be hard to read.
    let fits =
        |size: f64| if size >= 60e9 { value.abs() >= size * 10.0 } else { value.abs() >= size };
    let (size, unit) = units
        .iter()
        .rev()
        .find(|(size, unit)| {
            let minutes = matches!(*unit, "min" | "h");
            if minutes { fits(*size) } else { value.abs() >= *size * 0.9995 }
        })
        .or(units.first())
        .copied()
        .unwrap_or((1.0, ""));
    format!("{} {unit}", digits(value / size))
}

/// Three significant digits, whole numbers as they are.
pub fn digits(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude.fract() == 0.0 || magnitude >= 100.0 {
        return format!("{value:.0}");
    }
    // Rounded first: 0.9996 is 1.00, not 1.000.
    let exponent = magnitude.log10().floor();
    let step = 10_f64.powf(exponent - 2.0);
    let exponent = ((magnitude / step).round() * step).log10().floor();
    let decimals = (2.0 - exponent).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_a_unit_that_fits() {
        let shown = [
            (0.0, "ns", "0 ns"),
            (312.0, "ns", "312 ns"),
            (1_234.0, "ns", "1.23 µs"),
            (999_900.0, "ns", "1.00 ms"),
            (4_210_000.0, "ns", "4.21 ms"),
            (42_100_000.0, "ns", "42.1 ms"),
            (990_000_000.0, "ns", "990 ms"),
            (59e9, "ns", "59 s"),
            (540e9, "ns", "540 s"),
            (900e9, "ns", "15 min"),
            (0.25, "s", "250 ms"),
            (1_500.0, "B", "1.50 KB"),
            (34.0 * 1024.0 * 1024.0, "B", "35.7 MB"),
            (200.0, "/s", "200/s"),
            (2_000_000.0, "B/s", "2 MB/s"),
            (12.5, "%", "12.5 %"),
            (0.001_234, "", "0.00123"),
            (99.96, "", "100"),
            (0.1, "", "0.100"),
            (f64::NAN, "", "–"),
            (-4_210_000.0, "ns", "-4.21 ms"),
        ];
        for (value, unit, expected) in shown {
            assert_eq!(quantity(value, unit), expected, "{value} {unit}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(known(Some(1_234.0), "ns"), "1.23 µs");
        assert_eq!(known(None, "ns"), "–");
        assert_eq!(known(per_second(50, 10.0), "/s"), "5/s");
        assert_eq!(known(per_second(50, 0.0), "/s"), "–");
    }

    #[test]
    fn a_share_that_is_not_whole_is_not_shown_as_whole() {
        assert_eq!(share(1.0), "100.00 %");
        assert_eq!(share(0.999_999), "99.99 %");
        assert_eq!(share(0.0), "0.00 %");
        assert_eq!(share(0.000_001), "0.01 %");
        assert_eq!(share(0.5), "50.00 %");
    }
}
