//! The few kinds of protobuf fields that an entry consists of.

/// The value of a protobuf field.
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes; no field of this format has such a type.
    Fixed,
}

/// Parses the protobuf field at the start of `data`: its number, its value, and the rest.
/// `None` if the field is missing or incomplete.
#[inline]
pub(super) fn first_field(data: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (tag, rest) = first_varint(data)?;
    let (value, behind) = match tag & 7 {
        0 => {
            let (value, behind) = first_varint(rest)?;
            (Value::Varint(value), behind)
        }
        1 => (Value::Fixed, rest.get(8..)?),
        2 => {
            let (length, rest) = first_varint(rest)?;
            let (bytes, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), behind)
        }
        5 => (Value::Fixed, rest.get(4..)?),
        _ => return None,
    };
    Some((tag >> 3, value, behind))
}

/// Parses the protobuf varint at the start of `data`; returns it and the rest. A varint has
/// seven bits per byte, lowest first, with the high bit set on all bytes but the last. `None`
/// if it is incomplete or longer than ten bytes. Bits of the tenth byte beyond 64 are dropped,
/// as protobuf does.
#[inline]
pub(super) fn first_varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let (first, behind) = data.split_first()?;
    if first & 0x80 == 0 {
        return Some((u64::from(*first), behind));
    }
    first_long_varint(data)
}

/// Parses a varint of nine bytes, which holds 63 bits; returns it and the rest. `None` if it has
/// another length. Adjacent groups of seven bits are combined into groups of 14, 28 and 56.
#[inline]
pub(super) fn nine_byte_varint(data: &[u8]) -> Option<(u64, &[u8])> {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (eight, rest) = data.split_first_chunk::<8>()?;
    let (ninth, rest) = rest.split_first()?;
    let eight = u64::from_le_bytes(*eight);
    if eight & HIGH_BITS != HIGH_BITS || ninth & 0x80 != 0 {
        return None;
    }
    let sevens = eight & !HIGH_BITS;
    let pairs = sevens & 0x007f_007f_007f_007f | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let value = fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4;
    Some((value | u64::from(*ninth) << 56, rest))
}

fn first_long_varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    let mut rest = data;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, behind));
        }
        rest = behind;
    }
    None
}
