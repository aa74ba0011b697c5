use super::*;

fn read(text: &str) -> Vec<u8> {
    Plain::of(text.as_bytes()).map_or_else(|| text.as_bytes().to_vec(), |plain| plain.bytes)
}

#[test]
fn every_way_to_write_a_character_is_read() {
    for (text, expected) in [
        ("plain", "plain"),
        (r"a\/b\u0026c\u003C\u003e", "a/b&c<>"),
        (r#"\"\\\\\"x"#, "\"\"x"),
        (r"a\tb\fc\bd\x26\xc3\xa9", "a\tb\u{c}c\u{8}d&é"),
        ("%26%2f%2F%C3%a9%u20ac%u0026", "&//é€&"),
        ("&amp;&lt;&#38;&#038;&#x26;&#X0026;&apos;&euro;&eacute;&yuml;&nbsp;", "&<&&&&'€éÿ\u{a0}"),
        (r"\ud83d\ude00\u20AC", "😀€"),
        ("a\0b\0\r\nc", "abc"),
        (r"a\nb\r\nc", "abc"),
        (r"\u{26}a\u{20ac}\\u{1f600}\u{}\u{1234567}", "&a€😀u{}u{1234567}"),
        // A backslash and a letter, which is written in another way or not.
        (r"a\\nb", "ab"),
        (r"a\\\u006eb", "ab"),
        (r"a\u005c\u006eb", "ab"),
        (r"a%5c\u006eb&#92;\x6ec", "abc"),
        (r"a\\\\\\\u006eb", "ab"),
        (r"a\\\u0075006e", "an"),
        (r"a\\\\u006eb", "anb"),
        (r"a\\u00\u0034\u0031\u0064\\\u0075\u0030\u003041", "aAdA"),
        // In several layers, of the same kind or not.
        ("%252526", "&"),
        (r"\\u0026 \\\\\/ %5Cu0026 \u002526", "& / & &"),
        ("&amp;amp;#38;lt;", "<"),
        ("%26amp%3B", "&"),
        // No escapes.
        ("100% of & more; %zz \\q &nothing; &#; &#xd800; %u12", "100% of & more; %zz q &nothing; &#; &#xd800; %u12"),
    ] {
        assert_eq!(String::from_utf8(read(text)).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_half_of_a_character_stays_one_and_the_end_of_a_text_is_no_escape() {
    assert_eq!(read(r"\ud83dx"), [0xed, 0xa0, 0xbd, b'x']);
    assert_eq!(read(r"\ude00\ud83d"), [0xed, 0xb8, 0x80, 0xed, 0xa0, 0xbd]);
    for text in ["%", "%2", "\\", "\\u", "\\u00", "&", "&am", "&#", ";"] {
        assert_eq!(String::from_utf8(read(text)).unwrap(), text.trim_start_matches('\\'), "{text}");
    }
}

#[test]
fn each_byte_knows_where_it_was_written() {
    let text = r#"{"a":"12\/\u0026x%41","b":"\ud83d\ude00y"}"#;
    let plain = Plain::of(text.as_bytes()).unwrap();
    for (read, written) in [
        ("12", "12"),
        ("/", r"\/"),
        ("/&", r"\/\u0026"),
        ("&xA", r"\u0026x%41"),
        ("A\"", "%41\""),
        ("😀y", r"\ud83d\ude00y"),
    ] {
        let at = memchr::memmem::find(plain.bytes(), read.as_bytes()).unwrap();
        assert_eq!(&text[plain.written(at..at + read.len())], written);
    }
}

#[test]
fn what_ends_one_escape_after_another_is_read_to_the_last() {
    let deep = "%3".repeat(200_000) + "4";
    assert_eq!(read(&deep), b"4");
    assert_eq!(Plain::of(deep.as_bytes()).unwrap().written(0..1), 0..deep.len());
}

proptest::proptest! {
    /// What an encoder made of a text reads as the text does, in one layer and in two.
    #[test]
    fn a_text_and_what_encoders_make_of_it_are_the_same(text in "[ -~éß€😀]{1,20}", ways in proptest::collection::vec((0..7_usize, 0..7_usize), 20)) {
        let write = |char: char, way: usize| match way {
            1 => char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
            2 => char.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02x}")).collect(),
            3 => format!("&#{};", u32::from(char)),
            4 => format!("&#x{:X};", u32::from(char)),
            5 if "\"/\\".contains(char) => format!("\\{char}"),
            _ => char.to_string(),
        };
        // Written as itself a character may begin an escape of the text's own; that is the text's.
        let marks = |char: char| "\\%&;{}".contains(char) || char.is_ascii_hexdigit() || "uxnrtbf".contains(char);
        let once: String = text.chars().zip(&ways).map(|(char, (way, _))| write(char, if marks(char) { way % 4 + 1 } else { *way })).collect();
        let twice: String = once.chars().zip(ways.iter().cycle()).map(|(char, (_, way))| if char == '\\' { "\\\\".to_owned() } else if char == '%' && *way == 2 { "%25".to_owned() } else { char.to_string() }).collect();
        // A backslash that is written so in one place and as `%5c` or `&#92;` in the next, before a letter of an escape: nobody does.
        let ambiguous = |two: &[u8]| two[0] == b'\\' && b"ux\\".contains(&two[1]);
        proptest::prop_assume!(!text.as_bytes().windows(2).any(ambiguous));
        proptest::prop_assume!(["5c", "5C", "92", "bsol"].iter().all(|slash| !text.contains(slash)));
        let expected = read(&text);
        proptest::prop_assert_eq!(&read(&once), &expected, "{}", once);
        proptest::prop_assert_eq!(&read(&twice), &expected, "{}", twice);
    }

    /// A text that is itself full of escapes, and what encoders of JSON make of it that write some characters by their numbers, each its
    /// own.
    #[test]
    fn a_text_of_backslashes_and_what_encoders_of_json_make_of_it_are_the_same(
        text in "[\\\\\"nrtbfux0-9a-f/{} \r\n\t\x00\x1bé]{1,20}",
        first in "[\\\\\"nrtbfux0-9a-f/{} é]{0,6}",
        second in proptest::option::of("[\\\\\"nrtbfux0-9a-f/{} é]{0,6}"),
    ) {
        let json = |text: &str, numbered: &str| text.chars().map(|char| match char {
            '\\' | '"' if !numbered.contains(char) => format!("\\{char}"),
            '\r' if !numbered.is_empty() => "\\r".to_owned(),
            '\n' if !numbered.is_empty() => "\\n".to_owned(),
            _ if char.is_control() || numbered.contains(char) => format!("\\u{:04x}", u32::from(char)),
            _ => char.to_string(),
        }).collect::<String>();
        let written = std::iter::once(&first).chain(&second).fold(text.clone(), |text, numbered| json(&text, numbered));
        let [found, expected] = [&written, &text].map(|text| String::from_utf8_lossy(&read(text)).into_owned());
        proptest::prop_assert_eq!(found, expected, "{}", written);
    }

    /// Nothing is read outside of the text, and places are in order.
    #[test]
    fn places_are_within_the_text_and_in_order(text in r"[\\%&;#xu0-9a-f\x00\r\nn/]{0,60}") {
        if let Some(plain) = Plain::of(text.as_bytes()) {
            let places: Vec<_> = (0..plain.bytes().len()).map(|at| plain.written(at..at + 1)).collect();
            proptest::prop_assert!(places.iter().all(|place| place.start < place.end && place.end <= text.len()));
            proptest::prop_assert!(places.windows(2).all(|two| two[0].start <= two[1].start && two[0].end <= two[1].end));
        }
    }
}
