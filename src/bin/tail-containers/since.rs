//! Times as accepted by `docker logs --since`.

use std::time::Duration;

use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::telemetry::account::wall_clock;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};

const FORMS: &str = "use e.g. 10m, 1h30m, 2026-11-25T18:30:00Z, 2026-11-25 or 1764095400";

/// Bounds of the interval between two tables.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
const MOST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Parses a point in time, absolute or relative to now.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, wall_clock()).ok_or_else(|| format!("`{text}` is not a time; {FORMS}"))
}

/// Parses the interval between two tables.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|interval| (LEAST_INTERVAL..=MOST_INTERVAL).contains(interval))
        .ok_or_else(|| format!("`{text}` is not a time between 100ms and 1d; use e.g. 2s or 1m"))
}

fn parse_at(text: &str, now: Timestamp) -> Option<Timestamp> {
    let since_1970 = if let Some(ago) = parse_duration(text) {
        Duration::new(now.seconds.try_into().ok()?, now.nanos).saturating_sub(ago)
    } else if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        parse_duration(&format!("{text}s"))?
    } else {
        // Before 1970 there were no containers.
        Duration::try_from(parse_date(text)?.as_duration()).unwrap_or_default()
    };
    Some(Timestamp {
        seconds: since_1970.as_secs().try_into().ok()?,
        nanos: since_1970.subsec_nanos(),
    })
}

/// `1h30m`, as Go writes durations, and with days.
fn parse_duration(text: &str) -> Option<Duration> {
    // `12:30` also parses as a duration, but a time of day is meant.
    let span: Span = text.parse().ok().filter(|_| !text.contains(':'))?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    length.ok()?.try_into().ok()
}

/// Parses `2026-11-25`, optionally followed by `T18:30` or a blank and `18:30`, `:00`, a fraction
/// and a zone.
/// Without a zone, this machine's applies.
fn parse_date(text: &str) -> Option<jiff::Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = match rest.strip_prefix(' ') {
        Some(time) => format!("T{time}"),
        None => rest.to_owned(),
    };
    // A date alone may have a zone, too: `2026-11-25Z`. RFC 9557 allows it only after a time.
    let midnight = if rest.starts_with('T') { "" } else { "T00:00" };
    let text = format!("{date}{midnight}{rest}");
    let pieces = Pieces::parse(&text).ok()?;
    let zone = match pieces.to_numeric_offset() {
        Some(offset) => offset.to_time_zone(),
        None => pieces.to_time_zone().ok()?.unwrap_or_else(TimeZone::system),
    };
    zone.to_timestamp(pieces.date().to_datetime(pieces.time()?))
        .ok()
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
            "2023-11-14 22:13:20Z",
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
            "12:30",
            "yesterday",
            "2023-13-01",
            "2023-11-14T25:00",
            "2023-11-14T",
            "2023-11-14ZT10:00",
            "1700000000.",
            "1.1234567890",
            "99999999999h",
            "2023-11-14 ",
            "2023-11-14  10:00",
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
