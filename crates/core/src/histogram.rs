//! Time histograms: an `HdrHistogram` of nanoseconds plus the exact extremes, and its form on disk.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod stored;

use stored::Refused;

/// The largest recordable time; longer ones are counted in the top bucket and in `clamped`.
pub const HIGHEST_NS: u64 = 60_000_000_000;
/// Three digits: a bucket is at most 0.1 % wide.
const SIGNIFICANT_DIGITS: u8 = 3;
/// More than any trial can count; so many trials can be added up that no sum overflows.
const MAX_COUNT: u64 = 1 << 48;

/// A histogram of times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    min_ns: u64,
    max_ns: u64,
    clamped: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Makes an empty histogram. Recording never allocates afterwards.
    pub fn new() -> Self {
        Self {
            counts: hdrhistogram::Histogram::new_with_bounds(1, HIGHEST_NS, SIGNIFICANT_DIGITS)
                .expect("constant bounds are valid"),
            min_ns: u64::MAX,
            max_ns: 0,
            clamped: 0,
        }
    }

    /// Counts one time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.clamped += u64::from(ns > HIGHEST_NS);
        self.counts.saturating_record(ns);
    }

    /// Adds all counts of another histogram; nothing is lost.
    pub fn merge(&mut self, other: &Self) {
        self.counts
            .add(&other.counts)
            .expect("all histograms have the same bounds");
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.clamped += other.clamped;
    }

    /// Returns how many times were recorded.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// Returns the exact smallest time, if there is one.
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_ns)
    }

    /// Returns the exact largest time, if there is one.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// Returns how many times were longer than [`HIGHEST_NS`].
    pub const fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Returns the mean of the bucket midpoints, if anything was recorded.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.counts.mean())
    }

    /// Returns the quantile's value (the highest one equivalent to its bucket, never above the exact maximum), or
    /// `None` when fewer than [`TAIL_SAMPLES`] samples lie beyond it: such a percentile is noise.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let beyond = self.count() as f64 * (1.0 - quantile);
        // The tolerance absorbs 1 - 0.999 != 0.001.
        (beyond + 1e-6 >= TAIL_SAMPLES).then(|| self.quantile_unchecked_ns(quantile))
    }

    /// Returns the quantile's value however few samples support it; 0 for an empty histogram. For pictures that show
    /// each sample, and for checks with a bound of their own.
    pub fn quantile_unchecked_ns(&self, quantile: f64) -> u64 {
        self.counts.value_at_quantile(quantile).min(self.max_ns)
    }

    /// Returns how many times lie between both bounds, within a bucket's width.
    pub fn count_between(&self, low_ns: u64, high_ns: u64) -> u64 {
        self.counts.count_between(low_ns, high_ns)
    }

    /// Returns the bucket counts, for exporters to other formats.
    pub const fn counts(&self) -> &hdrhistogram::Histogram<u64> {
        &self.counts
    }
}

/// How many samples must lie beyond a quantile before it is printed.
pub const TAIL_SAMPLES: f64 = 10.0;

/// The form on disk.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Histogram")]
struct Encoded {
    /// How many times were recorded.
    count: u64,
    /// The exact smallest time, null when empty.
    min_ns: Option<u64>,
    /// The exact largest time, null when empty.
    max_ns: Option<u64>,
    /// How many were longer than the largest bucket (60 s).
    clamped: u64,
    /// `HdrHistogram` V2, deflated, base64: nanoseconds, three significant digits.
    hdr_v2_deflate_base64: String,
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.counts, &mut bytes)
            .map_err(serde::ser::Error::custom)?;
        let encoded = Encoded {
            count: self.count(),
            min_ns: self.min_ns(),
            max_ns: self.max_ns(),
            clamped: self.clamped,
            hdr_v2_deflate_base64: BASE64.encode(bytes),
        };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Encoded::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Histogram {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Histogram".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Encoded::json_schema(generator)
    }
}

impl TryFrom<Encoded> for Histogram {
    type Error = Refused;

