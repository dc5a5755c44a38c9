//! Times: the cache of the last one does not change the result, and every accepted time is
//! the instant computed with a calendar counted day by day.

#![no_main]

use fluent_bit_container_logs::format::rfc3339::{format, TimeParser};
use libfuzzer_sys::fuzz_target;

fn number(text: &[u8]) -> i64 {
    std::str::from_utf8(text)
        .expect("digits")
        .parse()
        .expect("digits")
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Seconds since 1970 by plain counting.
fn count(text: &[u8]) -> i64 {
    let year = number(&text[..4]);
    let days_of = |year| if is_leap(year) { 366 } else { 365 };
    let years: i64 = (0..year).map(days_of).sum::<i64>() - (0..1970).map(days_of).sum::<i64>();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = number(&text[5..7]) as usize;
    assert!((1..=lengths[month - 1]).contains(&number(&text[8..10])));
    let days = years + lengths[..month - 1].iter().sum::<i64>() + number(&text[8..10]) - 1;
    let zone = match text[text.len() - 1] {
        b'Z' | b'z' => 0,
        _ => {
            let zone = &text[text.len() - 6..];
            let seconds = number(&zone[1..3]) * 3600 + number(&zone[4..]) * 60;
            if zone[0] == b'-' {
                -seconds
            } else {
                seconds
            }
        }
    };
    days * 86_400
        + number(&text[11..13]) * 3600
        + number(&text[14..16]) * 60
        + number(&text[17..19])
        - zone
}

fuzz_target!(|data: &[u8]| {
    let mut parser = TimeParser::default();
    for text in data.split(|byte| *byte == b'\n') {
        let parsed = parser.parse(text);
        assert_eq!(parsed, TimeParser::default().parse(text));
        let Some(time) = parsed else { continue };
        assert!(time.nanos < 1_000_000_000);
        assert_eq!(time.seconds, count(text));
        let shown = format(time);
        // A zone can lead out of the years that four digits can show.
        if shown.len() == 30 && !shown.starts_with('-') {
            assert_eq!(TimeParser::default().parse(shown.as_bytes()), Some(time));
        }
    }
});
