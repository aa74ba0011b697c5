//! Partners' servers that are slow, endless, huge, mis-framed or rude.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::egress::{EgressConfig, EgressError, InboundResponse, OutboundRequest, Outlet, ResponseCaps};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};

use super::{
    PATIENT, caps, gate, get, granted, open, request,
    server::{Server, is_untouched, read_head, sentinel},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Long enough for a connection on this machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

async fn ask(server: &Server) -> Result<InboundResponse, EgressError> {
    get(&granted(&gate(&open(&[server.address])), &server.url(), "test"), &server.url()).await
}

async fn ask_briefly(server: &Server) -> Result<InboundResponse, EgressError> {
    let outlet = granted(&gate(&open(&[server.address])), &server.url(), "test");
    outlet.send(request("GET", &server.url(), ""), Instant::now() + SHORT, caps()).await
}

#[tokio::test]
async fn what_is_sent_is_what_was_judged() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start("127.0.0.1", {
        let seen = seen.clone();
        move |mut stream| {
            let seen = seen.clone();
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let mut body = vec![0; if head.starts_with("POST /a") { 5 } else { 0 }];
                    stream.read_exact(&mut body).await.expect("a body");
                    seen.lock().expect("a lock").push((head.to_ascii_lowercase(), body));
                    stream.write_all(OK.as_bytes()).await.expect("written");
                }
            }
        }
    })
    .await;
    let outlet = granted(&gate(&open(&[server.address])), &server.url(), "test");
    for (url, body) in [(format!("{}/a?b=%20#frag", server.url()), "hello"), (server.url(), "")] {
        let response =
            outlet.send(request("post", &url, body), Instant::now() + PATIENT, caps()).await.expect("a response");
        assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));
    }
    let seen = seen.lock().expect("a lock");
    let host = format!("\r\nhost: {}\r\n", server.address);
    assert!(seen[0].0.starts_with("post /a?b=%20 http/1.1\r\n") && seen[0].0.contains(&host), "{}", seen[0].0);
    assert!(seen[0].0.contains("\r\ncontent-length: 5\r\n") && seen[0].1 == b"hello");
    assert!(seen[0].0.contains("\r\nuser-agent: tidegate/") && seen[0].0.contains("\r\naccept-encoding: gzip\r\n"));
    assert!(seen[1].0.starts_with("post / http/1.1\r\n") && seen[1].0.contains("\r\ncontent-length: 0\r\n"));
}

#[tokio::test]
async fn nothing_outlives_the_deadline() {
    for begin in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let server = Server::stalling(begin).await;
        assert!(matches!(ask_briefly(&server).await, Err(EgressError::Timeout(_))), "{}", begin.escape_ascii());
    }
    let silent = Server::stalling(b"").await;
    let url = format!("https://{}", silent.address);
    let outlet = granted(&gate(&open(&[silent.address])), &url, "test");
    let ended = outlet.send(request("GET", &url, ""), Instant::now() + SHORT, caps()).await;
    assert!(matches!(ended, Err(EgressError::Timeout(_))), "{ended:?}");
}

#[tokio::test]
async fn a_drip_of_bytes_does_not_stretch_the_deadline() {
    for begin in [
        &b"HTTP/1.1 200 OK\r\nx: "[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\x10\0\0\0\0\0\xff",
    ] {
        let server = Server::start("127.0.0.1", move |mut stream| async move {
            read_head(&mut stream).await;
            let mut sent = stream.write_all(begin).await;
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                sent = stream.write_all(b"z").await;
            }
        })
        .await;
        let ended = ask_briefly(&server).await;
        assert!(matches!(ended, Err(EgressError::Timeout(_))), "{}: {ended:?}", begin.escape_ascii());
    }
}