    fn try_from(encoded: Encoded) -> Result<Self, Refused> {
        let histogram = Self {
            counts: stored::decode(&encoded.hdr_v2_deflate_base64)?,
            min_ns: encoded.min_ns.unwrap_or(u64::MAX),
            max_ns: encoded.max_ns.unwrap_or(0),
            clamped: encoded.clamped,
        };
        if histogram.count() != encoded.count {
            return Err(Refused("does not hold as many times as it says"));
        }
        if encoded.min_ns.is_some() != encoded.max_ns.is_some() {
            return Err(Refused("has one extreme and not the other"));
        }
        if encoded.min_ns.is_some() != (encoded.count > 0) {
            return Err(Refused("has times but no extremes, or the other way round"));
        }
        histogram.check_extremes()?;
        Ok(histogram)
    }
}

impl Histogram {
    /// The extremes lie in the lowest and the highest bucket that hold anything. Times beyond [`HIGHEST_NS`] lie in the
    /// bucket of that or above it, wherever the buckets end.
    fn check_extremes(&self) -> Result<(), Refused> {
        let counts = &self.counts;
        if self.count() == 0 {
            let is_empty = self.clamped == 0;
            return is_empty.then_some(()).ok_or(Refused(TOO_LONG));
        }
        let top = counts.lowest_equivalent(HIGHEST_NS);
        if self.clamped > counts.count_between(top, u64::MAX)
            || (self.clamped > 0) != (self.max_ns > HIGHEST_NS)
        {
            return Err(Refused(TOO_LONG));
        }
        let is_in = |ns: u64, bucket: u64| {
            if ns > HIGHEST_NS {
                bucket >= top
            } else {
                counts.equivalent(ns, bucket)
            }
        };
        if is_in(self.min_ns, counts.min()) && is_in(self.max_ns, counts.max()) {
            Ok(())
        } else {
            Err(Refused("has extremes that its buckets do not hold"))
        }
    }
}

const TOO_LONG: &str = "does not hold the too long times that it says";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        for ns in times {
            histogram.record(*ns);
        }
        histogram
    }

    #[test]
    fn percentiles_need_samples_beyond_them() {
        let histogram = of(&(1..=1000).collect::<Vec<_>>());
        assert!(histogram.quantile_ns(0.99).is_some());
        assert_eq!(histogram.quantile_ns(0.995), None);
        assert_eq!(Histogram::new().quantile_ns(0.5), None);
    }

    #[test]
    fn too_long_times_are_counted_and_said() {
        let histogram = of(&[5, HIGHEST_NS * 2]);
        assert_eq!(
            (histogram.count(), histogram.clamped(), histogram.max_ns()),
            (2, 1, Some(HIGHEST_NS * 2))
        );
    }

    #[test]
    fn damaged_histograms_are_refused() {
        let json = serde_json::to_string(&of(&[1, 2, 3])).unwrap();
        let refused = |json: String| {
            serde_json::from_str::<Histogram>(&json)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(json.replace("\"count\":3", "\"count\":4")).contains("as many times"));
        assert!(refused(json.replace("base64\":\"", "base64\":\"!")).contains("not base64"));
        assert!(
            refused(json.replace("base64\":\"H", "base64\":\"I"))
                .contains("not deflated HdrHistogram")
        );
    }

    proptest! {
        #[test]
        fn merged_workers_equal_one_recorder(
            workers in prop::collection::vec(prop::collection::vec(0..HIGHEST_NS, 0..50), 1..5),
        ) {
            let mut merged = Histogram::new();
            for times in &workers {
                merged.merge(&of(times));
            }
            prop_assert_eq!(merged, of(&workers.concat()));
        }

        #[test]
        fn a_histogram_survives_the_disk(times in prop::collection::vec(0..HIGHEST_NS * 2, 0..100)) {
            let histogram = of(&times);
            let json = serde_json::to_string(&histogram).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), histogram);
        }

        #[test]
        fn a_quantile_is_within_a_thousandth(mut times in prop::collection::vec(1..HIGHEST_NS, 20..200)) {
            let histogram = of(&times);
            times.sort_unstable();
            let exact = times[times.len().div_ceil(2) - 1];
            let found = histogram.quantile_ns(0.5).unwrap();
            prop_assert!(found >= exact && found as f64 <= exact as f64 * 1.001 + 1.0);
        }
    }
}
