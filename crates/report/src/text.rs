//! Words and numbers as they stand in every output, and the making harmless of text that comes from files.

use sockrates_core::failure::FailureKind;
use sockrates_core::harmless;
pub(crate) use sockrates_core::harmless::slug;
use sockrates_core::manifest::RunManifest;
use sockrates_core::payload::PayloadKind;
use sockrates_core::plan::Cell;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{MetricSummary, Qualifier, Unit};
use sockrates_core::units;
use sockrates_core::verdict::Flag;

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";
/// How wide text on a terminal may be.
pub(crate) const COLUMNS: usize = 100;
/// Longer texts from files are cut.
const MAX_CHARS: usize = 400;

/// Returns the command that rebuilds every derived file.
pub(crate) fn rebuild_command(manifest: &RunManifest) -> String {
    format!("sockrates report {}", slug(&manifest.run_id))
}

/// Makes a sentence of a clause.
pub(crate) fn sentence(clause: &str) -> String {
    let mut characters = clause.chars();
    let first = characters.next().map(char::to_uppercase);
    first
        .into_iter()
        .flatten()
        .chain(characters)
        .collect::<String>()
        + "."
}

/// Keeps a text from ending the comment it stands in.
pub(crate) fn comment(text: &str) -> String {
    line(text).replace("--", "- -").replace(['<', '>'], " ")
}

/// Keeps a text on one line and within bounds. What acts instead of standing for itself has no place in any output.
pub(crate) fn line(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => unbroken(&text[..end]) + "…",
        None => unbroken(text),
    }
}

/// Keeps a text on one line, however long.
pub(crate) fn unbroken(text: &str) -> String {
    text.replace(harmless::acts, " ")
}

/// Writes a payload's length: `64 B`, `16 KiB`.
pub(crate) fn bytes(bytes: u32) -> String {
    match bytes {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

/// Names an exchange of a user's own: what is asked of which protocol.
pub fn exchange(cell: &Cell) -> String {
    let Workload::Custom(custom) = &cell.workload else {
        return cell.workload.name().to_owned();
    };
    let http = custom
        .http
        .iter()
        .map(|http| format!("{} {}", http.method, http.path));
    let websocket = custom.websocket.iter().map(|websocket| {
        let how = websocket.matching.name().replace('-', " ");
        format!("WebSocket {} ({how})", websocket.path)
    });
    line(&http.chain(websocket).collect::<Vec<_>>().join(", "))
}

/// Names a payload's kind.
pub(crate) const fn payload(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Binary => "binary",
        PayloadKind::Text => "text",
    }
}

/// Names a metric in prose.
pub(crate) fn metric(metric: Metric) -> String {
    metric.name().replace('_', " ")
}

/// Names a flag as on disk.
pub(crate) fn flag(flag: Flag) -> String {
    name_on_disk(&flag)
}

/// Names a kind of failure as on disk.
pub(crate) fn failure(kind: FailureKind) -> String {
    name_on_disk(&kind)
}

/// Returns the name under which serde writes a unit variant.
pub(crate) fn name_on_disk(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a unit variant is a string, not {other:?}"),
    }
}

/// Returns the title as a transport's users write it.
pub(crate) fn transport(name: &str) -> String {
    match name {
        "tcp" => "bare TCP".to_owned(),
        "http1" => "HTTP/1.1".to_owned(),
        "http2" => "HTTP/2".to_owned(),
        "http3" => "HTTP/3".to_owned(),
        "websocket" => "WebSocket".to_owned(),
        other => line(other),
    }
}

/// Writes one number of a metric in its unit.
pub(crate) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns | Unit::CpuNsPerOperation => units::time(value),
        Unit::CpuNsPerSecond => format!("{}/s", units::time(value)),
        Unit::OperationsPerSecond | Unit::RequestsPerSecond => units::rate(value),
        Unit::BytesPerSecond => format!("{} B/s", units::count(value)),
    }
}

/// Writes a metric's value with its qualifier: `24.3 µs`, `≥ 61.2 k/s`.
pub(crate) fn value(metric: Option<&MetricSummary>) -> String {
    let Some((value, metric)) = metric.and_then(|metric| Some((metric.value?, metric))) else {
        return NONE.to_owned();
    };
    match metric.qualifier {
        Qualifier::Equal => number(value, metric.unit),
        Qualifier::AtLeast => format!("≥ {}", number(value, metric.unit)),
    }
}

/// Writes a metric's range over trials: `23.9–24.8 µs`; the unit stands once when both ends share it.
pub(crate) fn range(metric: Option<&MetricSummary>) -> String {
    let ends = metric.and_then(|metric| Some((metric.low?, metric.high?, metric.unit)));
    let Some((low, high, unit)) = ends else {
        return String::new();
    };
    joined(&number(low, unit), &number(high, unit))
}

fn joined(low: &str, high: &str) -> String {
    if low == high {
        return low.to_owned();
    }
    let unit_of = |text: &str| {
        text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .to_owned()
    };
    let (low_unit, high_unit) = (unit_of(low), unit_of(high));
    if low_unit == high_unit {
        format!("{}–{high}", low.trim_end_matches(low_unit.as_str()))
    } else {
        format!("{low} – {high}")
    }
}

/// Writes both ends of a range in a unit, which stands once where they share it.
pub(crate) fn number_range(low: f64, high: f64, unit: Option<Unit>) -> String {
    let write = |value| match unit {
        Some(unit) => number(value, unit),
        None => units::count(value),
    };
    joined(&write(low), &write(high))
}

/// Writes a ratio: `0.94×`, `4.1×`, `23×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}×", plain_ratio(ratio))
}

/// Writes a ratio without its sign.
pub(crate) fn plain_ratio(ratio: f64) -> String {
    match ratio {
        r if r < 1.995 => format!("{r:.2}"),
        r if r < 9.95 => format!("{r:.1}"),
        r => format!("{r:.0}"),
    }
}

/// Joins as in a sentence: `a, b and c`.
pub(crate) fn sentence_list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Keeps a text from being anything but text: no markup, no tag, no new table cell.
pub(crate) fn escaped_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if harmless::acts(c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Breaks a text into lines, the second and later ones indented. What the text begins with by way of blanks is kept.
pub(crate) fn paragraph(text: &mut String, words: &str, indent: &str) {
    let blanks = words.len() - words.trim_start_matches(' ').len();
    text.push_str(&words[..blanks]);
    let mut width = blanks;
    let mut is_first = true;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if !is_first && width + 1 + length > COLUMNS {
            text.push('\n');
            text.push_str(indent);
            width = indent.len();
        } else if !is_first {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
        is_first = false;
    }
    text.push('\n');
}
