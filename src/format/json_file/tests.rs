use super::*;
use crate::format::position::Timestamp;
use crate::fuzz_seeds::keep;

const TIME: &str = "2023-11-14T22:13:20.000000005Z";
const INSTANT: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 5,
};

fn owned(entry: Entry<'_>) -> OwnedEntry {
    OwnedEntry {
        time: Some(entry.time),
        stream: entry.stream,
        text: String::from_utf8(entry.text.to_vec()).unwrap(),
        ends_line: entry.ends_line,
        attrs: entry.attrs.to_vec(),
        at: 0,
    }
}

fn fast(line: &[u8]) -> Option<OwnedEntry> {
    Decoder::default().decode(line).map(owned)
}

fn record(escaped: &str, stream: &str) -> String {
    format!("{{\"log\":\"{escaped}\",\"stream\":\"{stream}\",\"time\":\"{TIME}\"}}")
}

fn expected(text: &str, stream: Stream, ends_line: bool) -> OwnedEntry {
    OwnedEntry {
        time: Some(INSTANT),
        stream,
        text: text.to_owned(),
        ends_line,
        attrs: Vec::new(),
        at: 0,
    }
}

/// Escaped text as dockerd writes it, and its decoded form without the line feed.
fn valid_cases() -> Vec<(&'static str, &'static str, bool)> {
    vec![
        ("hello\\n", "hello", true),
        ("\\n", "", true),
        ("", "", false),
        ("no end", "no end", false),
        ("\\n\\n", "\n", true),
        ("a\\\\n", "a\\n", false),
        ("a\\\\\\n", "a\\", true),
        ("a\\\\\\\\n", "a\\\\n", false),
        (
            "quote \\\" and \\u003ctag\\u003e \\u0026\\n",
            "quote \" and <tag> &",
            true,
        ),
        (
            "tab\\u0009nul\\u0000esc\\u001b[0m\\r\\n",
            "tab\tnul\0esc\u{1b}[0m\r",
            true,
        ),
        (
            "bad byte \\ufffd, real \u{fffd}\\n",
            "bad byte \u{fffd}, real \u{fffd}",
            true,
        ),
        (
            "line sep \\u2028\\u2029\\n",
            "line sep \u{2028}\u{2029}",
            true,
        ),
        ("žluťoučký 日本語 😀\\n", "žluťoučký 日本語 😀", true),
        ("\\ud83d\\ude00\\n", "😀", true),
        (
            "{\\\"json\\\":\\\"inside\\\",\\\"stream\\\":\\\"stderr\\\"}\\n",
            "{\"json\":\"inside\",\"stream\":\"stderr\"}",
            true,
        ),
        ("\\/\\b\\f\\t\\n", "/\u{8}\u{c}\t", true),
        (
            "a line that is longer than one chunk of the scan, and plain\\n",
            "a line that is longer than one chunk of the scan, and plain",
            true,
        ),
        (
            "a line that is longer than one chunk of the scan \\\"quoted\\\" in its second\\n",
            "a line that is longer than one chunk of the scan \"quoted\" in its second",
            true,
        ),
    ]
}

#[test]
fn records_as_dockerd_writes_them() {
    for (escaped, text, ends_line) in valid_cases() {
        for stream in Stream::ALL {
            let line = record(escaped, stream.name());
            keep("json_file", &line);
            keep("generation", format!("\0\x01{line}\n"));
            let want = expected(text, stream, ends_line);
            assert_eq!(fast(line.as_bytes()), Some(want.clone()), "{line}");
            let general = decode_unusual(line.as_bytes());
            assert_eq!(
                general,
                Unusual {
                    entries: vec![want],
                    skipped: 0
                },
                "{line}"
            );
        }
    }
}

