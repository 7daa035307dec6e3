//! The whole spectrum of the times, up to the last percentile that enough samples support.

use std::collections::BTreeMap;
use std::fmt::Write;

use sockrates_core::histogram::Histogram;
use sockrates_core::record::Metric;
use sockrates_core::units;

use crate::text;

const PERCENTILES: [f64; 14] = [
    10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999,
];
/// The times that people ask for in full.
const METRICS: [Metric; 4] = [
    Metric::ResponseTime,
    Metric::ServiceTime,
    Metric::Exchange,
    Metric::InterArrival,
];

/// Writes how rare something is: `1.33`, `20`, `10000`.
fn one_in(count: f64) -> String {
    if count < 10.0 {
        units::count(count)
    } else {
        format!("{count:.0}")
    }
}

/// Tells the spectra, side by side.
pub(super) fn tell(merged: &BTreeMap<Metric, Histogram>) -> String {
    let columns: Vec<_> = METRICS
        .into_iter()
        .filter_map(|metric| Some((metric, merged.get(&metric)?)))
        .filter(|(_, histogram)| histogram.count() > 0)
        .collect();
    let mut text = format!("\n  {:>10}{:>12}", "percentile", "1 in");
    for (metric, _) in &columns {
        write!(text, "{:>16}", text::metric(*metric)).expect("writing to a string cannot fail");
    }
    text.push('\n');
    let row =
        |text: &mut String, name: &str, beyond: &str, value: &dyn Fn(&Histogram) -> Option<u64>| {
            let values: Vec<_> = columns
                .iter()
                .map(|(_, histogram)| value(histogram))
                .collect();
            if values.iter().all(Option::is_none) {
                return;
            }
            let mut line = format!("  {name:>10}{beyond:>12}");
            for value in values {
                let shown =
                    value.map_or_else(|| text::NONE.to_owned(), |ns| units::time(ns as f64));
                line += &format!("{shown:>16}");
            }
            *text += &line;
            text.push('\n');
        };
    row(&mut text, "min", "", &|histogram| histogram.min_ns());
    for percentile in PERCENTILES {
        let beyond = one_in(100.0 / (100.0 - percentile));
        row(&mut text, &percentile.to_string(), &beyond, &|histogram| {
            histogram.quantile_ns(percentile / 100.0)
        });
    }
    row(&mut text, "max", "", &|histogram| histogram.max_ns());
    text
}
