//! Axes: from numbers to places, and the ticks worth naming.

use sockrates_core::units;

/// A number's way to a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    scale: Scale,
    /// The transformed numbers at both ends.
    from: f64,
    to: f64,
    /// The places of both ends.
    start: f64,
    end: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Linear,
    Log,
    /// Logarithmic, with the ticks that tell ratios near 1 apart.
    Ratio,
    /// Quantiles, so that 90 %, 99 %, 99.9 %, … lie at equal distances.
    Nines,
}

/// Below this no time or count is told from nothing, and a logarithm needs a start.
const SMALLEST: f64 = 1e-9;

impl Axis {
    /// From 0 to a little more than `most`.
    pub(crate) fn linear(most: f64, places: (f64, f64)) -> Self {
        let most = if most.is_finite() && most > 0.0 {
            most
        } else {
            1.0
        };
        Self::new(Scale::Linear, (0.0, most), places)
    }

    /// Logarithmic over at least the given numbers, widened to look settled.
    pub(crate) fn log(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if high == 0.0 {
            return Self::new(Scale::Log, (0.0, 1.0), places);
        }
        let (low, high) = (low.log10(), high.log10());
        // At least a factor of two in all, and some air above and below.
        let air = ((high - low) * 0.05)
            .max((0.302 - (high - low)) / 2.0)
            .max(0.03);
        Self::new(Scale::Log, (low - air, high + air), places)
    }

    /// As [`Axis::log`], for ratios.
    pub(crate) fn ratio(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        Self {
            scale: Scale::Ratio,
            ..Self::log(values, places)
        }
    }

    /// Quantiles from 0 to `last`; the smallest to be marked is the median.
    pub(crate) fn nines(last: f64, places: (f64, f64)) -> Self {
        Self::new(Scale::Nines, (0.0, nines(last).max(1.0)), places)
    }

    fn new(scale: Scale, (from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        Self {
            scale,
            from,
            to,
            start,
            end,
        }
    }

    /// Returns a number's place.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let transformed = match self.scale {
            Scale::Linear => value,
            Scale::Log | Scale::Ratio => value.max(SMALLEST).log10(),
            Scale::Nines => nines(value),
        };
        self.start + (transformed - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// Returns the numbers to mark, about one to `distance` logical pixels.
    pub(crate) fn ticks(&self, distance: f64) -> Vec<f64> {
        let room = ((self.end - self.start).abs() / distance).max(1.0);
        match self.scale {
            Scale::Linear => linear_ticks(self.to, room),
            Scale::Log => log_ticks(self.from, self.to, room),
            Scale::Ratio => ratio_ticks(self.from, self.to, room),
            Scale::Nines => std::iter::once(0.5)
                .chain((1..9).map(|count| 1.0 - 0.1f64.powi(count)))
                .filter(|quantile| nines(*quantile) <= self.to + 1e-9)
                .collect(),
        }
    }
}

fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(SMALLEST).log10()
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(most: f64, room: f64) -> Vec<f64> {
    let raw = most / room;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= raw - power * 1e-9)
        .unwrap_or(10.0 * power);
    (0u32..1000)
        .map(|index| f64::from(index) * step)
        .take_while(|value| *value <= most * 1.000_001)
        .collect()
}

/// The densest of: 1-2-5, powers of ten, every second power, … that leaves room for the labels.
fn log_ticks(from: f64, to: f64, room: f64) -> Vec<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "logarithms of finite numbers"
    )]
    let (first, last) = (from.floor() as i32, to.ceil() as i32);
    let within = |value: &f64| (from - 1e-9..=to + 1e-9).contains(&value.log10());
    let candidates = |mantissas: &[f64], every: i32| -> Vec<f64> {
        (first..=last)
            .filter(|power| power.rem_euclid(every) == 0)
            .flat_map(|power| {
                mantissas
                    .iter()
                    .map(move |mantissa| mantissa * 10f64.powi(power))
            })
            .filter(within)
            .collect()
    };
    // Less than one step of 1-2-5: all digits.
    if to - from < 0.45 {
        let all = candidates(&[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1);
        if all.len() as f64 <= room + 1.0 {
            return all;
        }
    }
    let dense = candidates(&[1.0, 2.0, 5.0], 1);
    if dense.len() as f64 <= room + 1.0 {
        return dense;
    }
    let sparse = (1..).map(|every| candidates(&[1.0], every));
    std::iter::once(candidates(&[1.0, 3.0], 1))
        .chain(sparse)
        .find(|ticks| ticks.len() as f64 <= room + 1.0)
        .unwrap_or_default()
}

