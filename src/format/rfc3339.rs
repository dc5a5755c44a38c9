//! Times as Go's `RFC3339Nano` writes them: `2026-11-23T18:34:00.1234Z`, with one to nine
//! fraction digits, none on a whole second, and `Z` or a numeric offset.

use crate::format::position::Timestamp;

/// Length of `2026-11-23T18:34`, the part that is constant within a minute.
const MINUTE: usize = 16;

/// Length of `2026-11-23T18:34:00.`, the part that is constant within a second.
const SECOND: usize = 20;

/// Parses times. Caches the minute of the last one: consecutive entries nearly always share
/// it, which saves the calendar arithmetic. Those of a busy log share the second as well.
#[derive(Debug, Clone, Default)]
pub struct TimeParser {
    /// `None` before the first time; no fixed value would do, since a damaged text can hold
    /// any bytes.
    minute: Option<[u8; MINUTE]>,
    minute_seconds: i64,
    /// The last second with a fraction after it, in the same way.
    second: Option<[u8; SECOND]>,
    /// What it is in UTC.
    second_seconds: i64,
}

impl TimeParser {
    /// Parses `text`; `None` if it is not a valid time.
    #[inline]
    pub fn parse(&mut self, text: &[u8]) -> Option<Timestamp> {
        match text.split_first_chunk::<SECOND>() {
            Some((second, rest)) if Some(second) == self.second.as_ref() => {
                if let Some(nanos) = usual_fraction(rest) {
                    let seconds = self.second_seconds;
                    return Some(Timestamp { seconds, nanos });
                }
            }
            _ => {}
        }
        self.parse_any(text)
    }

    #[inline(never)]
    fn parse_any(&mut self, text: &[u8]) -> Option<Timestamp> {
        let (minute, rest) = text.split_first_chunk::<MINUTE>()?;
        let minute_seconds = if Some(minute) == self.minute.as_ref() {
            self.minute_seconds
        } else {
            let seconds = parse_minute(minute)?;
            self.minute = Some(*minute);
            self.minute_seconds = seconds;
            seconds
        };
        let (colon_seconds, rest) = rest.split_first_chunk::<3>()?;
        if colon_seconds[0] != b':' {
            return None;
        }
        // 60 is a leap second; Go never writes one, but other writers may.
        let seconds = minute_seconds + i64::from(two_digits(&colon_seconds[1..], 60)?);
        let (nanos, zone) = parse_fraction(rest)?;
        let offset = parse_zone(zone)?;
        self.second = text
            .first_chunk::<SECOND>()
            .filter(|second| second.ends_with(b"."))
            .copied();
        self.second_seconds = seconds;
        Some(Timestamp {
            seconds: seconds - offset,
            nanos,
        })
    }
}

/// Parses `123456789Z`, what follows the second in nine of ten times; conmon writes `+00:00`.
#[inline(always)]
fn usual_fraction(text: &[u8]) -> Option<u32> {
    let (eight, rest) = text.split_first_chunk::<8>()?;
    let (ninth, zone) = rest.split_first()?;
    if zone != b"Z" && zone != b"+00:00" {
        return None;
    }
    let ninth = ninth.wrapping_sub(b'0');
    (ninth <= 9).then_some(eight_digits(eight)? * 10 + u32::from(ninth))
}

fn parse_minute(text: &[u8; MINUTE]) -> Option<i64> {
    if text[4] != b'-' || text[7] != b'-' || text[13] != b':' {
        return None;
    }
    if text[10] != b'T' && text[10] != b't' {
        return None;
    }
    let year = two_digits(&text[0..2], 99)? * 100 + two_digits(&text[2..4], 99)?;
    let month = two_digits(&text[5..7], 12)?;
    let day = two_digits(&text[8..10], 31)?;
    let hour = two_digits(&text[11..13], 23)?;
    let minute = two_digits(&text[14..16], 59)?;
    if month == 0 || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + i64::from(hour * 3600 + minute * 60))
}

