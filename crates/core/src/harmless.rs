//! Text from files, servers and command lines made harmless. Each output has one place that calls one of these: the
//! terminal, reports, documents, file names.

use std::borrow::Cow;

/// The longest word that is made for a file name: two of them and an ending are still one.
const MAX_SLUG_CHARS: usize = 100;

/// Says whether a character does something instead of standing for itself: control characters, with the escape that
/// begins a terminal's commands, and what turns, hides or breaks text.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the text as it may reach a terminal: line breaks stay, whatever else acts is shown as a replacement character.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && acts(c);
    if text.contains(acts) {
        Cow::Owned(text.replace(acts, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns the same JSON, with every character that acts written as its number: they occur in strings only.
pub fn json(json: String) -> String {
    let acts = |c: char| c != '\n' && acts(c);
    if !json.contains(acts) {
        return json;
    }
    let mut numbers = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                numbers.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            numbers.push(c);
        }
    }
    numbers
}

/// Keeps what is harmless in a file name, a shell word, a tag and a comment.
pub fn slug(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@') {
            c
        } else {
            '_'
        }
    };
    let word: String = text.chars().take(MAX_SLUG_CHARS).map(safe).collect();
    // No name that means another folder, and none that looks like an option.
    word.trim_start_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_shown_and_the_rest_stays() {
        assert!(matches!(printable("12 µs – 3×\n你好"), Cow::Borrowed(_)));
        let title = "\x1b]0;owned\x07\u{9b}2J\r\t\u{202e}\0\u{7f}x";
        let shown = printable(title);
        assert_eq!(shown.matches('\u{fffd}').count(), 8, "{shown}");
        assert!(shown.starts_with("\u{fffd}]0;owned"));
    }

    #[test]
    fn a_slug_is_one_file_in_the_folder_it_is_meant_for() {
        for (text, made) in [
            ("../../x", "_.._x"),
            ("-rf", "rf"),
            ("a b\n/c\0", "a_b__c_"),
            ("..", ""),
            (
                "updates.http1-persistent@null",
                "updates.http1-persistent@null",
            ),
        ] {
            assert_eq!(slug(text), made);
        }
        assert_eq!(slug(&"x".repeat(100_000)).len(), 100);
    }

    proptest! {
        #[test]
        fn json_means_the_same(text: String) {
            let plain = serde_json::to_string(&[&text, "\u{202e}\u{e0001}\u{85}"]).unwrap();
            let made = json(plain.clone());
            prop_assert!(!made.contains(acts));
            let [was, is] = [plain, made].map(|json| serde_json::from_str::<Vec<String>>(&json).unwrap());
            prop_assert_eq!(was, is);
        }

        #[test]
        fn nothing_that_acts_reaches_a_terminal(text: String) {
            prop_assert!(!printable(&text).contains(|c: char| c != '\n' && acts(c)));
        }
    }
}
