//! Thresholds: `response_time_p99 > 20ms`, `failed > 0.1%`. A run fails when one of them holds.
//!
//! ```text
//! threshold  = subject ( ">" | ">=" | "<" | "<=" ) number [ unit ]
//! subject    = time "_" ( "p" digits [ "_" digits ] | "min" | "mean" | "max" ) | "throughput" | count
//! time       = a metric's name, as `service_time` or `response_time`
//! count      = "failed" | "unfinished" | "verified" | "unasked"
//! unit       = of times (needed): "ns" | "us" | "µs" | "ms" | "s" | "m" | "h", also as in "1m30s"
//!            | of throughput: "k" | "M", and "/s"
//!            | of counts: "k" | "M", or "%" of the operations
//! ```

use std::fmt;
use std::str::FromStr;

use crate::record::Metric;
use crate::{suggest, units};

/// A condition under which a run fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    /// What is looked at.
    pub subject: Subject,
    comparator: Comparator,
    /// In nanoseconds, operations per second, operations, or percent.
    pub limit: f64,
}

/// What a threshold looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    /// A time, in nanoseconds.
    Time(Metric, Statistic),
    /// Verified operations per second.
    Throughput,
    /// Operations of one kind.
    Count(Count),
    /// The same as a percentage of all operations.
    Share(Count),
}

/// Which number of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The quantile, from 0 to 1.
    Quantile(f64),
    /// The smallest.
    Min,
    /// The mean.
    Mean,
    /// The largest.
    Max,
}

/// Which operations are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// Those that failed.
    Failed,
    /// Those that did not end in time.
    Unfinished,
    /// Those that were verified.
    Verified,
    /// Not operations: messages that answered nothing.
    Unasked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Says that a text is no threshold.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is no threshold: {problem}; write e.g. 'response_time_p99 > 20ms' or 'failed > 0.1%'"
)]
pub struct ThresholdError {
    text: String,
    problem: String,
}

impl Threshold {
    /// Says whether a value makes the run fail.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparator {
            Comparator::Above => value > self.limit,
            Comparator::AtLeast => value >= self.limit,
            Comparator::Below => value < self.limit,
            Comparator::AtMost => value <= self.limit,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let error = |problem: String| ThresholdError {
            text: text.escape_debug().to_string(),
            problem,
        };
        let at = text
            .find(['<', '>'])
            .ok_or_else(|| error("it compares nothing, with >, >=, < or <=".to_owned()))?;
        let (subject, rest) = text.split_at(at);
        let (comparator, rest) = comparator(rest);
        let (number, unit) = split_number(rest.trim());
        let value = number
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite() && *value >= 0.0)
            .ok_or_else(|| error("it compares with no number".to_owned()))?;
        let subject = subject.trim();
        let (subject, factor) = if subject == "throughput" {
            let factor = factor(unit.trim_end_matches("/s")).ok_or_else(|| {
                error(format!(
                    "`{unit}` is no unit of a rate: use none, k, M, with or without /s"
                ))
            })?;
            (Subject::Throughput, factor)
        } else if let Some(count) = count(subject) {
            match (unit, factor(unit)) {
                ("%", _) if count != Count::Unasked => (Subject::Share(count), 1.0),
                (_, Some(factor)) => (Subject::Count(count), factor),
                _ => {
                    return Err(error(format!(
                        "`{unit}` is no unit of a count: use none, k, M or %"
                    )));
                }
            }
        } else {
            let (metric, statistic) = time(subject).ok_or_else(|| error(unknown(subject)))?;
            let wrong = || {
                error(format!(
                    "`{unit}` is no unit of time: use ns, us, ms, s, m or h"
                ))
            };
            let limit = ns(unit).map(|factor| value * factor);
            let limit = limit.or_else(|| long_time(rest, unit)).ok_or_else(wrong)?;
            return Ok(Self {
                text: text.trim().to_owned(),
                subject: Subject::Time(metric, statistic),
                comparator,
                limit,
            });
        };
        Ok(Self {
            text: text.trim().to_owned(),
            subject,
            comparator,
            limit: value * factor,
        })
    }
}

fn comparator(text: &str) -> (Comparator, &str) {
    let all = [
        (">=", Comparator::AtLeast),
        ("<=", Comparator::AtMost),
        (">", Comparator::Above),
        ("<", Comparator::Below),
    ];
    let found = all
        .into_iter()
        .find_map(|(sign, comparator)| Some((comparator, text.strip_prefix(sign)?)));
    found.expect("the text begins with one of them")
}

fn split_number(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

fn factor(unit: &str) -> Option<f64> {
    match unit {
        "" => Some(1.0),
        "k" | "K" => Some(1e3),
        "M" => Some(1e6),
        _ => None,
    }
}

fn ns(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1.0),
        "us" | "µs" => Some(1e3),
        "ms" => Some(1e6),
        "s" => Some(1e9),
        _ => None,
    }
}

/// Reads a time in the units of flags, in nanoseconds. A number without a unit is none.
fn long_time(text: &str, unit: &str) -> Option<f64> {
    let ms = units::time_ms(text).ok().filter(|_| !unit.is_empty())?;
    Some(ms * 1e6)
}

fn count(name: &str) -> Option<Count> {
    match name {
        "failed" => Some(Count::Failed),
        "unfinished" => Some(Count::Unfinished),
        "verified" => Some(Count::Verified),
        "unasked" => Some(Count::Unasked),
        _ => None,
    }
}

fn time(name: &str) -> Option<(Metric, Statistic)> {
    Metric::ALL.into_iter().find_map(|metric| {
        let ending = name.strip_prefix(metric.name())?.strip_prefix('_')?;
        let statistic = match ending {
            "min" => Statistic::Min,
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            _ => Statistic::Quantile(quantile(ending)?),
        };
        Some((metric, statistic))
    })
}

