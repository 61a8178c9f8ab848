//! What strangers may send: refused in one readable line, and the node goes on.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::{Nodes, http};

const OURS: &str = "nuda-protocol: 2\r\nnuda-node: x\r\nnuda-node-id: 1";

#[test]
fn garbage_is_refused() {
    let nodes = Nodes::with_page(&["a"]);
    let at = nodes.address("a");
    for path in ["/v1/hello", "/v1/messages", "/v1/ask", "/v1/piece"] {
        let head = format!("POST {path} HTTP/1.1\r\n{OURS}");
        let (status, text) = http(&at, &head, b"this is not zstd");
        assert_eq!(status, 400, "{path}: {text}");
        // zstd, but of nonsense.
        let body = zstd::bulk::compress(b"\x07nonsense", 1).unwrap();
        let (status, text) = http(&at, &head, &body);
        assert_eq!(status, 400, "{path}: {text}");
    }
    assert_eq!(http(&at, "GET /v1/hello HTTP/1.1", b"").0, 405);
    assert_eq!(http(&at, "GET /../../etc/passwd HTTP/1.1", b"").0, 404);
    assert_eq!(http(&at, "GET /healthz HTTP/1.1", b"").0, 200);
    assert_eq!(http(&at, "GET /readyz HTTP/1.1", b"").0, 200);
    let metrics = http(&at, "GET /metrics HTTP/1.1", b"").1;
    assert!(
        metrics.contains("nuda_requests_refused_total 8"),
        "{metrics}"
    );
}

#[test]
fn large_bodies_are_refused_before_they_are_held() {
    let nodes = Nodes::with_page(&["a"]);
    let at = nodes.address("a");
    let head = format!("POST /v1/ask HTTP/1.1\r\n{OURS}");
    // Too large as it travels.
    let (status, text) = http(&at, &head, &vec![7; 2 << 20]);
    assert!(status == 400 || status == 0, "{text}");
    // Small, and huge when decompressed.
    let bomb = zstd::bulk::compress(&vec![0; 300 << 20], 1).unwrap();
    assert!(bomb.len() < 1 << 20);
    for path in ["/v1/ask", "/v1/messages", "/v1/hello"] {
        let head = format!("POST {path} HTTP/1.1\r\n{OURS}");
        let (status, text) = http(&at, &head, &bomb);
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("larger than"), "{text}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", nodes.pid("a"))).unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kb: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kb < 400 << 10, "{peak}");
    assert_eq!(http(&at, "GET /healthz HTTP/1.1", b"").0, 200);
}

#[test]
fn another_protocol_version_is_told_so() {
    let nodes = Nodes::with_page(&["a"]);
    let at = nodes.address("a");
    let head = "POST /v1/messages HTTP/1.1\r\nnuda-protocol: 99\r\nnuda-node: x";
    let (status, text) = http(&at, head, b"");
    assert_eq!(status, 426);
    assert!(text.contains("speaks protocol 2"), "{text}");
    assert!(text.contains("upgrade"), "{text}");
    let head = "GET /v1/consensus HTTP/1.1\r\nnuda-protocol: 99\r\nnuda-node: x";
    assert_eq!(http(&at, head, b"").0, 426);
}

#[test]
fn garbage_on_a_stream_ends_that_stream() {
    use std::io::{Read, Write};

    let nodes = Nodes::with_page(&["a"]);
    let at = nodes.address("a");
    let head = format!("GET /v1/consensus HTTP/1.1\r\n{OURS}");
    assert_eq!(http(&at, &head, b"").0, 400, "no upgrade was asked for");
    let unknown = [&[0, 0, 0, 2][..], &[0; 8], &[0], b"no"].concat();
    for (garbage, ends) in [(vec![255; 64], true), (unknown, false)] {
        let mut stream = std::net::TcpStream::connect(&at).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        let asked =
            format!("{head}\r\nhost: x\r\nconnection: upgrade\r\nupgrade: nuda-stream\r\n\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        stream.write_all(&garbage).unwrap();
        let mut frame = [0; 13];
        let read = stream.read_exact(&mut frame);
        assert_eq!(read.is_err(), ends);
        if !ends {
            assert!(frame[12] >= 2, "a call that cannot be read is refused");
        }
    }
    assert_eq!(http(&at, "GET /healthz HTTP/1.1", b"").0, 200);
}

#[test]
fn names_cannot_leave_the_directory() {
    let nodes = Nodes::with_page(&["a"]);
    let at = nodes.address("a");
    for name in ["../evil", "a/b", ".nuda", ""] {
        let refused = nodes.nuda("a", &["create", name]);
        assert_eq!(refused.status.code(), Some(1), "{name}");
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains("no partition name"), "{text}");
        let ask = format!(
            "{{\"ask\":\"invite\",\"name\":\"{name}\",\"id\":\"{:032x}\"}}",
            1
        );
        let body = zstd::bulk::compress(ask.as_bytes(), 1).unwrap();
        let head = format!("POST /v1/ask HTTP/1.1\r\n{OURS}");
        assert_eq!(http(&at, &head, &body).0, 400, "{name}");
    }
    let unknown = nodes.nuda("a", &["verify", "nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    let absent = nodes.nuda("nowhere", &["status"]);
    let text = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(text.contains("nuda serve --dir"), "{text}");
}

#[test]
fn one_daemon_per_directory_and_loopback_only() {
    let nodes = Nodes::start(&["a"]);
    let second = nodes.nuda("a", &["serve", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && text.contains("served already"),
        "{text}"
    );
    let open = nodes.nuda("b", &["serve", "--listen", "0.0.0.0:0"]);
    let text = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(
        !open.status.success() && text.contains("--insecure"),
        "{text}"
    );
}
