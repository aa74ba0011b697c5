use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;

use super::*;

const CAPS: ResponseCaps = ResponseCaps { body_bytes: 1_000, headers: 3, header_bytes: 40 };

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn collect(coding: Coding, cap: u64, pieces: &[&[u8]]) -> Result<Bytes, EgressError> {
    let mut collector = Collector::new(&"https://a.example", coding, cap);
    for piece in pieces {
        collector.push(Bytes::copy_from_slice(piece))?;
    }
    collector.finish()
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
        })
        .collect()
}

fn check(fields: &[(&str, &str)], version: Version) -> Result<Vec<(String, String)>, EgressError> {
    let headers = headers(fields);
    head(&"https://a.example", version, &headers, Coding::of(&headers), &CAPS)
}

#[test]
fn a_body_ends_at_its_cap_whatever_its_coding() {
    assert_eq!(collect(Coding::Plain, 4, &[b"ab", b"cd"]).expect("fits"), "abcd");
    assert!(matches!(collect(Coding::Plain, 4, &[b"ab", b"cde"]), Err(EgressError::TooLarge(_))));
    assert!(matches!(collect(Coding::Plain, 4, &[b"abcde"]), Err(EgressError::TooLarge(_))));
    let bomb = gzip(&vec![0; 10 << 20]);
    assert!(bomb.len() < 20_000);
    assert!(matches!(collect(Coding::Gzip, 1 << 20, &[&bomb]), Err(EgressError::TooLarge(_))));
    assert_eq!(collect(Coding::Gzip, 10 << 20, &[&bomb]).expect("fits").len(), 10 << 20);
}

#[test]
fn malformed_compression_is_the_servers_fault() {
    let good = gzip(b"hello");
    for bad in [&b"not gzip at all"[..], &good[..good.len() - 3], &[&good[..], b"trailing"].concat()] {
        assert!(matches!(collect(Coding::Gzip, 1_000, &[bad]), Err(EgressError::Protocol(_))), "{bad:?}");
    }
}

#[test]
fn two_ways_to_end_a_body_are_refused() {
    assert!(check(&[("content-length", "1")], Version::HTTP_11).is_ok());
    assert!(check(&[("transfer-encoding", "Chunked")], Version::HTTP_11).is_ok());
    for bad in [
        &[("content-length", "1"), ("transfer-encoding", "chunked")][..],
        &[("content-length", "1"), ("content-length", "1")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "identity")],
    ] {
        assert!(matches!(check(bad, Version::HTTP_11), Err(EgressError::Protocol(_))), "{bad:?}");
    }
    assert!(check(&[("transfer-encoding", "chunked")], Version::HTTP_10).is_err());
}

#[test]
fn header_caps_are_exact() {
    assert!(check(&[("a", "1"), ("b", "2"), ("c", "3")], Version::HTTP_11).is_ok());
    assert!(matches!(
        check(&[("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")], Version::HTTP_11),
        Err(EgressError::TooLarge(_))
    ));
    assert!(check(&[("a", &"v".repeat(39))], Version::HTTP_11).is_ok());
    assert!(matches!(check(&[("a", &"v".repeat(40))], Version::HTTP_11), Err(EgressError::TooLarge(_))));
}

#[test]
fn the_guest_sees_the_response_and_not_the_connection() {
    let seen =
        check(&[("content-encoding", "gzip"), ("connection", "close"), ("etag", "1")], Version::HTTP_11).expect("fits");
    assert_eq!(seen, [("etag".to_owned(), "1".to_owned())]);
    let seen = check(&[("content-encoding", "br")], Version::HTTP_11).expect("fits");
    assert_eq!(seen, [("content-encoding".to_owned(), "br".to_owned())]);
}

proptest! {
    #[test]
    fn every_coding_gives_back_what_went_in(data: Vec<u8>, cut in 1usize..64) {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&data).expect("memory");
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&data).expect("memory");
        for (coding, sent) in [
            (Coding::Plain, data.clone()),
            (Coding::Gzip, gzip(&data)),
            (Coding::Deflate, zlib.finish().expect("memory")),
            (Coding::Deflate, raw.finish().expect("memory")),
        ] {
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            prop_assert_eq!(collect(coding, data.len() as u64, &pieces).expect("fits"), data.clone());
        }
    }
}
