use super::*;
use crate::fuzz_seeds::keep;

const INSTANT: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 5,
};
const NANOS: i64 = 1_700_000_000_000_000_005;
const ID: [u8; 64] = [b'c'; 64];

// A separate, minimal encoder.

fn varint(value: u64) -> Vec<u8> {
    if value < 0x80 {
        vec![value as u8]
    } else {
        [vec![value as u8 | 0x80], varint(value >> 7)].concat()
    }
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn attr(key: &str, value: &str) -> Vec<u8> {
    bytes(
        6,
        &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat(),
    )
}

/// A message as dockerd writes it, with `more` at its end.
fn message(stream: Stream, line: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut message = [bytes(1, stream.name().as_bytes()), number(2, NANOS)].concat();
    if !line.is_empty() {
        message.extend(bytes(3, line));
    }
    message.extend(more.concat());
    message
}

fn piece(line: &[u8], is_last: bool, ordinal: i64) -> Vec<u8> {
    let last = if is_last { number(1, 1) } else { vec![] };
    let metadata = bytes(5, &[last, bytes(2, &ID), number(3, ordinal)].concat());
    message(Stream::Stdout, line, &[number(4, 1), metadata])
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&length, message, &length].concat()
}

fn good(line: &str) -> Vec<u8> {
    frame(&message(Stream::Stdout, line.as_bytes(), &[]))
}

#[derive(Debug, Clone, PartialEq)]
struct Want {
    time: Timestamp,
    stream: Stream,
    line: Vec<u8>,
    ends_line: bool,
    attrs: Vec<(String, String)>,
}

fn want(line: &[u8]) -> Want {
    Want {
        time: INSTANT,
        stream: Stream::Stdout,
        line: line.to_vec(),
        ends_line: true,
        attrs: vec![],
    }
}

fn decoded(message: &[u8]) -> Option<Want> {
    let LocalEntry {
        time,
        stream,
        line,
        ends_line,
        attrs,
    } = decode(message)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let attrs = attrs.map(|(key, value)| (text(key), text(value))).collect();
    Some(Want {
        time,
        stream,
        line: line.to_vec(),
        ends_line,
        attrs,
    })
}

