//! The few kinds of MessagePack values that records are made of, appended to a
//! buffer.

/// Appends a string with the shortest header.
#[inline]
pub fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length < 32 {
        out.push(0xa0 | length as u8);
    } else if let Ok(length) = u8::try_from(length) {
        out.extend_from_slice(&[0xd9, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(0xda);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        // Texts are capped far below 4 GiB (Partial_Max_Size, entry cap).
        out.push(0xdb);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
    out.extend_from_slice(text);
}

/// Appends a map of strings; an empty one appends nothing.
pub fn put_string_map<'a>(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) {
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

/// Appends the head of a map of so many pairs.
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

/// Appends the head of an array of so many values.
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

/// Appends a number.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}
