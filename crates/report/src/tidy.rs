//! `summary.csv`: the summary for spreadsheets and data frames, one row per cell and metric, units in the column names.

use sockrates_core::summary::{CellSummary, MetricSummary, Qualifier, Summary, Unit};

/// Units, as endings of the columns `value_…`, `low_…` and `high_…`. Each row fills the three of its own unit.
const UNITS: [(Unit, &str); 6] = [
    (Unit::Ns, "ns"),
    (Unit::OperationsPerSecond, "operations_per_second"),
    (Unit::CpuNsPerOperation, "cpu_ns_per_operation"),
    (Unit::CpuNsPerSecond, "cpu_ns_per_second"),
    (Unit::BytesPerSecond, "bytes_per_second"),
    (Unit::RequestsPerSecond, "requests_per_second"),
];

/// The columns before the numbers.
const KEYS: [&str; 18] = [
    "run_id",
    "cell",
    "scenario",
    "workload",
    "lane",
    "transport",
    "lifecycle",
    "client",
    "wait",
    "load_model",
    "offered_per_second",
    "connections",
    "payload_bytes",
    "trials_valid",
    "trials_total",
    "metric",
    "qualifier",
    "interval",
];

/// Writes the table. The last column holds the command that rebuilds it: a comment line would break most readers.
pub(crate) fn csv(summary: &Summary) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = KEYS.map(str::to_owned).into();
    for (_, unit) in UNITS {
        header.extend(["value", "low", "high"].map(|end| format!("{end}_{unit}")));
    }
    header.push("rebuild_command".to_owned());
    writer.write_record(&header)?;
    for cell in &summary.cells {
        for (name, metric) in &cell.metrics {
            let mut row = keys(summary, cell, name, metric);
            row.extend(numbers(metric));
            row.push(summary.command.clone());
            writer.write_record(row.iter().map(|field| harmless(field)))?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

fn keys(summary: &Summary, cell: &CellSummary, name: &str, metric: &MetricSummary) -> Vec<String> {
    let factor = |name: &str| cell.factors.get(name).cloned().unwrap_or_default();
    let offered = cell.load.offered_per_second;
    let qualifier = match metric.qualifier {
        Qualifier::Equal => "eq",
        Qualifier::AtLeast => "ge",
    };
    vec![
        summary.run_id.clone(),
        cell.id.clone(),
        cell.scenario.clone(),
        cell.workload.clone(),
        cell.lane.to_string(),
        cell.transport.clone(),
        cell.lifecycle.to_string(),
        factor("client"),
        factor("wait"),
        cell.load.model.clone(),
        offered.map_or_else(String::new, |rate| rate.to_string()),
        cell.connections.to_string(),
        cell.payload_bytes.to_string(),
        cell.trials.valid.to_string(),
        cell.trials.total.to_string(),
        name.to_owned(),
        qualifier.to_owned(),
        crate::text::name_on_disk(&metric.interval),
    ]
}

fn numbers(metric: &MetricSummary) -> Vec<String> {
    UNITS
        .into_iter()
        .flat_map(|(unit, _)| {
            [metric.value, metric.low, metric.high].map(|number| {
                number
                    .filter(|_| unit == metric.unit)
                    .map_or_else(String::new, |number| written(number, unit))
            })
        })
        .collect()
}

/// Writes times as whole nanoseconds, and rates with three decimals: more would pretend.
fn written(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns | Unit::CpuNsPerOperation | Unit::CpuNsPerSecond => format!("{number:.0}"),
        Unit::OperationsPerSecond | Unit::BytesPerSecond | Unit::RequestsPerSecond => {
            format!("{number:.3}")
        }
    }
}

/// Keeps spreadsheets from taking a text of a record for a formula.
fn harmless(field: &str) -> String {
    // Spreadsheets may look behind blanks.
    let field = crate::text::line(field.trim_start());
    let field = field.trim_start();
    if field.starts_with(['=', '+', '-', '@']) {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}