/// Reads a percentile's name: `p50`, `p99_9`.
fn quantile(name: &str) -> Option<f64> {
    let digits = name.strip_prefix('p')?;
    let (whole, fraction) = digits.split_once('_').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let percent: f64 = (all_digits(whole) && all_digits(fraction) && whole.len() <= 2)
        .then(|| format!("{whole}.{fraction}").parse().ok())??;
    Some(percent / 100.0)
}

fn unknown(subject: &str) -> String {
    let times: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let near = meant(subject, &times);
    format!(
        "`{}` is nothing that is measured{near}: use throughput, failed, unfinished, verified, unasked, or one of {} with _p50, _p99_9, _min, _mean or _max",
        subject.escape_debug(),
        times.join(", ")
    )
}

/// Says what a subject may have been meant to be.
fn meant(subject: &str, times: &[&str]) -> String {
    let dotless = subject.replace('.', "_");
    if quantile(&dotless).is_some() || ["min", "mean", "max"].contains(&subject) {
        return format!(" (did you mean `service_time_{dotless}` or `response_time_{dotless}`?)");
    }
    let of_time = times.iter().copied().filter_map(|time| {
        let (name, ending) = dotless.char_indices().find_map(|(at, _)| {
            let (name, ending) = dotless.split_at(at);
            let ending = ending.strip_prefix('_')?;
            let is_ending = quantile(ending).is_some() || ["min", "mean", "max"].contains(&ending);
            is_ending.then_some((name, ending))
        })?;
        (suggest::nearest(name, [time]) == Some(time)).then(|| format!("{time}_{ending}"))
    });
    let counts = ["throughput", "failed", "unfinished", "verified", "unasked"];
    let known: Vec<_> = of_time.chain(counts.map(str::to_owned)).collect();
    suggest::hint(&dotless, known.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Threshold {
        text.parse().unwrap()
    }

    #[test]
    fn thresholds_are_read_as_they_are_documented() {
        let tail = parse(" response_time_p99>20ms ");
        let quantile = Statistic::Quantile(0.99);
        assert_eq!(tail.subject, Subject::Time(Metric::ResponseTime, quantile));
        assert!(tail.holds(20e6 + 1.0) && !tail.holds(20e6));
        assert_eq!(tail.to_string(), "response_time_p99>20ms");
        let share = parse("failed > 0.1%");
        assert_eq!(
            (share.subject, share.limit),
            (Subject::Share(Count::Failed), 0.1)
        );
        let rate = parse("throughput < 12.5k/s");
        assert_eq!((rate.subject, rate.limit), (Subject::Throughput, 12_500.0));
        assert!(rate.holds(12_499.0) && !rate.holds(12_500.0));
        assert!(parse("verified <= 1M").holds(1e6));
        assert!(parse("unasked >= 1").holds(1.0));
        let nines = parse("service_time_p99_99 > 1 s").subject;
        assert_eq!(
            nines,
            Subject::Time(Metric::ServiceTime, Statistic::Quantile(99.99 / 100.0))
        );
        for (text, limit) in [
            ("1m30s", 90e9),
            ("1m", 60e9),
            ("2h", 7200e9),
            ("1s500ms", 1.5e9),
        ] {
            let threshold = parse(&format!("service_time_p50 > {text}"));
            assert!((threshold.limit - limit).abs() < 1.0, "{text}");
        }
        for (name, statistic) in [
            ("min", Statistic::Min),
            ("mean", Statistic::Mean),
            ("max", Statistic::Max),
        ] {
            let subject = parse(&format!("connect_{name} > 5us")).subject;
            assert_eq!(subject, Subject::Time(Metric::Connect, statistic));
        }
    }

    #[test]
    fn what_is_no_threshold_is_told_why() {
        let problem = |text: &str| text.parse::<Threshold>().unwrap_err().to_string();
        assert!(problem("failed").contains("compares nothing"));
        assert!(problem("failed > many").contains("no number"));
        assert!(problem("failed > -1").contains("no number"));
        assert!(problem("failed > 1 ms").contains("no unit of a count"));
        assert!(problem("unasked > 1%").contains("no unit of a count"));
        assert!(problem("throughput > 1 ms").contains("no unit of a rate"));
        assert!(problem("service_time_p99 > 20").contains("no unit of time"));
        assert!(problem("service_time_p99 > 1m30").contains("no unit of time"));
        assert!(problem("service_time_p99 > 30s1m").contains("no unit of time"));
        assert!(problem("latency_p99 > 20ms").contains("service_time"));
        assert!(problem("p99 > 20ms").contains("did you mean `service_time_p99` or"));
        assert!(problem("p99.9 > 20ms").contains("`service_time_p99_9`"));
        assert!(problem("responce_time_p99 > 1s").contains("did you mean `response_time_p99`?"));
        assert!(problem("service_time_p99.9 > 1s").contains("`service_time_p99_9`?"));
        assert!(problem("fialed > 0").contains("did you mean `failed`?"));
        assert!(!problem("latency_p99 > 20ms").contains("did you mean"));
        assert!(problem("service_time_p100 > 20ms").contains("nothing that is measured"));
        assert!(problem("\x1b > 1").contains("\\u{1b}"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in ".{0,40}") {
            let _ = text.parse::<Threshold>();
        }

        #[test]
        fn limits_survive_their_spelling(value in 0.0f64..1e6) {
            let threshold = parse(&format!("exchange_p50 >= {value}ms"));
            prop_assert!(threshold.holds(threshold.limit));
            prop_assert!((threshold.limit - value * 1e6).abs() <= 1e-6 * (1.0 + value * 1e6));
        }
    }
}