#[test]
fn every_byte_that_dockerd_escapes_comes_back() {
    for byte in 0..0x80u8 {
        let text = format!("<{}>", byte as char);
        let escaped = serde_json::to_string(&text).unwrap();
        let line = record(&escaped[1..escaped.len() - 1], "stdout");
        assert_eq!(
            fast(line.as_bytes()),
            Some(expected(&text, Stream::Stdout, false)),
            "{line}"
        );
    }
}

#[test]
fn unusual_shapes_are_left_to_the_general_parser() {
    for line in [
        format!("{{\"stream\":\"stdout\",\"log\":\"x\\n\",\"time\":\"{TIME}\"}}"),
        format!("{{ \"log\": \"x\\n\", \"stream\": \"stdout\", \"time\": \"{TIME}\" }}"),
        format!("{{\"log\":\"x\\n\",\"time\":\"{TIME}\",\"stream\":\"stdout\"}}"),
        format!("{{\"log\":\"x\\n\",\"time\":\"{TIME}\"}}"),
        format!("{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{TIME}\",\"new\":[1,{{}}]}}"),
    ] {
        keep("json_file", &line);
        assert_eq!(fast(line.as_bytes()), None, "{line}");
        let general = decode_unusual(line.as_bytes());
        assert_eq!(
            general.entries,
            vec![expected("x", Stream::Stdout, true)],
            "{line}"
        );
        assert_eq!(general.skipped, 0, "{line}");
    }
}

