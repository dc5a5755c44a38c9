//! Makes untrusted text safe to display. Names, labels and paths come from whoever created the
//! container; in a log or on a terminal they must not start a new line, control the terminal,
//! or change the order in which other text is displayed.

use std::borrow::Cow;

/// Whether a character must be replaced for display: it breaks the line, controls a terminal,
/// reorders the surrounding text, or is invisible.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'                        // soft hyphen
            | '\u{61c}'                     // Arabic letter mark
            | '\u{180e}'                    // Mongolian vowel separator
            | '\u{200b}'                    // zero width space; joiners belong to scripts and emoji
            | '\u{200e}' | '\u{200f}'       // left-to-right and right-to-left mark
            | '\u{2028}' | '\u{2029}'       // line and paragraph separator
            | '\u{202a}'..='\u{202e}'       // embeddings and overrides of direction
            | '\u{2060}'..='\u{206f}'       // invisible operators, isolates, shaping switches
            | '\u{feff}'                    // byte order mark
            | '\u{fff9}'..='\u{fffb}'       // interlinear annotation
            | '\u{e0000}'..='\u{e007f}'     // tags
        )
}

/// The text as a single line, with deceptive characters replaced by `?`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|character| {
                if is_deceptive(character) {
                    '?'
                } else {
                    character
                }
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_lines_steers_terminals_or_reorders_text_is_replaced() {
        let deceptive = [
            "\n",
            "\r",
            "\t",
            "\0",
            "\u{1b}",
            "\u{7f}",
            "\u{85}",
            "\u{9b}",
            "\u{9d}",
            "\u{2028}",
            "\u{2029}",
            "\u{200e}",
            "\u{200f}",
            "\u{61c}",
            "\u{202a}",
            "\u{202b}",
            "\u{202c}",
            "\u{202d}",
            "\u{202e}",
            "\u{2066}",
            "\u{2067}",
            "\u{2068}",
            "\u{2069}",
            "\u{200b}",
            "\u{2060}",
            "\u{206a}",
            "\u{feff}",
            "\u{fffb}",
            "\u{e0041}",
            "\u{ad}",
            "\u{180e}",
        ];
        for text in deceptive {
            assert_eq!(one_line(&format!("a{text}b")), "a?b", "{text:?}");
        }
    }

    #[test]
    fn words_of_any_script_and_emoji_stay() {
        for text in [
            "",
            "web-1",
            "žluť 日本 \u{fffd}",
            "שלום",
            "می\u{200c}خواهم",
            "👩\u{200d}💻 ❤\u{fe0f}",
        ] {
            assert!(
                matches!(one_line(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }
}