fn pairs(attrs: &[(&str, &str)]) -> Vec<(String, String)> {
    attrs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// Messages and their decoded form: first those that dockerd writes, then others that protobuf
/// allows.
fn valid_cases() -> Vec<(&'static str, Vec<u8>, Want)> {
    let plain = |line: &[u8]| (message(Stream::Stdout, line, &[]), want(line));
    let long = [b'x'; 16384];
    let at = |nanos: i64, seconds, rest| {
        let message = [bytes(1, b"stdout"), number(2, nanos), bytes(3, b"x")].concat();
        (
            message,
            Want {
                time: Timestamp {
                    seconds,
                    nanos: rest,
                },
                ..want(b"x")
            },
        )
    };
    let unknown = [
        number(7, -1),
        bytes(200, b"?"),
        vec![8 << 3 | 1],
        vec![0; 8],
        vec![9 << 3 | 5],
        vec![0; 4],
    ];
    let (source, time, line) = (bytes(1, b"stderr"), number(2, NANOS), bytes(3, b"x"));
    let stderr = Want {
        stream: Stream::Stderr,
        ..want(b"x")
    };
    let epoch = Timestamp::default();
    let cut = |line: &[u8]| Want {
        ends_line: false,
        ..want(line)
    };
    [
        ("a line", plain(b"hello")),
        ("an empty line", plain(b"")),
        ("any bytes", plain(b"\xff\xfe\0\x0a\x1b[0m \xf0\x9f\r")),
        ("as long as a line can be", plain(&long)),
        ("a frame in a line", plain(&good("inside"))),
        (
            "stderr",
            (message(Stream::Stderr, b"x", &[]), stderr.clone()),
        ),
        ("a first piece", (piece(&long, false, 1), cut(&long))),
        ("a last piece", (piece(b"end", true, 300), want(b"end"))),
        ("an empty last piece", (piece(b"", true, 2), want(b""))),
        (
            "a stream that ended in mid-line",
            (piece(b"$ ", false, 1), cut(b"$ ")),
        ),
        (
            "attributes",
            (
                message(
                    Stream::Stdout,
                    b"x",
                    &[attr("env", ""), attr("tag", "žluť")],
                ),
                Want {
                    attrs: pairs(&[("env", ""), ("tag", "žluť")]),
                    ..want(b"x")
                },
            ),
        ),
        ("before 1970", at(-1, -1, 999_999_999)),
        (
            "the earliest time",
            at(i64::MIN, -9_223_372_037, 145_224_192),
        ),
        ("the latest time", at(i64::MAX, 9_223_372_036, 854_775_807)),
        ("an explicit 1970", at(0, 0, 0)),
        (
            "nothing",
            (
                vec![],
                Want {
                    time: epoch,
                    ..want(b"")
                },
            ),
        ),
        (
            "no time",
            (
                [&*source, &*line].concat(),
                Want {
                    time: epoch,
                    ..stderr.clone()
                },
            ),
        ),
        ("no source", ([&*time, &*line].concat(), want(b"x"))),
        (
            "another source",
            (
                [&*bytes(1, b"console"), &*time, &*line].concat(),
                want(b"x"),
            ),
        ),
        (
            "another order",
            ([&*line, &*time, &*source].concat(), stderr.clone()),
        ),
        (
            "fields twice",
            (
                [
                    number(2, 7),
                    bytes(3, b"y"),
                    bytes(1, b"stdout"),
                    line,
                    source,
                    time,
                ]
                .concat(),
                stderr.clone(),
            ),
        ),
        (
            "metadata twice, which protobuf merges",
            (
                message(
                    Stream::Stdout,
                    b"x",
                    &[
                        bytes(5, &number(1, 1)),
                        number(4, 1),
                        bytes(5, &number(3, 2)),
                    ],
                ),
                want(b"x"),
            ),
        ),
        (
            "metadata of no piece",
            (message(Stream::Stdout, b"x", &[bytes(5, &[])]), want(b"x")),
        ),
        (
            "unknown fields behind",
            (message(Stream::Stdout, b"x", &unknown), want(b"x")),
        ),
        (
            "unknown fields before, between and within",
            (
                [
                    unknown.concat(),
                    bytes(
                        6,
                        &[unknown.concat(), bytes(2, b"v"), bytes(1, b"k")].concat(),
                    ),
                    unknown.concat(),
                    attr("", ""),
                    message(
                        Stream::Stdout,
                        b"x",
                        &[number(4, 1), bytes(5, &unknown.concat())],
                    ),
                ]
                .concat(),
                Want {
                    attrs: pairs(&[("k", "v"), ("", "")]),
                    ..cut(b"x")
                },
            ),
        ),
    ]
    .into_iter()
    .map(|(name, (message, want))| (name, message, want))
    .collect()
}

/// Taken from a file of dockerd 20.10.24, not from the encoder above.
#[test]
fn frames_that_dockerd_wrote_decode() {
    let line =
        b"\0\0\0\x1a\x0a\x06stdout\x10\xa5\xdc\xb7\xab\xa8\xc2\xb1\xf5\x18\x1a\x06line 1\0\0\0\x1a";
    // The second half of a character that was cut in two at the size limit of a piece.
    let piece =
        b"\0\0\0\x5f\x0a\x06stdout\x10\x94\xb2\xda\xbe\xa8\xc2\xb1\xf5\x18\x1a\x01\xa9\x20\x01\x2a\x46\
        \x08\x01\x12\x4080dba2afd4328bde07a596c81ece0adda84df672769508f62bf8756a766e449c\x18\x02\0\0\0\x5f";
    for (frame, nanos, line) in [
        (&line[..], 310_849_061, &b"line 1"[..]),
        (piece, 351_262_996, b"\xa9"),
    ] {
        let message = &frame[4..frame.len() - 4];
        assert_eq!(
            first_frame(frame),
            Frame::Whole {
                message,
                length: frame.len()
            }
        );
        let time = Timestamp {
            seconds: 1_795_465_184,
            nanos,
        };
        assert_eq!(decoded(message), Some(Want { time, ..want(line) }));
    }
}

#[test]
fn messages_say_what_was_encoded() {
    for (name, message, want) in valid_cases() {
        assert_eq!(decoded(&message), Some(want), "{name}");
        if message.is_empty() {
            continue;
        }
        let length = message.len() + 8;
        for behind in [&b""[..], b"x", &good("next"), &[0; 9]] {
            let data = [frame(&message), behind.to_vec()].concat();
            assert_eq!(
                first_frame(&data),
                Frame::Whole {
                    message: &message,
                    length
                },
                "{name}"
            );
        }
    }
}

/// However many bytes the time and the length take, and whatever a byte is changed to.
#[test]
fn what_is_decoded_at_once_is_what_was_encoded_field_by_field() {
    let times = [0, 1 << 55, (1 << 56) - 1, 1 << 56, NANOS, i64::MAX, -1];
    let lines = [0, 1, 127, 128, 16_384].map(|length| vec![b'x'; length]);
    for stream in Stream::ALL {
        for (time, line) in times
            .iter()
            .flat_map(|time| lines.iter().map(move |line| (time, line)))
        {
            let start = [bytes(1, stream.name().as_bytes()), number(2, *time)].concat();
            let mut message = [start.clone(), bytes(3, line)].concat();
            let usual = decode_usual(&message);
            let is_usual = (1 << 56..=i64::MAX).contains(time);
            assert_eq!(usual.is_some(), is_usual, "{time} {}", line.len());
            assert_eq!(decode(&message), decode_any(&message));
            for at in 0..start.len() + 4 {
                let Some(before) = message.get(at).copied() else {
                    continue;
                };
                for byte in 0..=u8::MAX {
                    message[at] = byte;
                    if let Some(usual) = decode_usual(&message) {
                        assert_eq!(Some(usual), decode_any(&message), "{byte} at {at}");
                    }
                }
                message[at] = before;
            }
        }
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_incomplete() {
    for (name, message, _) in valid_cases()
        .into_iter()
        .filter(|(_, message, _)| !message.is_empty())
    {
        let frame = frame(&message);
        keep("local", &frame);
        for end in 0..frame.len() {
            assert_eq!(
                first_frame(&frame[..end]),
                Frame::Incomplete,
                "{name} cut at {end}"
            );
        }
    }
}

#[test]
fn a_message_cut_within_a_field_is_refused() {
    for (name, message, _) in valid_cases() {
        let mut ends_of_fields = vec![];
        let mut rest = &message[..];
        while !rest.is_empty() {
            ends_of_fields.push(message.len() - rest.len());
            rest = first_field(rest).unwrap().2;
        }
        for end in 0..message.len() {
            let whole_fields = ends_of_fields.contains(&end);
            assert_eq!(
                decode(&message[..end]).is_some(),
                whole_fields,
                "{name} cut at {end}"
            );
        }
    }
}

#[test]
fn what_is_no_entry_is_refused() {
    let over_long = [&[0x10][..], &[0x80; 10], &[0]].concat();
    for (name, message) in [
        ("a field numbered 0", vec![0, 0]),
        ("a source that is a number", number(1, 1)),
        ("a time that is text", bytes(2, b"now")),
        (
            "a line of eight bytes",
            [vec![3 << 3 | 1], vec![0; 8]].concat(),
        ),
        ("a group", vec![7 << 3 | 3, 7 << 3 | 4]),
        ("an unused wire type", vec![7 << 3 | 6]),
        ("a varint without end", over_long),
        (
            "a length beyond any memory",
            [vec![0x1a], varint(u64::MAX)].concat(),
        ),
        ("metadata that is torn", bytes(5, &[0x08])),
        ("metadata of another type", bytes(5, &bytes(1, b"yes"))),
        ("an attribute that is torn", bytes(6, &[0x0a, 9])),
        ("an attribute that is a number", bytes(6, &number(2, 1))),
    ] {
        keep("local", frame(&message));
        assert_eq!(decode(&message), None, "{name}");
    }
}

#[test]
fn lengths_that_dockerd_refuses_are_corrupt() {
    for (header, want) in [
        (&b""[..], Frame::Incomplete),
        (b"\0\0\0", Frame::Incomplete),
        (b"\0\x0f", Frame::Incomplete),
        (b"\0\x10", Frame::Corrupt),
        (b"{", Frame::Corrupt),
        (b"\0\0\0\0", Frame::Corrupt),
        (b"\0\0\0\x01", Frame::Incomplete),
        (b"\0\x0f\x42\x40", Frame::Incomplete),
        (b"\0\x0f\x42\x41", Frame::Corrupt),
        (b"\xff\xff\xff\xff", Frame::Corrupt),
    ] {
        assert_eq!(first_frame(header), want, "{header:?}");
    }
    let largest = frame(&[0x0a; MAX_MESSAGE]);
    assert!(
        matches!(first_frame(&largest), Frame::Whole { length, .. } if length == MAX_MESSAGE + 8)
    );
    assert_eq!(
        first_frame(&frame(&[0x0a; MAX_MESSAGE + 1])),
        Frame::Corrupt
    );
}

#[test]
fn a_footer_that_disagrees_is_corrupt_from_its_first_wrong_byte() {
    let frame = good("x");
    for at in frame.len() - 4..frame.len() {
        let mut damaged = frame.clone();
        damaged[at] ^= 0x40;
        keep("local", [&damaged[..], &frame].concat());
        keep("generation", [b"\x01\x03", &damaged[..], &frame].concat());
        for end in 0..damaged.len() {
            let want = if end > at {
                Frame::Corrupt
            } else {
                Frame::Incomplete
            };
            assert_eq!(
                first_frame(&damaged[..end]),
                want,
                "byte {at} changed, cut at {end}"
            );
        }
    }
}

/// The ways one frame may be damaged while the next one is whole.
fn damages(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut damages: Vec<Vec<u8>> = vec![
        vec![0; 1],
        vec![0; 3],
        vec![0; 4096],
        vec![b'\n'; 100],
        b"{\"log\":\"x\\n\"}\n".to_vec(),
        [&frame[..frame.len() / 2], &[0; 512]].concat(),
    ];
    // A short write.
    damages.extend((1..frame.len()).map(|end| frame[..end].to_vec()));
    // A lost beginning, as after a hole.
    damages.extend((1..frame.len()).map(|start| frame[start..].to_vec()));
    // A changed byte in the header or in the footer.
    for at in (0..4).chain(frame.len() - 4..frame.len()) {
        for bit in 0..8 {
            let mut changed = frame.to_vec();
            changed[at] ^= 1 << bit;
            damages.push(changed);
        }
    }
    damages
}

#[test]
fn damage_is_passed_over_to_precisely_the_next_frame() {
    for (name, message, _) in valid_cases() {
        // Frames within a line, and lines longer than the following frame, are covered by
        // other tests.
        if message.is_empty() || message.len() > 1000 || name == "a frame in a line" {
            continue;
        }
        let damaged_frame = frame(&message);
        for next in [
            good("next"),
            good(""),
            frame(&piece(&[b'y'; 300], false, 1)),
        ] {
            for damage in damages(&damaged_frame) {
                let data = [&*damage, &*next, &*good("one more")].concat();
                if data.starts_with(&damaged_frame) {
                    // Cut within its footer, the frame takes the missing bytes from the next
                    // header and cannot be distinguished from a whole one.
                    continue;
                }
                assert!(
                    !matches!(first_frame(&data), Frame::Whole { .. }),
                    "{name}: {damage:02x?}"
                );
                assert_eq!(next_frame(&data), damage.len(), "{name}: {damage:02x?}");
                // Nor is the frame skipped while it is being written.
                for end in 0..next.len() {
                    let found = next_frame(&data[..damage.len() + end]);
                    assert!(
                        found <= damage.len(),
                        "{name}: {damage:02x?} and {end} bytes: {found}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_cut_candidate_must_begin_as_dockerds_messages_do() {
    for (candidate, is_plausible) in [
        (&b"\0\0\0\x20"[..], true),
        (b"\0\0\0\x20\x0a", true),
        (b"\0\0\0\x20\x0a\x06std", true),
        (b"\0\0\0\x20\x0a\x06stderr\x10\x85", true),
        (b"\0\0\0\x20\x0a\x07stdout", false),
        (b"\0\0\0\x20\x0a\x06stdxxx", false),
        (b"\0\0\0\x20\x0a\x06stdout\x11", false),
        (b"\0\0\0\x20\x12", false),
        (b"\0\x10\0\0", false),
    ] {
        let data = [b"xx", candidate].concat();
        assert_eq!(next_frame(&data) == 2, is_plausible, "{candidate:?}");
    }
}

#[test]
fn a_long_hole_or_hostile_bytes_take_linear_time() {
    const SIZE: usize = 8 << 20;
    let frame = good("after");
    let patterns: [&[u8]; 6] = [
        b"\0",
        b"\x0a",
        b"\0\x0a",
        b"\0\0\0\x05\x0a",
        b"\0\x01\0\0\x0a\x06stdout\x10",
        b"\0\x0f\x42\x40\x0a\x06stdout\x10\x01\x1a\x05",
    ];
    for pattern in patterns {
        let mut data = pattern.repeat(SIZE / pattern.len());
        let hole = data.len();
        data.extend(&frame);
        // Whatever else is mistaken for a start on the way, the frame is found; a quadratic
        // scan would take too long to finish.
        let mut passed = 0;
        while passed < hole {
            let rest = &data[passed..];
            passed += match first_frame(rest) {
                Frame::Whole { length, .. } => length,
                Frame::Incomplete | Frame::Corrupt => next_frame(rest),
            };
        }
        assert_eq!(passed, hole, "{pattern:?}");
    }
    assert_eq!(next_frame(&vec![0; SIZE]), SIZE - 3);
}

/// Sets every byte of every case to every value: nothing panics, and whatever is decoded is
/// part of the message.
#[test]
fn no_single_change_does_harm() {
    for (_, message, _) in valid_cases()
        .into_iter()
        .filter(|(_, message, _)| message.len() < 1000)
    {
        let whole = frame(&message);
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = value;
                check(&changed);
            }
        }
    }
}

/// Properties that hold for any bytes.
fn check(data: &[u8]) {
    match first_frame(data) {
        Frame::Whole { message, length } => {
            assert_eq!(&data[4..length - 4], message);
            if let Some(entry) = decode(message) {
                assert!(entry.line.len() <= message.len());
                assert!(entry.time.nanos < 1_000_000_000);
                assert!(entry.attrs.count() <= message.len() / 2);
            }
        }
        Frame::Corrupt => assert_eq!(first_frame(&[data, b"more"].concat()), Frame::Corrupt),
        Frame::Incomplete => {}
    }
    decode(data);
    let found = next_frame(data);
    assert!(found <= data.len() && (found > 0 || data.is_empty()));
    assert_ne!(first_frame(&data[found..]), Frame::Corrupt);
    let missed = (1..found).find(|start| {
        matches!(first_frame(&data[*start..]), Frame::Whole { message, .. } if message[0] == SOURCE_TAG)
    });
    assert_eq!(missed, None, "{data:02x?}");
}

#[test]
fn random_bytes_do_no_harm() {
    // Bytes that frames consist of are generated more often.
    const COMMON: &[u8] =
        b"\0\0\0\0\0\0\x0a\x0a\x06\x08\x10\x12\x1a\x20\x2a\x32\x01\x02\x03\x05\xff";
    for seed in 1..=20_000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let mut data = Vec::new();
        for _ in 0..random(60) {
            match random(12) {
                0 => data.push(random(256) as u8),
                1 => data.extend(good("x")),
                2 => data.extend(&good("torn")[..random(30)]),
                _ => data.push(COMMON[random(COMMON.len())]),
            }
        }
        check(&data);
    }
}
