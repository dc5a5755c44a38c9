//! libsystemd's textual cursor, `s=<sequence>;i=<number>;b=<boot>;m=<…>;t=<time>;x=<hash>`, all
//! of them hexadecimal. Pure.

use crate::delivery::checkpoint::JournalPlace;

/// Returns the place of an entry with this cursor.
pub fn parse(cursor: &[u8]) -> Option<JournalPlace> {
    let mut place = JournalPlace::default();
    for part in cursor.split(|byte| *byte == b';') {
        let Some((name, value)) = part.split_at_checked(2) else {
            continue;
        };
        let number = || number(value);
        match name {
            b"s=" => place.sequence = number()?,
            b"i=" => place.number = u64::try_from(number()?).ok()?,
            b"t=" => place.received = u64::try_from(number()?).ok()?,
            _ => {}
        }
    }
    // A sequence may be 0: of a journal that was begun while the file before it was removed.
    let is_whole = place.number != 0 && place.received != 0;
    is_whole.then_some(place)
}

fn number(hex: &[u8]) -> Option<u128> {
    u128::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// Returns a cursor for a seek: to the number in files of the sequence, to the time in others.
pub fn format(place: &JournalPlace) -> String {
    match place.number {
        0 => format!("t={:x}", place.received),
        number => format!(
            "s={:032x};i={number:x};t={:x}",
            place.sequence, place.received
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_libsystemd_is_a_place_and_back() {
        let cursor = b"s=ef52bded0b7940b3a01651e2f5d5e0f1;i=f4242;b=16080e6747f14c86bd56e74cc42cbfde;m=aeb5d772d;t=6613931052164;x=7933b54d5d6bff77";
        crate::fuzz_seeds::keep("journal", [&[1][..], cursor].concat());
        let place = parse(cursor).unwrap();
        assert_eq!(
            place,
            JournalPlace {
                sequence: 0xef52_bded_0b79_40b3_a016_51e2_f5d5_e0f1,
                number: 1_000_002,
                received: 1_795_748_123_713_892,
            }
        );
        assert_eq!(parse(format(&place).as_bytes()), Some(place));
        for cut in 0..cursor.len() - 20 {
            assert_ne!(parse(&cursor[..cut.min(80)]), Some(place));
        }
        let unnamed = format!("s={:032x};i=1;t=2", 0);
        let place = parse(unnamed.as_bytes()).unwrap();
        assert_eq!((place.sequence, place.number), (0, 1));
        assert_eq!(parse(format(&place).as_bytes()), Some(place));
        for other in ["", "s=", "i=1", "s=1;i=2", "s=z;i=1;t=1", "s=1;i=-1;t=1"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(
            format(&JournalPlace {
                received: 255,
                ..JournalPlace::default()
            }),
            "t=ff"
        );
    }
}
