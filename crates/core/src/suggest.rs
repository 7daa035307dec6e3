//! What somebody may have meant who wrote something else.

/// Returns the known word that is nearest to another one, if it is near at all.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A slip in three letters is a slip; more is another word.
    let most = word.chars().count().div_ceil(3);
    let near = known
        .into_iter()
        .map(|other| (distance(word, other), other))
        .filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Writes what may have been meant behind a message; nothing where nothing is near.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// How many characters are to be inserted, left out, replaced or exchanged with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["quick", "standard", "echo-open", "echo-closed"];
        for (word, near) in [
            ("quik", Some("quick")),
            ("qucik", Some("quick")),
            ("Standart", Some("standard")),
            ("echo-opne", Some("echo-open")),
            ("reproduce", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(hint("quik", known), " (did you mean `quick`?)");
        assert_eq!(hint("nothing", known), "");
    }
}
