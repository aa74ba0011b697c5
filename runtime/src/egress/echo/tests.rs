use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;

/// With characters on which encoders differ.
const VALUE: &str = "s€cret/T0+B0 \"x\"&<y>'(!)*~é=?";

fn search(values: &[&str]) -> Search {
    Search::new(values.iter().map(|value| (*value, "tgs_0123456789abcdef0123456789abcdef")))
}

fn replaced(values: &[&str], text: &[u8], names: &[&str], most: usize) -> Option<Vec<u8>> {
    let places = search(values).places(text, false, |_| true).unwrap();
    places.replaced(text, text.len(), |number| names[number].as_bytes(), most)
}

fn masked(text: &[u8]) -> String {
    String::from_utf8_lossy(&replaced(&[VALUE], text, &["***"], usize::MAX).unwrap_or_else(|| text.to_vec()))
        .into_owned()
}

/// Each character by itself.
fn written(with: impl Fn(char) -> Option<String>) -> String {
    VALUE.chars().map(|char| with(char).unwrap_or_else(|| char.to_string())).collect()
}

fn units(char: char) -> Vec<u16> {
    char.encode_utf16(&mut [0; 2]).to_vec()
}

fn kept(keep: &'static str) -> impl Fn(char) -> Option<String> {
    move |char| {
        let plain = char.is_ascii_alphanumeric() || keep.contains(char);
        (!plain).then(|| char.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect())
    }
}

#[test]
fn what_usual_encoders_make_of_a_value_is_found() {
    let json = serde_json::Value::from(VALUE).to_string();
    let json = &json[1..json.len() - 1];
    let escaped = |wanted: fn(char) -> bool, upper: bool| {
        let mut text = json.to_owned();
        for char in VALUE.chars().filter(|char| wanted(*char)) {
            let code = units(char)
                .iter()
                .map(|unit| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") })
                .collect::<String>();
            text = text.replace(&if char == '"' { "\\\"".to_owned() } else { char.to_string() }, &code);
        }
        text
    };
    let html = |char: char| match char {
        '&' => Some("&amp;".to_owned()),
        '<' => Some("&lt;".to_owned()),
        '>' => Some("&gt;".to_owned()),
        '"' => Some("&quot;".to_owned()),
        '\'' => Some("&#39;".to_owned()),
        _ => None,
    };
    let form = |text: String| text.replace("%20", "+");
    let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
    let texts = [
        ("as it is", VALUE.to_owned()),
        ("serde_json", json.to_owned()),
        ("Go's encoding/json", escaped(|char| "&<>".contains(char), false)),
        ("JavaScriptEncoder.Default of .NET", escaped(|char| "\"&<>'+é€".contains(char), true)),
        ("Python's json", escaped(|char| !char.is_ascii(), false)),
        ("PHP's json_encode", escaped(|char| !char.is_ascii(), false).replace('/', "\\/")),
        ("JSON in JSON", serde_json::Value::from(json).to_string().trim_matches('"').to_owned()),
        ("JSON in a URL", percent(json, unreserved)),
        ("encodeURIComponent", written(kept("-_.!~*'()"))),
        ("encodeURI", written(kept("-_.!~*'();/?:@&=+$,#"))),
        ("URLSearchParams", form(written(kept("*-._ ")).replace(' ', "+"))),
        ("url::form_urlencoded", url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect()),
        ("Python's quote", written(kept("_.-~/"))),
        ("Python's quote_plus", form(written(kept("_.-~")))),
        ("lower-case digits", written(kept("-_.~")).to_lowercase().replace("t0", "T0").replace("b0", "B0")),
        ("encoded twice", written(kept("-_.~")).replace('%', "%25")),
        (
            "JavaScript's escape",
            written(|char| match units(char)[..] {
                [unit] if unit >= 0x100 => Some(format!("%u{unit:04X}")),
                _ => kept("@*_+-./")(char),
            })
            .replace("%C3%A9", "%E9"),
        ),
        ("HTML", written(html)),
        ("HTML in numbers", written(|char| (!char.is_ascii_alphanumeric()).then(|| format!("&#{};", u32::from(char))))),
        (
            "HTML in hexadecimal numbers",
            written(|char| (!char.is_ascii_alphanumeric()).then(|| format!("&#x{:X};", u32::from(char)))),
        ),
        (
            "PHP's htmlentities",
            written(|char| match char {
                'é' => Some("&eacute;".to_owned()),
                '€' => Some("&euro;".to_owned()),
                _ => html(char),
            }),
        ),
        ("HTML in JSON as Go writes it", written(html).replace('&', "\\u0026")),
        (
            "Python's repr of bytes",
            VALUE
                .bytes()
                .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("\\x{byte:02x}") })
                .collect(),
        ),
        ("lower case", VALUE.to_ascii_lowercase()),
        ("hex", hex.clone()),
        ("upper-case hex", hex.to_uppercase()),
        ("hex of a form", percent(VALUE, unreserved).bytes().map(|byte| format!("{byte:02x}")).collect()),
    ];
    for (encoder, text) in texts {
        let found = masked(format!("before {text} after {text}").as_bytes());
        assert_eq!(found, "before *** after ***", "{encoder}: {text}");
    }
}

