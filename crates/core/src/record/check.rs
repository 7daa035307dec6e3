//! What a record from a file must be before anybody computes with it: whoever wrote it is not known.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;

use super::{Measurement, Metric, Operations, TrialRecord};
use crate::document::Document;
use crate::histogram::Histogram;
use crate::plan::Cell;
use crate::scenario::Workload;

/// The most slices of a course that are read: many times what is ever written, and no more than fit into memory.
const MAX_SLICES: usize = 600;
/// No count or time of a trial is larger, and so many trials can be added up that no sum overflows.
const MAX_NUMBER: u64 = 1 << 50;
/// The last instant that has a date of four digits.
pub(crate) const MAX_UNIX_MS: u64 = 253_402_300_799_000;

/// Nothing in it makes a computation overflow, or take memory and time without limits.
pub(super) fn bounds(record: &TrialRecord) -> Result<(), String> {
    record.spec.check()?;
    if record.started_unix_ms > MAX_UNIX_MS {
        return Err("it began after the year 9999".to_owned());
    }
    let Some(measured) = &record.measurement else {
        return Ok(());
    };
    let spans = &measured.spans;
    let is_ordered = spans.start_ns <= spans.window_start_ns
        && spans.window_start_ns <= spans.window_end_ns
        && spans.start_ns <= spans.end_ns;
    let last_ns = spans.window_end_ns.max(spans.end_ns);
    if !is_ordered || last_ns - spans.start_ns > MAX_NUMBER {
        return Err("`spans` are not in order, or last for weeks".to_owned());
    }
    if measured.slices.width_ns == 0 {
        return Err("`slices.width_ns` is 0".to_owned());
    }
    if measured.slices.condensed.len() > MAX_SLICES {
        return Err(format!(
            "`slices.condensed` holds more than {MAX_SLICES} slices"
        ));
    }
    for (name, part) in [
        ("slices.condensed", written(&measured.slices.condensed)),
        ("operations", written(&measured.operations)),
        ("warm_up", written(&measured.warm_up)),
        ("connections_opened", measured.connections_opened.into()),
        ("pacing", written(&measured.pacing)),
        ("slices.width_ns", measured.slices.width_ns.into()),
        ("updates", written(&measured.updates)),
        ("fanout", written(&measured.fanout)),
        ("duplex", written(&measured.duplex)),
        ("answers", written(&measured.answers)),
        ("silence", written(&measured.silence)),
        ("cost", written(&measured.cost)),
        ("window_cost", written(&measured.window_cost)),
        ("client", written(&measured.client)),
        ("server", written(&measured.server)),
        ("cpu_idle", written(&measured.cpu_idle)),
        ("surroundings", written(&measured.surroundings)),
        ("wire", written(&measured.wire)),
    ] {
        if !is_bounded(&part) {
            return Err(format!("`{name}` holds a number beyond {MAX_NUMBER}"));
        }
    }
    Ok(())
}

fn written(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).expect("parts of a record have string keys")
}

/// Says whether no number in it is too large.
fn is_bounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => number
            .as_u64()
            .map_or(number.is_f64(), |whole| whole <= MAX_NUMBER),
        Value::Array(all) => all.iter().all(is_bounded),
        Value::Object(all) => all.values().all(is_bounded),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// The books balance, and the histograms hold the operations they say.
pub(super) fn books(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let Measurement {
        operations,
        warm_up,
        histograms,
        slices,
        ..
    } = measured;
    for (name, span) in [("operations", operations), ("warm_up", warm_up)] {
        if !span.is_conserved() {
            return Err(format!(
                "`{name}` do not add up: {} issued, and {} verified, {} failed, {} unfinished",
                span.issued,
                span.verified,
                span.failed_total(),
                span.unfinished
            ));
        }
    }
    let count = |metric| histograms.get(&metric).map(Histogram::count);
    let counts = slices.histograms.iter().map(Histogram::count);
    let in_slices: u64 = counts
        .chain(slices.condensed.iter().map(|slice| slice.count))
        .sum();
    let has_slices = !slices.histograms.is_empty() || !slices.condensed.is_empty();
    if each_is_timed(cell) {
        holds(
            "service_time",
            count(Metric::ServiceTime).unwrap_or(0),
            &[operations],
        )?;
        for metric in [Metric::ResponseTime, Metric::ConnectionWait] {
            if let Some(count) = count(metric) {
                holds(metric.name(), count, &[operations])?;
            }
        }
        if has_slices {
            holds("slices", in_slices, &[operations, warm_up])?;
        }
    }
    match count(slices.metric) {
        Some(count) if has_slices && count > in_slices => Err(format!(
            "`{}` holds {count} times, and the slices of it {in_slices}",
            slices.metric.name()
        )),
        _ => Ok(()),
    }
}

/// Says whether every verified operation, and nothing else, is in the histograms of times.
fn each_is_timed(cell: &Cell) -> bool {
    match &cell.workload {
        Workload::Echo { .. } | Workload::Custom(_) | Workload::Updates { .. } => {
            !cell.workload.listens()
        }
        Workload::Fanout { .. } | Workload::Duplex { .. } => false,
    }
}

/// Every verified operation has a time. So may one whose reply proved wrong by what came behind it, which failed.
fn holds(name: &str, count: u64, spans: &[&Operations]) -> Result<(), String> {
    let verified: u64 = spans.iter().map(|span| span.verified).sum();
    let failed: u64 = spans.iter().map(|span| span.failed_total()).sum();
    if (verified..=verified + failed).contains(&count) {
        return Ok(());
    }
    Err(format!(
        "`{name}` holds {count} times, and {verified} operations were verified"
    ))
}

/// Reads histograms as long as there are few: each takes 216 KiB in memory, however short it is on disk.
pub(super) fn few_histograms<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Histogram>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Histogram>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "up to {MAX_SLICES} histograms")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut few = Vec::new();
            while let Some(histogram) = all.next_element()? {
                if few.len() == MAX_SLICES {
                    return Err(A::Error::invalid_length(MAX_SLICES + 1, &self));
                }
                few.push(histogram);
            }
            Ok(few)
        }
    }

    deserializer.deserialize_seq(Few)
}