/// About equal steps where they fit, as many as for times where not.
fn ratio_ticks(from: f64, to: f64, room: f64) -> Vec<f64> {
    let powers = (-6..6).map(|power| 10f64.powi(power));
    let steps = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0];
    let ticks: Vec<f64> = powers
        .flat_map(|power| steps.map(|step| step * power))
        .filter(|ratio| (from..=to).contains(&ratio.log10()))
        .collect();
    if (3.0..=room + 1.0).contains(&(ticks.len() as f64)) {
        return ticks;
    }
    log_ticks(from, to, room)
}

/// Names a time on an axis: `20 µs`, `1 ms`, `1.5 s`.
pub(crate) fn time_label(ns: f64) -> String {
    if ns == 0.0 {
        return "0".to_owned();
    }
    let (value, unit) = match ns {
        x if x < 999.5 => (ns, "ns"),
        x if x < 999.5e3 => (ns / 1e3, "µs"),
        x if x < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", short(value))
}

/// Names a rate on an axis: `20 k/s`.
pub(crate) fn rate_label(per_second: f64) -> String {
    if per_second == 0.0 {
        return "0".to_owned();
    }
    match per_second {
        x if x < 999.5 => format!("{}/s", short(x)),
        x if x < 999.5e3 => format!("{} k/s", short(x / 1e3)),
        x if x < 999.5e6 => format!("{} M/s", short(x / 1e6)),
        x => units::rate(x),
    }
}

/// Names a quantile on an axis: `99.9 %`.
pub(crate) fn percent_label(quantile: f64) -> String {
    format!("{} %", short(quantile * 100.0))
}

/// Names a ratio on an axis: `0.5×`.
pub(crate) fn ratio_label(ratio: f64) -> String {
    format!("{}×", short(ratio))
}

/// Names a count on an axis: `100`.
pub(crate) fn count_label(count: f64) -> String {
    short(count)
}

/// Writes a tick without the zeros at its end.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_fit() {
        assert_eq!(
            linear_ticks(65_000.0, 5.0),
            [0.0, 20_000.0, 40_000.0, 60_000.0]
        );
        let ticks = Axis::log([15_000.0, 300_000.0].into_iter(), (400.0, 0.0)).ticks(40.0);
        let labels: Vec<_> = ticks.into_iter().map(time_label).collect();
        assert_eq!(labels, ["20 µs", "50 µs", "100 µs", "200 µs"]);
        let ratios = Axis::ratio([0.66, 5.2].into_iter(), (0.0, 400.0)).ticks(48.0);
        let labels: Vec<_> = ratios.into_iter().map(ratio_label).collect();
        assert_eq!(labels, ["0.7×", "1×", "1.5×", "2×", "3×", "5×"]);
        let nines = Axis::nines(0.9995, (0.0, 500.0)).ticks(80.0);
        let labels: Vec<_> = nines.into_iter().map(percent_label).collect();
        assert_eq!(labels, ["50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn axes_survive_degenerate_numbers() {
        for values in [
            vec![],
            vec![0.0],
            vec![5.0],
            vec![f64::NAN, -1.0],
            vec![1e300, 1e-300],
        ] {
            let axis = Axis::log(values.iter().copied(), (100.0, 0.0));
            assert!(
                axis.place(5.0).is_finite() && axis.ticks(20.0).len() < 20,
                "{values:?}"
            );
        }
        assert!(Axis::linear(0.0, (0.0, 100.0)).place(0.0).abs() < 1e-9);
        assert!(Axis::nines(f64::NAN, (0.0, 100.0)).place(0.5).is_finite());
    }
}