#[test]
fn other_encodings_of_characters_are_found() {
    let wide = |bytes: fn(u16) -> [u8; 2]| format!("<{VALUE}>").encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for text in [wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
        let found = masked(&text);
        assert!(found.contains("***") && found.len() < 12, "{found:?}");
    }
    let latin = "clé-de-l'été";
    let bytes: Vec<u8> = latin.chars().map(|char| u32::from(char) as u8).collect();
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    for text in [bytes.clone(), escaped.into_bytes(), STANDARD.encode(&bytes).into_bytes()] {
        assert!(replaced(&[latin], &text, &["***"], usize::MAX).unwrap().starts_with(b"***"));
    }
}

#[test]
fn codes_are_found_wherever_the_value_begins_in_them() {
    for before in ["", "a", "ab", "abc", "abcd", "user:"] {
        for after in ["", "x", "xy", ":"] {
            let whole = format!("{before}{VALUE}{after}");
            let lines = |text: String| {
                text.as_bytes()
                    .chunks(20)
                    .map(|line| String::from_utf8_lossy(line).into_owned())
                    .collect::<Vec<_>>()
                    .join("\r\n")
            };
            for text in [
                STANDARD.encode(&whole),
                URL_SAFE.encode(&whole),
                // As a mail has it, and PHP's JSON.
                lines(STANDARD.encode(&whole)),
                STANDARD.encode(&whole).replace('/', "\\/"),
                percent(&STANDARD.encode(&whole), unreserved),
                base32(whole.as_bytes()),
                base32(whole.as_bytes()).to_lowercase(),
            ] {
                let found = masked(text.as_bytes());
                assert!(found.contains("***"), "{before} {after}: {found}");
                assert!(found.len() < 24, "no more than the ends are left of {text}: {found}");
            }
        }
    }
}

