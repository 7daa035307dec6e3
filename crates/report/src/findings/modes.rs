//! Trials that fall into two groups: found by the largest gap between their medians.
//!
//! The medians' logarithms are sorted, and cut at the largest gap that leaves at least two trials on either side. They
//! are two groups when the gap is at least 10 % and wider than `max(4, 1.6 + 230 / n²)` standard deviations within the
//! groups. Of trials without groups, normal ones or with the heavy tails of Student's t with three degrees of freedom,
//! about one set in a hundred is mistaken for two groups, whatever the number of trials; two groups twelve deviations
//! apart are found.

use sockrates_core::finding::TwoModes;

use crate::ratio::median;

/// Fewer trials tell nothing of groups.
const MIN_TRIALS: usize = 6;
/// So many trials make a group.
const MIN_GROUP: usize = 2;
/// Groups that are closer do not matter.
const MIN_GAP: f64 = 1.1;

/// Finds two groups among one number of a cell's trials.
pub(crate) fn of(cell: &str, metric: &str, values: &[f64]) -> Option<TwoModes> {
    let mut logs: Vec<f64> = values
        .iter()
        .filter(|value| **value > 0.0)
        .map(|value| value.ln())
        .collect();
    logs.sort_by(f64::total_cmp);
    let cut = cut(&logs)?;
    let (low, high) = logs.split_at(cut);
    let count = |group: &[f64]| u32::try_from(group.len()).expect("trials are few");
    Some(TwoModes {
        cell: cell.to_owned(),
        metric: metric.to_owned(),
        low_ns: median(low)?.exp(),
        low_trials: count(low),
        high_ns: median(high)?.exp(),
        high_trials: count(high),
    })
}

/// Returns how many of the sorted values lie in the lower of two groups.
fn cut(sorted: &[f64]) -> Option<usize> {
    let count = sorted.len();
    if count < MIN_TRIALS {
        return None;
    }
    let gap = |at: &usize| sorted[*at] - sorted[*at - 1];
    let at = (MIN_GROUP..=count - MIN_GROUP).max_by(|a, b| gap(a).total_cmp(&gap(b)))?;
    let (low, high) = sorted.split_at(at);
    let within = ((squares(low) + squares(high)) / (count as f64 - 2.0)).sqrt();
    let is_wide = gap(&at) > threshold(count) * within;
    (is_wide && gap(&at) >= MIN_GAP.ln()).then_some(at)
}

/// Returns how many standard deviations within the groups a gap of trials without groups does not exceed.
fn threshold(count: usize) -> f64 {
    (1.6 + 230.0 / (count as f64).powi(2)).max(4.0)
}

fn squares(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::synthetic::Random;

    const SETS: u32 = 4000;

    /// Returns the share of sets of trials in which two groups are found.
    fn share(count: usize, draw: &mut dyn FnMut(usize) -> f64) -> f64 {
        let mut set = || {
            let values: Vec<f64> = (0..count).map(|index| draw(index).exp()).collect();
            of("cell", "service_time_p50", &values).is_some()
        };
        (0..SETS).filter(|_| set()).count() as f64 / f64::from(SETS)
    }

    #[test]
    fn trials_without_groups_are_mistaken_for_two_in_about_one_set_of_a_hundred() {
        let mut random = Random::new(11);
        for count in [6, 8, 12, 30] {
            // So wide that no gap is below what matters.
            let normal = share(count, &mut |_| random.normal());
            let heavy = share(count, &mut |_| {
                let squares: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
                random.normal() / (squares / 3.0).sqrt()
            });
            assert!(normal < 0.015 && heavy < 0.02, "{count}: {normal} {heavy}");
            let quiet = share(count, &mut |_| 0.03 * random.normal());
            assert!(quiet < 0.005, "{count}: {quiet}");
        }
    }

    #[test]
    fn two_groups_are_found_and_described() {
        let mut random = Random::new(12);
        for count in [8, 12, 30] {
            let found = share(count, &mut |index| {
                let group = if index.is_multiple_of(3) { 0.36 } else { 0.0 };
                group + 0.03 * random.normal()
            });
            assert!(found > 0.95, "{count}: {found}");
        }
        let values = [22.0, 31.0, 22.2, 30.6, 21.8, 31.2, 22.1, 22.0];
        let found = of("cell", "service_time_p50", &values).unwrap();
        assert_eq!((found.low_trials, found.high_trials), (5, 3));
        assert!((found.low_ns - 22.0).abs() < 1e-9 && (found.high_ns - 31.0).abs() < 1e-9);
    }

    #[test]
    fn one_wild_trial_is_no_group() {
        assert_eq!(
            of("cell", "p", &[22.0, 22.1, 22.2, 21.9, 22.0, 22.3, 95.0]),
            None
        );
        assert_eq!(of("cell", "p", &[22.0; 8]), None);
    }
}