#[tokio::test]
async fn a_server_that_never_reads_holds_a_large_request_until_its_deadline_and_no_longer() {
    let server = Server::start("127.0.0.1", |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let outlet = granted(&gate(&open(&[server.address])), &server.url(), "test");
    let large = OutboundRequest { body: vec![b'x'; 8 << 20].into(), ..request("POST", &server.url(), "") };
    let ended = outlet.send(large, Instant::now() + SHORT, caps()).await;
    assert!(matches!(ended, Err(EgressError::Timeout(_))), "{ended:?}");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_a_broken_protocol_however_long_it_goes_on() {
    // Frames of HTTP/2: settings, pings, resets of streams; and a server that echoes.
    for frame in
        [&b"\0\0\0\x04\0\0\0\0\0"[..], b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0", b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"]
    {
        let server = Server::endless(b"", frame).await;
        let ended = ask(&server).await;
        assert!(matches!(ended, Err(EgressError::Protocol(_))), "{}: {ended:?}", frame.escape_ascii());
    }
    let echo = Server::start("127.0.0.1", |mut stream| async move {
        let (mut from, mut to) = stream.split();
        drop(tokio::io::copy(&mut from, &mut to).await);
    })
    .await;
    let ended = ask(&echo).await;
    assert!(matches!(ended, Err(EgressError::Protocol(_))), "{ended:?}");
}

#[tokio::test]
async fn a_request_after_its_deadline_never_begins() {
    let server = Server::answering(OK).await;
    let outlet = granted(&gate(&open(&[server.address])), &server.url(), "test");
    let ended = outlet.send(request("GET", &server.url(), ""), Instant::now(), caps()).await;
    assert!(matches!(ended, Err(EgressError::Timeout(_))), "{ended:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn endless_responses_are_cut_off() {
    for (begin, again) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"body"[..]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\nbody\r\n"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"yyyyyyyyyy"),
        (b"HTTP/1.1 200 ", b"OKOKOKOKOKOK"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        // Compressed blocks that hold nothing: no byte of body ever comes out of them.
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0\0\0\xff\xff"),
        // A comment in gzip's own header that never ends.
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\x10\0\0\0\0\0\xff", b"comment"),
    ] {
        let server = Server::endless(begin, again).await;
        let ended = ask(&server).await;
        let cut = matches!(ended, Err(EgressError::TooLarge(_) | EgressError::Protocol(_) | EgressError::Connect(_)));
        assert!(cut, "{} {}: {ended:?}", begin.escape_ascii(), again.escape_ascii());
    }
}

#[tokio::test]
async fn the_caps_are_exact() {
    let caps = ResponseCaps { body_bytes: 1_000, headers: 3, header_bytes: 100 };
    let fields = |count: usize| "a: b\r\n".repeat(count);
    for (response, fits) in [
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}", "x".repeat(1_000)), true),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n{}", "x".repeat(1_001)), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551614\r\n\r\n".to_owned(), false),
        (
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1_000)),
            true,
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n{}\r\n1\r\nx\r\n0\r\n\r\n",
                "x".repeat(1_000)
            ),
            false,
        ),
        (format!("HTTP/1.1 204 No Content\r\n{}\r\n", fields(3)), true),
        (format!("HTTP/1.1 204 No Content\r\n{}\r\n", fields(4)), false),
        (format!("HTTP/1.1 204 No Content\r\n{}\r\n", fields(200)), false),
        (format!("HTTP/1.1 204 No Content\r\na: {}\r\n\r\n", "b".repeat(99)), true),
        (format!("HTTP/1.1 204 No Content\r\na: {}\r\n\r\n", "b".repeat(100)), false),
    ] {
        let server = Server::answering(response.clone()).await;
        let outlet = granted(&gate(&open(&[server.address])), &server.url(), "test");
        let ended = outlet.send(request("GET", &server.url(), ""), Instant::now() + PATIENT, caps).await;
        let as_expected = if fits { ended.is_ok() } else { matches!(ended, Err(EgressError::TooLarge(_))) };
        assert!(as_expected, "{response:.100}: {ended:?}");
    }
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_cap_and_honest_gzip_is_undone() {
    let zip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).expect("memory");
        let body = encoder.finish().expect("memory");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    let bomb = Server::answering(zip(&vec![0; 64 << 20])).await;
    assert!(matches!(ask(&bomb).await, Err(EgressError::TooLarge(_))));
    let honest = Server::answering(zip(b"hello")).await;
    let response = ask(&honest).await.expect("a response");
    assert_eq!((&response.body[..], &response.headers[..]), (&b"hello"[..], &[][..]));
    let lying = Server::answering("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello").await;
    assert!(matches!(ask(&lying).await, Err(EgressError::Protocol(_))));
}

#[tokio::test]
async fn bad_framing_is_a_broken_protocol() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na : c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "<html>hello</html>\r\n\r\n",
    ] {
        let server = Server::answering(response).await;
        let ended = ask(&server).await;
        assert!(matches!(ended, Err(EgressError::Protocol(_))), "{response:?}: {ended:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_response() {
    for begin in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"] {
        for reset in [false, true] {
            let server = Server::start("127.0.0.1", move |mut stream| async move {
                read_head(&mut stream).await;
                stream.write_all(begin.as_bytes()).await.expect("written");
                if reset {
                    stream.set_zero_linger().expect("a socket option");
                }
            })
            .await;
            let ended = ask(&server).await;
            assert!(matches!(ended, Err(EgressError::Connect(_))), "{begin:?} {reset}: {ended:?}");
        }
    }
    let address = sentinel("127.0.0.1").local_addr().expect("an address");
    let url = format!("http://{address}");
    let ended = get(&granted(&gate(&open(&[address])), &url, "test"), &url).await;
    assert!(matches!(ended, Err(EgressError::Connect(_))), "{ended:?}");
}