/// By the rule of RFC 4648, in another way than the search does.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let number = (0..5).fold(0_u64, |number, at| number << 8 | u64::from(*group.get(at).unwrap_or(&0)));
        for at in 0..8 {
            let digit = BASE32[(number >> (35 - 5 * at) & 31) as usize];
            text.push(if at * 5 < group.len() * 8 { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn base32_is_that_of_the_standard() {
    for (plain, coded) in [("", ""), ("f", "MY======"), ("foob", "MZXW6YQ="), ("foobar", "MZXW6YTBOI======")] {
        assert_eq!(base32(plain.as_bytes()), coded);
    }
}

#[test]
fn what_is_put_in_is_not_searched_again_and_what_comes_out_is_bounded() {
    // Each value stands in the name of the one before it, sixteen times.
    let values = ["abab", "cdcd", "efef"];
    let names = ["cd", "ef", "gh"].map(|pair| pair.repeat(32));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = "abab.".repeat(1_000);
    let whole = replaced(&values, text.as_bytes(), &names, usize::MAX).unwrap();
    assert_eq!(whole, format!("{}.", names[0]).repeat(1_000).into_bytes());
    assert_eq!(replaced(&values, text.as_bytes(), &names, 1_000).unwrap(), whole[..1_000]);
}

#[test]
fn a_text_of_nothing_but_secrets_is_not_searched_to_its_end() {
    let values: Vec<String> = (4..40).map(|length| "a".repeat(length)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert!(search(&values).places(&[b'a'; 1 << 20], false, |_| true).is_err());
    // A long one that is nothing but its own beginning.
    let long = "a".repeat(16 << 10) + "b";
    let text = "a".repeat(19_000);
    let places = search(&[&long]).places(text.as_bytes(), false, |_| true).unwrap();
    assert_eq!(places.replaced(text.as_bytes(), text.len(), |_| b"", usize::MAX).unwrap().len() / BEGINNING, 0);
}

#[test]
fn places_that_overlap_are_replaced_together_and_nothing_of_either_stays() {
    let values = ["first-sec", "second", "first-"];
    let shown = replaced(&values, b"<first-second>first-x-second", &["A", "B", "C"], usize::MAX).unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), "<A>Cx-B");
}

#[test]
fn a_long_value_is_replaced_whole_and_its_beginning_also_where_it_is_cut() {
    let key = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----\n", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n".repeat(40));
    let json = serde_json::Value::from(key.as_str()).to_string();
    for text in [key.clone(), json.trim_matches('"').to_owned(), key.replace('\n', "\r\n"), STANDARD.encode(&key)] {
        let shown = |text: &str| {
            let shown = replaced(&[&key], format!("<{text}").as_bytes(), &["K"], usize::MAX).unwrap();
            String::from_utf8(shown).unwrap()
        };
        assert!(shown(&text).len() < 8, "{}", shown(&text));
        assert!(shown(&text[..text.len() / 2]).len() < 8, "{}", shown(&text[..text.len() / 2]));
    }
}

#[test]
fn what_begins_before_the_end_is_replaced_and_nothing_after_it_is_there() {
    let places = search(&["secret"]).places(b"12secret34secret", false, |_| true).unwrap();
    for (end, shown) in
        [(1, None), (2, None), (3, Some("12*")), (8, Some("12*")), (9, Some("12*3")), (11, Some("12*34*"))]
    {
        let replaced = places.replaced(b"12secret34secret", end, |_| b"*", usize::MAX);
        assert_eq!(replaced.map(|text| String::from_utf8(text).unwrap()).as_deref(), shown, "{end}");
    }
}

#[test]
fn only_what_is_wanted_is_found() {
    let search = search(&["secret-1", "secret-2"]);
    let text = b"secret-1 secret-2 tgs_0123456789abcdef0123456789abcdef";
    let found = |handles: bool, wanted: fn(usize) -> bool| search.places(text, handles, wanted).unwrap().0.len();
    assert_eq!((found(false, |_| true), found(true, |_| true), found(false, |of| of == 1)), (2, 3, 1));
}

#[test]
fn short_values_and_other_texts_stay() {
    assert_eq!(replaced(&["key"], b"the key", &["***"], usize::MAX), None);
    assert_eq!(masked("s€cret/T0+B0".as_bytes()), "s€cret/T0+B0");
}

#[test]
fn how_much_of_a_long_value_follows_its_beginning_changes_nothing() {
    let value: String = (0..200).map(|at| char::from(b'a' + (at * 7 % 26) as u8)).collect();
    let shown = |text: String| {
        let shown = replaced(&[&value], text.as_bytes(), &["H"], usize::MAX);
        String::from_utf8(shown.unwrap_or_else(|| text.into_bytes())).unwrap()
    };
    let (beginning, rest) = value.split_at(70);
    let right = shown(format!("{beginning}{} | {}", &rest[..1], "-".repeat(200)));
    let wrong = shown(format!("{beginning}! | {}", "-".repeat(200)));
    assert_eq!(right, wrong);
    // One that begins within another that was not whole.
    assert_eq!(shown(format!("{beginning}{value}")), "H");
}

#[test]
fn what_stands_before_a_value_may_take_its_first_characters_into_an_escape() {
    for (value, text) in [
        ("6abcdefgh/ijkl", r"%26abcdefgh\/ijkl"),
        ("6abcdefgh+ijkl", r"x%26abcdefgh\u002Bijkl"),
        ("1abcdefgh/ijkl", r"\u0041abcdefgh\/ijkl"),
        ("0041abcdefgh/ijkl", r"\u0041abcdefgh\/ijkl"),
        ("nabcdefgh/ijkl", r"\nabcdefgh\/ijkl"),
    ] {
        let shown = replaced(&[value], text.as_bytes(), &["H"], usize::MAX).expect(text);
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains("abc") && !shown.contains("ijkl"), "{text}: {shown}");
    }
}

#[test]
fn what_is_no_utf_8_is_found_as_it_reaches_a_guest() {
    let text = String::from_utf8_lossy(b"cl\xe9-geheim-123").into_owned();
    assert_eq!(replaced(&["cl\u{e9}-geheim-123"], text.as_bytes(), &["H"], usize::MAX).unwrap(), b"H");
}

proptest::proptest! {
    /// Whatever the value is, its plain form never stays.
    #[test]
    fn nothing_of_a_value_stays(value in "\\PC{4,40}", around in "[a-z]{0,5}") {
        let replaced = replaced(&[&value], format!("{around}{value}{around}").as_bytes(), &[""], usize::MAX);
        let left = String::from_utf8(replaced.expect("it was there")).expect("text");
        proptest::prop_assert!(left.len() <= 2 * around.len());
    }

    /// Nor does any that is written in JSON or a URL.
    #[test]
    fn nothing_of_an_encoded_value_stays(value in "[ -~é€😀]{6,40}", around in "[g-m]{0,5}") {
        let json = serde_json::Value::from(value.as_str()).to_string();
        proptest::prop_assume!(Plain::of(value.as_bytes()).is_none_or(|plain| plain.bytes().len() >= SHORTEST));
        for text in [json[1..json.len() - 1].to_owned(), percent(&value, unreserved), percent(&value, |byte| byte.is_ascii_digit())] {
            let text = format!("<{around}{text}{around}>");
            let shown = replaced(&[&value], text.as_bytes(), &[""], usize::MAX);
            let left = String::from_utf8(shown.expect("it was there")).expect("text");
            // A backslash at its end is no character that could be read.
            proptest::prop_assert!(left.trim_end_matches('\\').len() <= 2 * around.len() + 2 + 8, "{} in {}", left, text);
        }
    }
}
