//! Hexadecimal digits. Pure.

/// The bytes that so many pairs of digits stand for, in either case; none if the text is anything else.
pub(crate) fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut read = [0; N];
    for (byte, at) in read.iter_mut().zip((0..hex.len()).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_are_a_byte_and_nothing_else_is_read() {
        assert_eq!(bytes("00aBff"), Some([0, 0xab, 0xff]));
        for wrong in ["", "00abf", "00abff0", "00ab+f", "00ab f", "00abfg", "0é0b"] {
            assert_eq!(bytes::<3>(wrong), None, "{wrong}");
        }
    }
}