fn two_digits(text: &[u8], most: u32) -> Option<u32> {
    let tens = text.first()?.wrapping_sub(b'0');
    let units = text.get(1)?.wrapping_sub(b'0');
    if tens > 9 || units > 9 {
        return None;
    }
    let value = u32::from(tens) * 10 + u32::from(units);
    (value <= most).then_some(value)
}

fn is_leap(year: u32) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in 400-year eras whose
/// years begin in March, so that leap days come last.
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Parses the optional `.fraction`; returns nanoseconds and the rest. Digits after the ninth
/// are dropped.
fn parse_fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let (mut nanos, mut count) = match digits.first_chunk::<8>().and_then(eight_digits) {
        Some(value) => (value, 8),
        None => (0, 0),
    };
    while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        if count < 9 {
            nanos = nanos * 10 + u32::from(digit);
        }
        count += 1;
    }
    if count == 0 {
        return None;
    }
    for _ in count..9 {
        nanos *= 10;
    }
    Some((nanos, &digits[count..]))
}

/// Parses eight digits at once, since nine out of ten times have nine fraction digits.
/// Adjacent digits are combined into groups of two, four and eight.
#[inline]
fn eight_digits(text: &[u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let values = u64::from_le_bytes(*text) ^ (EACH * u64::from(b'0'));
    // Any byte that was not a digit is now above 9: its high bit is set, or the addition sets
    // it.
    if (values | values.wrapping_add(EACH * 0x76)) & (EACH * 0x80) != 0 {
        return None;
    }
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = fours * 10_000 + (fours >> 32);
    u32::try_from(eight & 0xffff_ffff).ok()
}

/// Offset of the zone in seconds east of UTC.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let seconds =
                i64::from(two_digits(hours, 23)? * 3600 + two_digits(&[*m1, *m2], 59)? * 60);
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Formats `time` as `2026-11-23T18:34:00.123456789Z`, always with nine digits: the exact
/// instant, readable by people and JSON parsers.
pub fn format(time: Timestamp) -> String {
    let days = time.seconds.div_euclid(86_400);
    let second_of_day = time.seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        time.nanos
    )
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(i64, u32)> {
        crate::fuzz_seeds::keep("rfc3339", text);
        TimeParser::default()
            .parse(text.as_bytes())
            .map(|time| (time.seconds, time.nanos))
    }

    #[test]
    fn a_fraction_of_any_length_and_damage_anywhere_in_it_is_read_as_digit_by_digit() {
        let parse = |fraction: &str| {
            TimeParser::default().parse(format!("2026-11-23T18:34:00.{fraction}Z").as_bytes())
        };
        for digits in [
            "000000001",
            "123456789",
            "987654321",
            "999999999",
            "100000000",
        ] {
            for length in 1..=9 {
                let nanos = parse(&digits[..length]).map(|time| time.nanos);
                let padded = format!("{:0<9}", &digits[..length]);
                assert_eq!(nanos, padded.parse().ok(), "{}", &digits[..length]);
            }
        }
        for at in 0..9 {
            for byte in (0..=127u8).filter(|byte| !byte.is_ascii_digit()) {
                let mut fraction = "123456789".to_owned().into_bytes();
                fraction[at] = byte;
                let parsed = parse(&String::from_utf8_lossy(&fraction));
                assert_eq!(parsed, None, "{at} {byte:#x}");
            }
        }
    }

    #[test]
    fn known_instants() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(parse("2001-09-09T01:46:40Z"), Some((1_000_000_000, 0)));
        assert_eq!(
            parse("2024-02-29T12:00:00.5Z"),
            Some((1_709_208_000, 500_000_000))
        );
        assert_eq!(parse("1969-12-31T23:59:59.000000001Z"), Some((-1, 1)));
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some((-62_135_596_800, 0)));
        assert_eq!(
            parse("2023-11-14T22:13:20.123456789Z"),
            Some((1_700_000_000, 123_456_789))
        );
    }

    #[test]
    fn one_to_nine_digits_of_fraction() {
        for digits in 1..=9usize {
            let text = format!("2023-11-14T22:13:20.{}Z", &"123456789"[..digits]);
            let nanos = 123_456_789 / 10u32.pow(9 - digits as u32) * 10u32.pow(9 - digits as u32);
            assert_eq!(parse(&text), Some((1_700_000_000, nanos)), "{text}");
        }
    }

    #[test]
    fn offsets_name_the_same_instant() {
        assert_eq!(parse("2023-11-15T00:13:20+02:00"), Some((1_700_000_000, 0)));
        assert_eq!(
            parse("2023-11-14T16:43:20.25-05:30"),
            Some((1_700_000_000, 250_000_000))
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2023",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-13-14T22:13:20Z",
            "2023-02-29T22:13:20Z",
            "2023-11-14T24:13:20Z",
            "2023-11-14T22:60:20Z",
            "2023-11-14T22:13:61Z",
            "2023-11-14 22:13:20Z",
            "2023-11-14T22:13:20.12",
            "2023-11-14T22:13:20Zx",
            "2023-11-14T22:13:20+0200",
            "x023-11-14T22:13:20Z",
            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0:20Z",
            "2023-00-14T22:13:20Z",
            "2023-11-00T22:13:20Z",
            "2023-11-14T22:13x20Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_bytes_are_taken_for_a_minute_that_was_never_seen() {
        for byte in 0..=u8::MAX {
            let text = [&[byte; MINUTE][..], b":20.1234567Z"].concat();
            crate::fuzz_seeds::keep("rfc3339", &text);
            assert_eq!(TimeParser::default().parse(&text), None, "{byte}");
        }
    }

    #[test]
    fn a_refused_minute_is_not_remembered() {
        let mut parser = TimeParser::default();
        assert!(parser.parse(b"2023-11-14T22:13:20Z").is_some());
        assert!(parser.parse(b"2023-99-14T22:13:20Z").is_none());
        assert!(parser.parse(b"2023-99-14T22:13:20Z").is_none());
        assert!(parser.parse(b"2023-11-14T22:13:21Z").is_some());
    }

    /// Each second stands after another of each kind.
    #[test]
    fn a_time_of_a_second_that_was_seen_is_read_as_by_a_parser_that_has_seen_none() {
        let seconds = [
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:60",
            "2023-11-14T22:13:2x",
        ];
        let ends = [
            "Z",
            "z",
            ".Z",
            ".5Z",
            ".12345678Z",
            ".123456789Z",
            ".123456789z",
            ".12345678xZ",
            ".1234567890Z",
            ".123456789",
            ".123456789Zx",
            ".123456789+02:00",
            ",123456789Z",
            ".123456789-05:30",
            ".123456789+00:00",
            ".12345678x+00:00",
            ".x23456789Z",
            "+02:00",
        ];
        let texts: Vec<String> = seconds
            .iter()
            .flat_map(|second| ends.map(|end| format!("{second}{end}")))
            .collect();
        for before in &texts {
            for text in &texts {
                let mut parser = TimeParser::default();
                parser.parse(before.as_bytes());
                let fresh = TimeParser::default().parse(text.as_bytes());
                assert_eq!(
                    parser.parse(text.as_bytes()),
                    fresh,
                    "{text} after {before}"
                );
            }
        }
        let mut parser = TimeParser::default();
        assert_eq!(parser.parse(&[0; 30]), None);
    }

    #[test]
    fn formatting_is_the_inverse_of_parsing() {
        let mut parser = TimeParser::default();
        for day in (-800_000..800_000i64).step_by(97) {
            let time = Timestamp {
                seconds: day * 86_400 + 45_296,
                nanos: (day.unsigned_abs() as u32 * 991) % 1_000_000_000,
            };
            if time.seconds < -62_135_596_800 || time.seconds > 253_402_300_799 {
                continue;
            }
            let text = format(time);
            assert_eq!(parser.parse(text.as_bytes()), Some(time), "{text}");
        }
    }
}
