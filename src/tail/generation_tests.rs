use super::*;
use crate::format::local;

/// Reads all there is and takes it.
fn take_all(generation: &mut Generation) -> Found {
    let mut buffer = Vec::new();
    let found = generation.read(&mut buffer).unwrap();
    if let Found::Entries { end, filled, .. } = found {
        generation.consume(&buffer, end, filled);
    }
    found
}

/// The ends of both texts are the same. Their times stand before them, or are the same
/// as well: those of pieces of one line.
#[test]
fn a_log_that_repeats_itself_is_known_to_be_truncated_when_it_has_grown_past_the_position() {
    let text = "x".repeat(16 * 1024);
    let cri =
        |minute: usize| format!("2023-11-14T22:{minute:02}:20.123456789Z stdout F {text}\n").into_bytes();
    let frame = |minute: usize| {
        let mut message = b"\x0a\x06stdout\x10".to_vec();
        message.extend((0..8).map(|_| 0x80 | minute as u8));
        message.extend([1, 0x1a, 0x80, 0x80, 1]);
        message.extend(text.as_bytes());
        assert!(local::decode(&message).is_some());
        let length = (message.len() as u32).to_be_bytes();
        [&length[..], &message, &length].concat()
    };
    let json = |piece: usize| {
        let end = "\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n";
        format!("{{\"log\":\"{piece}{text}\",{end}").into_bytes()
    };
    let entries: [&dyn Fn(usize) -> Vec<u8>; 3] = [&cri, &frame, &json];
    for entry in entries {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, [entry(1), entry(2)].concat()).unwrap();
        let mut generation = Generation::open(&(&path).into(), 0).unwrap();
        assert!(matches!(take_all(&mut generation), Found::Entries { .. }));
        assert_eq!(take_all(&mut generation), Found::AtEnd { unfinished: 0 });
        std::fs::write(&path, [entry(3), entry(4), entry(5)].concat()).unwrap();
        assert_eq!(take_all(&mut generation), Found::Truncated);
    }
}
