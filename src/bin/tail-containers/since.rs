//! Times as `docker logs --since` takes them.

use std::time::Duration;

use fluent_bit_container_logs::ffi::local_time::seconds_of_local;
use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::format::rfc3339::TimeParser;
use fluent_bit_container_logs::telemetry::account::wall_clock;

const FORMS: &str = "write it as 10m, 1h30m, 2026-11-25T18:30:00Z, 2026-11-25 or 1764095400";

/// Nanoseconds of each unit, those whose names begin alike with the longer first.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
];

/// The table is drawn so often at the most, and so often at the least.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
const MOST_INTERVAL: Duration = Duration::from_secs(86_400);

/// The moment that `text` names, seen from now.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, wall_clock()).ok_or_else(|| format!("`{text}` is no time; {FORMS}"))
}

/// The time between two tables.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|interval| (LEAST_INTERVAL..=MOST_INTERVAL).contains(interval))
        .ok_or_else(|| format!("`{text}` is no time between 100ms and 1d; write it as 2s or 1m"))
}

fn parse_at(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = parse_duration(text) {
        return Some(before(now, ago));
    }
    if text.as_bytes().get(4) == Some(&b'-') {
        parse_date(text)
    } else {
        parse_seconds(text)
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    let seconds = now.seconds.saturating_sub_unsigned(ago.as_secs());
    match now.nanos.checked_sub(ago.subsec_nanos()) {
        Some(nanos) => Timestamp { seconds, nanos },
        None => Timestamp {
            seconds: seconds.saturating_sub(1),
            nanos: now.nanos + 1_000_000_000 - ago.subsec_nanos(),
        },
    }
}

/// `1h30m`, as Go writes durations, and with days.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, behind) = rest.split_at(end);
        let (unit, size) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        nanos += number.parse::<f64>().ok()? * size;
        rest = &behind[unit.len()..];
    }
    // Before 1970 there were no containers; nor will there be in so many years.
    (!text.is_empty() && nanos < 1e19).then(|| Duration::from_nanos(nanos as u64))
}

/// Seconds since 1970, with or without a fraction.
fn parse_seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    Some(Timestamp {
        seconds: seconds.parse().ok()?,
        nanos: format!("{fraction:0<9}").parse().ok()?,
    })
}

/// `2026-11-25`, perhaps with `T18:30`, `:00`, a fraction and a zone behind it.
/// Without a zone it is this machine's.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text
        .split_once('T')
        .map_or((text, None), |(date, time)| (date, Some(time)));
    // A day has a zone as well: `2026-11-25Z`.
    let (date, date_zone) = date.split_at_checked(10)?;
    let (time, zone) = match time {
        None => ("00:00", date_zone),
        Some(_) if !date_zone.is_empty() => return None,
        Some(time) => time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len())),
    };
    let seconds = if time.len() == 5 { ":00" } else { "" };
    let is_local = zone.is_empty();
    let zone = if is_local { "Z" } else { zone };
    let parsed = TimeParser::default().parse(format!("{date}T{time}{seconds}{zone}").as_bytes())?;
    match is_local {
        true => Some(Timestamp {
            seconds: seconds_of_local(parsed.seconds)?,
            ..parsed
        }),
        false => Some(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp {
        seconds: 1_700_000_000,
        nanos: 250_000_000,
    };

    fn at(text: &str) -> Option<(i64, u32)> {
        parse_at(text, NOW).map(|time| (time.seconds, time.nanos))
    }

    #[test]
    fn a_duration_counts_back_from_now() {
        assert_eq!(at("10m"), Some((1_699_999_400, 250_000_000)));
        assert_eq!(at("1h30m"), Some((1_699_994_600, 250_000_000)));
        assert_eq!(at("1.5h"), at("1h30m"));
        assert_eq!(at("2d"), Some((1_699_827_200, 250_000_000)));
        assert_eq!(at("500ms"), Some((1_699_999_999, 750_000_000)));
        assert_eq!(at("0s"), Some((1_700_000_000, 250_000_000)));
    }

    #[test]
    fn a_moment_is_taken_with_its_zone_and_a_bare_number_is_seconds() {
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-15T00:13:20+02:00",
            "2023-11-14T22:13:20.000Z",
            "1700000000",
        ] {
            assert_eq!(at(text), Some((1_700_000_000, 0)), "{text}");
        }
        assert_eq!(at("2023-11-14T22:13Z"), Some((1_699_999_980, 0)));
        assert_eq!(at("2023-11-14Z"), Some((1_699_920_000, 0)));
        assert_eq!(at("1700000000.25"), Some((1_700_000_000, 250_000_000)));
    }

    #[test]
    fn what_names_no_moment_is_refused() {
        for text in [
            "",
            "m",
            "10",
            "10x",
            "-5m",
            "1h30",
            "yesterday",
            "2023-13-01",
            "2023-11-14T25:00",
            "2023-11-14T",
            "2023-11-14ZT10:00",
            "1700000000.",
            "1.1234567890",
            "99999999999h",
            "2023-11-14 10:00",
        ] {
            // A bare number is a moment, long ago.
            let expected = (text == "10").then_some((10, 0));
            assert_eq!(at(text), expected, "{text:?}");
        }
        assert!(parse("10x").unwrap_err().contains("`10x`"));
    }

    #[test]
    fn a_table_has_an_interval_that_makes_sense() {
        assert_eq!(parse_interval("2s"), Ok(Duration::from_secs(2)));
        for text in ["0s", "99ms", "2d", "2", ""] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
