//! The middle of values, and values that go with a ratio.

/// Returns the median, the mean of the two middle values for an even number; `None` for none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Returns the two values nearest to these, by the same factor each, whose quotient is exactly the ratio of the second to
/// the first: what may stand beside an estimated ratio.
pub(crate) fn centred(first: f64, second: f64, ratio: f64) -> (f64, f64) {
    let middle = f64::midpoint(first.ln(), second.ln());
    let half = ratio.ln() / 2.0;
    ((middle - half).exp(), (middle + half).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_none_is_none() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn centred_values_give_their_ratio() {
        let (first, second) = centred(30.4, 84.7, 3.1);
        assert!((second / first - 3.1).abs() < 1e-12);
        assert!((first * second - 30.4 * 84.7).abs() < 1e-6);
    }
}
