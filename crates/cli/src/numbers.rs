//! Whole numbers on the command line: whatever is no good is told with what is.

use std::ops::RangeInclusive;

/// Makes a parser of whole numbers in a range.
pub(crate) fn within<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|number| range.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                format!(
                    "use a whole number from {} to {}",
                    range.start(),
                    range.end()
                )
            })
    }
}

/// Seeds stay below 2^53, so that any JSON reader keeps them exact.
pub(crate) fn seed() -> impl Fn(&str) -> Result<u64, String> + Clone {
    within(0..=(1 << 53) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_in_range_will_do() {
        let parse = within::<u32>(1..=100);
        assert_eq!(parse("100"), Ok(100));
        for text in [
            "0",
            "101",
            "-1",
            "",
            "ten",
            "1e1",
            "99999999999999999999999",
        ] {
            assert_eq!(
                parse(text),
                Err("use a whole number from 1 to 100".to_owned()),
                "{text}"
            );
        }
        assert!(within::<u8>(0..=u64::MAX)("256").is_err());
    }
}