#[test]
fn attributes_are_decoded_and_remembered() {
    let mut decoder = Decoder::default();
    for (attrs, want) in [
        (
            r#"{"tag":"a","stream":"x\",\"stream\":\"stderr"}"#,
            &b"\x82\xa6stream\xb3x\",\"stream\":\"stderr\xa3tag\xa1a"[..],
        ),
        (r#"{"env":""}"#, b"\x81\xa3env\xa0"),
        (r#"{"env":""}"#, b"\x81\xa3env\xa0"),
        (r#"{}"#, b""),
    ] {
        let line = format!(
            "{{\"log\":\"x\\n\",\"stream\":\"stderr\",\"attrs\":{attrs},\"time\":\"{TIME}\"}}"
        );
        keep("json_file", &line);
        let entry = owned(decoder.decode(line.as_bytes()).unwrap());
        assert_eq!(
            entry,
            OwnedEntry {
                attrs: want.to_vec(),
                ..expected("x", Stream::Stderr, true)
            }
        );
        assert_eq!(
            decode_unusual(line.as_bytes()),
            Unusual {
                entries: vec![entry],
                skipped: 0
            }
        );
    }
    let line = format!(
        "{{\"log\":\"x\\n\",\"stream\":\"stderr\",\"attrs\":{{\"a\":1}},\"time\":\"{TIME}\"}}"
    );
    assert!(decoder.decode(line.as_bytes()).is_none());
}

#[test]
fn a_record_without_log_delivers_nothing_and_is_no_damage() {
    let line = format!("{{\"stream\":\"stdout\",\"time\":\"{TIME}\"}}");
    assert_eq!(decode_unusual(line.as_bytes()), Unusual::default());
}

#[test]
fn a_record_without_time_is_delivered_without_one() {
    let found = decode_unusual(b"{\"log\":\"x\\n\",\"stream\":\"stderr\"}");
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[0].time, None);
    assert_eq!(found.entries[0].stream, Stream::Stderr);
}

#[test]
fn a_torn_record_gives_way_to_the_whole_one_glued_behind_it() {
    let whole = record("line 600\\n", "stderr");
    for torn in [
        "{\"log\":\"line 324 xxx",
        "{\"log\":\"line 324\\n\",\"stre",
        "{",
        "{\"log\":\"a\\",
    ] {
        let line = format!("{torn}{whole}");
        keep("json_file", &line);
        assert_eq!(fast(line.as_bytes()), None, "{line}");
        let found = decode_unusual(line.as_bytes());
        let want = OwnedEntry {
            at: torn.len(),
            ..expected("line 600", Stream::Stderr, true)
        };
        assert_eq!(found.entries, vec![want], "{line}");
        assert_eq!(found.skipped, torn.len(), "{line}");
    }
}

#[test]
fn records_glued_without_a_line_feed_are_all_taken() {
    let line = format!(
        "{}{}",
        record("one\\n", "stdout"),
        record("two\\n", "stderr")
    );
    assert_eq!(fast(line.as_bytes()), None);
    let found = decode_unusual(line.as_bytes());
    let second = OwnedEntry {
        at: line.len() / 2,
        ..expected("two", Stream::Stderr, true)
    };
    assert_eq!(
        found.entries,
        vec![expected("one", Stream::Stdout, true), second]
    );
    assert_eq!(found.skipped, 0);
}

#[test]
fn a_nul_hole_is_counted_and_passed_over() {
    let whole = record("after\\n", "stdout");
    let mut line = vec![0; 500];
    line.extend_from_slice(whole.as_bytes());
    keep("generation", [b"\0\x07", &line[..]].concat());
    let found = decode_unusual(&line);
    assert_eq!(
        found.entries,
        vec![OwnedEntry {
            at: 500,
            ..expected("after", Stream::Stdout, true)
        }]
    );
    assert_eq!(found.skipped, 500);
}

#[test]
fn garbage_is_counted_whole() {
    for line in ["garbage", "[]", "{}", "null", "{\"other\":1}", "\u{0}\u{0}"] {
        keep("json_file", line);
        let found = decode_unusual(line.as_bytes());
        assert_eq!(
            found,
            Unusual {
                entries: vec![],
                skipped: line.len()
            },
            "{line:?}"
        );
    }
    assert_eq!(decode_unusual(b""), Unusual::default());
    assert_eq!(decode_unusual(b"\xff\xfe").skipped, 2);
}

#[test]
fn bytes_that_are_no_utf8_are_delivered_with_a_replacement() {
    let mut line = record("ab", "stdout").into_bytes();
    line[9] = 0xff;
    assert_eq!(fast(&line), None);
    let found = decode_unusual(&line);
    assert_eq!(
        found.entries,
        vec![expected("a\u{fffd}", Stream::Stdout, false)]
    );
}

/// The fast decoder never disagrees with serde_json: on every prefix, on every
/// single-byte change, and on every cut with the rest glued on.
#[test]
fn fast_and_general_agree_on_damaged_records() {
    let changes = [
        b'"', b'\\', 0u8, b'\n', b'n', b'u', b'{', b'}', 0x80, b'9', b',',
    ];
    let mut agreed = 0;
    for (escaped, _, _) in valid_cases() {
        let line = record(escaped, "stdout").into_bytes();
        let mut inputs: Vec<Vec<u8>> = Vec::new();
        for at in 0..line.len() {
            inputs.push(line[..at].to_vec());
            inputs.push([&line[..at], &line[..]].concat());
            for change in changes {
                let mut changed = line.clone();
                changed[at] = change;
                inputs.push(changed);
            }
        }
        for input in inputs {
            if let Some(entry) = fast(&input) {
                let general = decode_unusual(&input);
                assert_eq!(
                    general,
                    Unusual {
                        entries: vec![entry],
                        skipped: 0
                    },
                    "{}",
                    String::from_utf8_lossy(&input)
                );
                agreed += 1;
            } else {
                decode_unusual(&input);
            }
        }
    }
    assert!(
        agreed > 1000,
        "only {agreed} inputs were accepted by the fast decoder"
    );
}

#[test]
fn an_over_long_fraction_or_offset_time_still_decodes() {
    for (time, nanos) in [
        ("2023-11-14T22:13:20Z", 0),
        ("2023-11-14T23:13:20.5+01:00", 500_000_000),
    ] {
        let line = format!("{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}");
        let entry = fast(line.as_bytes()).unwrap();
        assert_eq!(
            entry.time,
            Some(Timestamp {
                seconds: 1_700_000_000,
                nanos
            })
        );
    }
}
