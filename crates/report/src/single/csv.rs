//! A result as tidy rows: one per number, its unit in a column.

use sockrates_core::run_result::RunResult;
use sockrates_core::summary::Qualifier;

use crate::text;

/// Writes the rows.
pub(super) fn rows(result: &RunResult) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["name", "statistic", "qualifier", "value", "unit"])?;
    let mut row = |name: &str, statistic: &str, qualifier, value: Option<f64>, unit: &str| {
        let sign = match qualifier {
            Qualifier::Equal => "=",
            Qualifier::AtLeast => ">=",
        };
        let value = value.map_or_else(String::new, |value| value.to_string());
        writer.write_record([name, statistic, sign, &value, unit])
    };
    let equal = Qualifier::Equal;
    let rate = result.throughput_per_second;
    row(
        "throughput",
        "median",
        result.throughput_qualifier,
        rate,
        "1/s",
    )?;
    let books = &result.operations;
    for (name, count) in [
        ("issued", books.issued),
        ("verified", books.verified),
        ("failed", books.failed),
        ("unfinished", books.unfinished),
        ("unasked", result.answers.unasked),
        ("connections_opened", result.network.connections_opened),
    ] {
        row(name, "count", equal, Some(count as f64), "1")?;
    }
    for (kind, count) in &result.failures {
        let name = format!("failed_{}", text::failure(*kind));
        row(&name, "count", equal, Some(*count as f64), "1")?;
    }
    for (status, count) in &result.answers.statuses {
        row(
            &format!("status_{status}"),
            "count",
            equal,
            Some(*count as f64),
            "1",
        )?;
    }
    for (code, count) in &result.answers.close_codes {
        row(
            &format!("close_code_{code}"),
            "count",
            equal,
            Some(*count as f64),
            "1",
        )?;
    }
    for (name, bytes) in [
        ("bytes_sent", result.network.bytes_sent),
        ("bytes_received", result.network.bytes_received),
    ] {
        row(name, "sum", equal, Some(bytes as f64), "B")?;
    }
    for (metric, time) in &result.times {
        let name = metric.name();
        row(name, "min", equal, Some(time.min_ns as f64), "ns")?;
        row(name, "mean", equal, Some(time.mean_ns), "ns")?;
        for one in &time.percentiles {
            let statistic = format!("p{}", one.percentile.to_string().replace('.', "_"));
            row(
                name,
                &statistic,
                one.qualifier,
                one.ns.map(|ns| ns as f64),
                "ns",
            )?;
        }
        row(name, "max", equal, Some(time.max_ns as f64), "ns")?;
    }
    Ok(writer.into_inner()?)
}