#[tokio::test]
async fn redirects_are_answers_and_their_targets_stay_untouched() {
    let target = sentinel("127.0.0.3");
    let to = target.local_addr().expect("an address");
    for status in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answering(head).await;
        let config = open(&[server.address, to]);
        let response = get(&granted(&gate(&config), &server.url(), "test"), &server.url()).await.expect("a response");
        assert_eq!(response.status, status);
        assert!(response.headers.contains(&("location".into(), format!("http://{to}/"))));
    }
    assert!(is_untouched(&target));
}

#[tokio::test]
async fn connections_are_reused_within_a_scope_only() {
    let server = Server::answering(OK).await;
    let gate = gate(&open(&[server.address]));
    for _ in 0..5 {
        // The grant is made anew each time, as deliveries may do: the scope decides.
        get(&granted(&gate, &server.url(), "dst_1"), &server.url()).await.expect("a response");
    }
    assert_eq!(server.connections(), 1);
    get(&granted(&gate, &server.url(), "dst_2"), &server.url()).await.expect("a response");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_misbehaved_is_not_reused() {
    for response in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
    ] {
        let server = Server::answering(response).await;
        let gate = gate(&open(&[server.address]));
        for _ in 0..3 {
            let response = get(&granted(&gate, &server.url(), "test"), &server.url()).await.expect("a response");
            assert_eq!(response.body, "ok");
        }
        assert_eq!(server.connections(), 3, "{response:?}");
    }
}

#[tokio::test]
async fn a_waiting_connection_that_was_closed_is_replaced() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let server = Server::start("127.0.0.1", move |mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.expect("written");
            drop(stream);
            closed.send(()).expect("a listener");
        }
    })
    .await;
    let other = Server::answering(OK).await;
    let gate = gate(&open(&[server.address, other.address]));
    for round in 1..=3 {
        let response = outlet_post(&granted(&gate, &server.url(), "test"), &server.url()).await;
        assert_eq!(response.expect("a response").body, "ok");
        closings.recv().await.expect("a closing");
        // A round trip elsewhere: afterwards this process has heard of the closing.
        get(&granted(&gate, &other.url(), "test"), &other.url()).await.expect("a response");
        assert_eq!(server.connections(), round);
    }
}

async fn outlet_post(outlet: &impl Outlet, url: &str) -> Result<InboundResponse, EgressError> {
    outlet.send(request("POST", url, "x"), Instant::now() + PATIENT, caps()).await
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let (left, mut leavings) = mpsc::unbounded_channel();
    let server = Server::start("127.0.0.1", move |mut stream| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await;
            let end = stream.read(&mut [0; 1]).await;
            left.send(end.unwrap_or(0)).expect("a listener");
        }
    })
    .await;
    assert!(matches!(ask_briefly(&server).await, Err(EgressError::Timeout(_))));
    assert_eq!(leavings.recv().await, Some(0));
}

#[tokio::test]
async fn only_what_is_opened_and_granted_is_dialled() {
    let closed = sentinel("127.0.0.4");
    let own = sentinel("127.0.0.5");
    let at = |sentinel: &std::net::TcpListener| sentinel.local_addr().expect("an address");
    let config = EgressConfig { own_listeners: vec![at(&own)], ..open(&[at(&own)]) };
    let gate = gate(&config);
    for address in [at(&closed), at(&own)] {
        for url in [format!("http://{address}"), format!("https://{address}")] {
            let ended = get(&granted(&gate, &url, "test"), &url).await;
            assert!(matches!(ended, Err(EgressError::Denied(_))), "{url}: {ended:?}");
        }
    }
    let server = Server::answering(OK).await;
    let gate = super::gate(&open(&[server.address]));
    let ended = get(&granted(&gate, "https://hooks.example.com", "test"), &server.url()).await;
    assert!(matches!(ended, Err(EgressError::Denied(_))), "{ended:?}");
    assert!(is_untouched(&closed) && is_untouched(&own) && server.connections() == 0);
}
