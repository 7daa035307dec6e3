//! Numbers as people read them: three significant digits and the unit.

/// Writes a time given in nanoseconds: `873 ns`, `24.3 µs`, `1.07 ms`, `2.50 s`.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        x if x < 999.5 => (ns, "ns"),
        x if x < 999.5e3 => (ns / 1e3, "µs"),
        x if x < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// Writes a rate per second: `950/s`, `12.4 k/s`, `1.20 M/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", count(per_second))
}

/// Writes a count: `950`, `12.4 k`, `1.20 M`.
pub fn count(value: f64) -> String {
    match value.abs() {
        x if x < 999.5 => three_digits(value),
        x if x < 999.5e3 => format!("{} k", three_digits(value / 1e3)),
        x if x < 999.5e6 => format!("{} M", three_digits(value / 1e6)),
        _ => format!("{} G", three_digits(value / 1e9)),
    }
}

/// Writes a whole number of seconds as `48 s` or `2 min 31 s`.
pub fn seconds(seconds: f64) -> String {
    // A duration of a run: far below 2^53 and never negative.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, bounded by a run's length"
    )]
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 60, whole % 60) {
        (0, s) => format!("{s} s"),
        (m, s) => format!("{m} min {s:02} s"),
    }
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    if value.fract() == 0.0 && decimals == 2 {
        format!("{value:.0}")
    } else {
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_every_size() {
        assert_eq!(time(873.0), "873 ns");
        assert_eq!(time(24_310.0), "24.3 µs");
        assert_eq!(time(999_700.0), "1.00 ms");
        assert_eq!(time(2.5e9), "2.50 s");
        assert_eq!(rate(12_400.0), "12.4 k/s");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(1.2e6), "1.20 M");
        assert_eq!(seconds(151.2), "2 min 31 s");
    }
}
