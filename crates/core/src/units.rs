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

/// Writes a whole time as flags take it: `1h30m`, `90ms`, `0`.
pub fn flag_time(ms: u32) -> String {
    let parts = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut left = ms;
    let mut text = String::new();
    for (unit, unit_ms) in parts {
        if left >= unit_ms {
            text += &format!("{}{unit}", left / unit_ms);
            left %= unit_ms;
        }
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
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

/// Reads a time: numbers with `h`, `m`, `s` and `ms`, from the largest unit to the smallest and each once, as in `1h30m`; or a
/// number of seconds. Returns milliseconds; an error says what would be right.
pub fn parse_time_ms(text: &str) -> Result<u32, String> {
    let ms = time_ms(text)?;
    if !(0.0..=f64::from(MAX_MS)).contains(&ms) {
        return Err("is out of range: use 0 to 24h".to_owned());
    }
    // In range.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked"
    )]
    let whole = ms.round() as u32;
    Ok(whole)
}

/// As [`parse_time_ms`], without a limit.
pub fn time_ms(text: &str) -> Result<f64, String> {
    let error = || "write a time as in 30s, 1m30s, 2h or 500ms".to_owned();
    let (mut rest, mut ms, mut last) = (text.trim(), 0.0, f64::INFINITY);
    loop {
        let (number, behind) = split(rest);
        let end = behind
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(behind.len());
        let (unit, more) = behind.split_at(end);
        let factor = match unit {
            // Behind another unit, nobody knows what it would be.
            "" if last.is_infinite() && more.is_empty() => 1e3,
            "h" => 3600e3,
            "m" | "min" => 60e3,
            "s" => 1e3,
            "ms" => 1.0,
            _ => return Err(error()),
        };
        let number = number.parse::<f64>().map_err(|_| error())?;
        if factor >= last {
            return Err(error());
        }
        ms += number * factor;
        (last, rest) = (factor, more.trim_start());
        if rest.is_empty() {
            return Ok(ms);
        }
    }
}

/// Reads a count: digits, and `k` or `m` for thousands or millions.
pub fn parse_count(text: &str) -> Result<u32, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        _ => f64::NAN,
    };
    let count = number
        .parse::<f64>()
        .map_or(f64::NAN, |number| number * factor);
    if count.is_nan() || count.fract() != 0.0 {
        return Err("write a whole number, as in 500, 10k or 2m".to_owned());
    }
    if !(1.0..=MAX_COUNT).contains(&count) {
        return Err("is out of range: use 1 to 100m".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked"
    )]
    let whole = count as u32;
    Ok(whole)
}

/// The longest time that a flag or a scenario may say: a day, in milliseconds.
pub const MAX_MS: u32 = 86_400_000;
const MAX_COUNT: f64 = 100e6;

/// Splits a number from what stands behind it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
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

    #[test]
    fn times_and_counts_are_read_with_their_units() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1.5", 1500),
            ("500ms", 500),
            ("2 m", 120_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h30m", 5_400_000),
            ("2h", 7_200_000),
            ("1h 2min 3s 4ms", 3_723_004),
            ("1s500ms", 1500),
            ("24h", MAX_MS),
            ("0.5m30s", 60_000),
            ("0", 0),
        ] {
            assert_eq!(parse_time_ms(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1d",
            "1e3",
            "nan",
            "24h1ms",
            "1m30",
            "30s1m",
            "1m1m",
            "1m30x",
            "1m-30s",
            "m30s",
            "1..5s",
            "99999999999999999999h",
        ] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
        for ms in [0, 1, 999, 1500, 90_000, 5_400_000, 3_723_004, MAX_MS] {
            assert_eq!(parse_time_ms(&flag_time(ms)), Ok(ms), "{}", flag_time(ms));
        }
        assert_eq!(flag_time(5_400_000), "1h30m");
        for (text, count) in [
            ("500", 500),
            ("10k", 10_000),
            ("1.5k", 1500),
            ("2m", 2_000_000),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in [
            "",
            "0",
            "-5",
            "1.5",
            "10g",
            "101m",
            "99999999999999999999",
            "1e3",
        ] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
