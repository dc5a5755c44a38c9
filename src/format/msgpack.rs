//! Appends the few kinds of MessagePack values that records consist of, and measures values of
//! any kind.

/// Bytes of the longest header of a string.
pub const STR_HEAD_BYTES: usize = 5;

/// Appends a string with the shortest possible header.
#[inline]
pub fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    let (head, length) = str_head(text.len());
    out.extend_from_slice(&head[..length]);
    out.extend_from_slice(text);
}

/// The shortest possible header of a string of `length` bytes: the first bytes of the array, and
/// how many they are.
#[inline]
pub fn str_head(length: usize) -> ([u8; STR_HEAD_BYTES], usize) {
    if length < 32 {
        ([0xa0 | length as u8, 0, 0, 0, 0], 1)
    } else if let Ok(length) = u8::try_from(length) {
        ([0xd9, length, 0, 0, 0], 2)
    } else if let Ok(length) = u16::try_from(length) {
        let [high, low] = length.to_be_bytes();
        ([0xda, high, low, 0, 0], 3)
    } else {
        // Strings are capped far below 4 GiB (Partial_Max_Size, entry cap).
        let [first, second, third, fourth] = (length as u32).to_be_bytes();
        ([0xdb, first, second, third, fourth], STR_HEAD_BYTES)
    }
}

/// Appends a map of strings; appends nothing if it is empty.
pub fn put_string_map<'a>(
    out: &mut Vec<u8>,
    pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
) {
    let length = pairs.len();
    if length == 0 {
        return;
    }
    put_map_head(out, length);
    for (key, value) in pairs {
        put_str(out, key);
        put_str(out, value);
    }
}

/// Appends the header of a map with `length` pairs.
#[inline]
pub fn put_map_head(out: &mut Vec<u8>, length: usize) {
    if length < 16 {
        out.push(0x80 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(0xde);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(0xdf);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// Appends the header of an array with `length` values.
pub fn put_array_head(out: &mut Vec<u8>, length: usize) {
    if length < 16 {
        out.push(0x90 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(0xdc);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(0xdd);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// Appends an unsigned integer.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Length in bytes of the value at the start of `bytes`; `None` if it is incomplete. Nested
/// values are skipped without recursion, so deep nesting cannot overflow the stack.
pub fn value_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut wanted: u64 = 1;
    while wanted > 0 {
        let first = *bytes.get(at)?;
        at += 1;
        // Reads a big-endian integer after the first byte: a length or a count.
        let mut number = |width: usize| {
            let text = bytes.get(at..at + width)?;
            at += width;
            Some(
                text.iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte)),
            )
        };
        let (body, members) = match first {
            0x80..=0x8f => (0, 2 * u64::from(first & 0x0f)),
            0x90..=0x9f => (0, u64::from(first & 0x0f)),
            0xa0..=0xbf => (u64::from(first & 0x1f), 0),
            0xc4 | 0xd9 => (number(1)?, 0),
            0xc5 | 0xda => (number(2)?, 0),
            0xc6 | 0xdb => (number(4)?, 0),
            0xc7 => (number(1)? + 1, 0),
            0xc8 => (number(2)? + 1, 0),
            0xc9 => (number(4)? + 1, 0),
            0xca => (4, 0),
            0xcb => (8, 0),
            0xcc..=0xcf => (1 << (first - 0xcc), 0),
            0xd0..=0xd3 => (1 << (first - 0xd0), 0),
            0xd4..=0xd8 => (1 + (1 << (first - 0xd4)), 0),
            0xdc => (0, number(2)?),
            0xdd => (0, number(4)?),
            0xde => (0, 2 * number(2)?),
            0xdf => (0, 2 * number(4)?),
            // Small integers, nil, booleans, and the one byte that is never used.
            _ => (0, 0),
        };
        at = at.checked_add(usize::try_from(body).ok()?)?;
        if at > bytes.len() {
            return None;
        }
        wanted = (wanted - 1).checked_add(members)?;
    }
    Some(at)
}

/// A value of a record's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A string.
    Text(String),
    /// An unsigned integer.
    Number(u64),
    /// An array.
    List(Vec<Field>),
    /// A map with string keys.
    Map(Vec<(String, Field)>),
}

impl Field {
    /// A copy of `text`.
    pub fn text(text: &str) -> Field {
        Field::Text(text.to_owned())
    }

    /// Appends the value in MessagePack.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Field::Text(text) => put_str(out, text.as_bytes()),
            Field::Number(number) => put_u64(out, *number),
            Field::List(values) => {
                put_array_head(out, values.len());
                values.iter().for_each(|value| value.put(out));
            }
            Field::Map(pairs) => {
                put_map_head(out, pairs.len());
                put_pairs(out, pairs);
            }
        }
    }
}

/// Appends keys and values without a map header.
pub fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, Field)]) {
    for (key, value) in pairs {
        put_str(out, key.as_bytes());
        value.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmpv::Value;

    #[test]
    fn a_value_ends_where_a_decoder_says_it_does() {
        let long = |length: usize| Value::from("x".repeat(length));
        let values = [
            Value::Nil,
            Value::from(true),
            Value::from(5),
            Value::from(-5),
            Value::from(-200),
            Value::from(70_000),
            Value::from(u64::MAX),
            Value::from(i64::MIN),
            Value::F32(1.5),
            Value::F64(1.5),
            long(5),
            long(40),
            long(300),
            long(70_000),
            Value::Binary(vec![1; 20]),
            Value::Binary(vec![1; 300]),
            Value::Binary(vec![1; 70_000]),
            Value::Ext(0, vec![0; 8]),
            Value::Ext(1, vec![0; 3]),
            Value::Ext(1, vec![0; 300]),
            Value::Ext(1, vec![0; 70_000]),
            Value::Array(vec![long(3); 3]),
            Value::Array(vec![Value::Nil; 20]),
            Value::Array(vec![Value::Nil; 70_000]),
            Value::Map(vec![(long(1), Value::Array(vec![long(2)])); 3]),
            Value::Map(vec![(long(1), long(2)); 20]),
            Value::Map(vec![(long(1), long(2)); 70_000]),
        ];
        for value in values {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &value).unwrap();
            let whole = bytes.len();
            assert_eq!(value_length(&bytes[..whole - 1]), None, "torn");
            bytes.extend_from_slice(b"\x93more");
            assert_eq!(value_length(&bytes), Some(whole));
        }
        for count in [15, 16, 65_535, 65_536] {
            let mut bytes = Vec::new();
            put_map_head(&mut bytes, count);
            bytes.extend(std::iter::repeat_n(0xc0, 2 * count));
            assert_eq!(value_length(&bytes), Some(bytes.len()), "a map of {count}");
        }
        assert_eq!(value_length(b""), None);
        assert_eq!(value_length(&[0x91; 100_000]), None, "deep and torn");
    }
}
