//! etcd beside us, if this machine has it: three members on loopback with its defaults, which
//! sync before they answer, and a client that speaks its gRPC.
//!
//! The client is the least that HTTP/2 demands of somebody who has one request under way at a
//! time, so that what is measured is etcd and not a client library.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::cluster::{Daemon, NAMES};

/// Kinds of HTTP/2 frames, and the flags that matter here.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// No answer of etcd to these requests is longer.
const LONGEST: usize = 1 << 20;

/// Three members.
pub(crate) struct Etcd {
    leader: u16,
    _members: Vec<Daemon>,
    _home: TempDir,
}

/// The installed program, or that there is none.
pub(crate) fn program() -> std::result::Result<PathBuf, String> {
    std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|directory| directory.join("etcd"))
        .find(|path| path.is_file())
        .ok_or_else(|| "etcd".to_owned())
}

impl Etcd {
    /// Starts them and waits until one leads.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let home = tempfile::tempdir()?;
        // Taken together, so that they differ.
        let listeners: Vec<TcpListener> = (0..NAMES.len() * 2)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<std::io::Result<_>>()?;
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<std::io::Result<_>>()?;
        drop(listeners);
        let (clients, peers) = ports.split_at(NAMES.len());
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let together: Vec<String> = NAMES
            .iter()
            .zip(peers)
            .map(|(name, peer)| format!("{name}={}", url(peer)))
            .collect();
        let mut members = Vec::new();
        for ((name, client), peer) in NAMES.iter().zip(clients).zip(peers) {
            let mut command = Command::new(program);
            command
                .args(["--name", name, "--initial-cluster", &together.join(",")])
                .args(["--listen-client-urls", &url(client)])
                .args(["--advertise-client-urls", &url(client)])
                .args(["--listen-peer-urls", &url(peer)])
                .args(["--initial-advertise-peer-urls", &url(peer)])
                .arg("--data-dir")
                .arg(home.path().join(name));
            let log = home.path().join(format!("{name}.log"));
            members.push(Daemon::start(command, &log)?);
        }
        let until = Instant::now() + Duration::from_secs(30);
        let leader = loop {
            if let Some(port) = clients.iter().copied().find(|port| leads(*port)) {
                break port;
            }
            if Instant::now() > until {
                return Err("etcd found no leader within 30 s".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Ok(Self {
            leader,
            _members: members,
            _home: home,
        })
    }

    /// A client of the leader.
    pub(crate) fn connect(&self) -> Result<Client> {
        Client::connect(self.leader)
    }
}

/// Whether the member at this port says that it leads.
fn leads(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("\netcd_server_is_leader 1"))
}

/// One connection, one request at a time.
pub(crate) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// The next request's.
    id: u32,
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut hello, SETTINGS, 0, 0, &[]);
        // So much may come that nothing needs to be granted later.
        frame(
            &mut hello,
            WINDOW_UPDATE,
            0,
            0,
            &(1_u32 << 30).to_be_bytes(),
        );
        stream.write_all(&hello)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self {
            stream,
            reader,
            id: 1,
        })
    }

    /// Writes a key.
    pub(crate) fn put(&mut self, key: &str) -> Result<()> {
        let mut message = Vec::new();
        field(&mut message, 1, key)?;
        field(&mut message, 2, "a value of some bytes")?;
        self.call("/etcdserverpb.KV/Put", &message)
    }

    /// Reads a key, linearizably, which is what etcd does unless told otherwise.
    pub(crate) fn range(&mut self, key: &str) -> Result<()> {
        let mut message = Vec::new();
        field(&mut message, 1, key)?;
        self.call("/etcdserverpb.KV/Range", &message)
    }

    fn call(&mut self, path: &str, message: &[u8]) -> Result<()> {
        // POST, http; then literals that enter no table. 31 is content-type.
        let mut head = vec![0x83, 0x86, 0x04];
        text(&mut head, path)?;
        head.push(0x01);
        text(&mut head, "127.0.0.1")?;
        head.extend([0x0f, 31 - 15]);
        text(&mut head, "application/grpc")?;
        head.push(0x00);
        text(&mut head, "te")?;
        text(&mut head, "trailers")?;
        let mut body = vec![0];
        body.extend(u32::try_from(message.len())?.to_be_bytes());
        body.extend(message);
        let mut request = Vec::new();
        frame(&mut request, HEADERS, END_HEADERS, self.id, &head);
        frame(&mut request, DATA, END_STREAM, self.id, &body);
        self.stream.write_all(&request)?;
        let answered = self.answered();
        self.id += 2;
        answered
    }

    /// Reads until the request's end. A failed call has trailers and no data.
    fn answered(&mut self) -> Result<()> {
        let mut data = false;
        loop {
            let mut head = [0; 9];
            self.reader.read_exact(&mut head)?;
            let [l0, l1, l2, kind, flags, id @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2]))?;
            if length > LONGEST {
                return Err("etcd answered with too long a frame".into());
            }
            let mut payload = vec![0; length];
            self.reader.read_exact(&mut payload)?;
            let mine = u32::from_be_bytes(id) == self.id;
            let mut reply = Vec::new();
            match kind {
                SETTINGS if flags & ACK == 0 => frame(&mut reply, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut reply, PING, ACK, 0, &payload),
                RESET | GO_AWAY => return Err("etcd ended the request".into()),
                DATA if mine => data = data || length > 0,
                _ => {}
            }
            self.stream.write_all(&reply)?;
            if mine && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return if data {
                    Ok(())
                } else {
                    Err("etcd refused the request".into())
                };
            }
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    // No payload here is near 2^24 bytes.
    let [_, length @ ..] = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(id.to_be_bytes());
    out.extend(payload);
}

/// A header's text, not compressed; shorter than the 127 bytes that one byte of length can say.
fn text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    out.push(u8::try_from(text.len())?);
    out.extend(text.as_bytes());
    Ok(())
}

/// A field of bytes in a protobuf message, likewise short.
fn field(out: &mut Vec<u8>, number: u8, text: &str) -> Result<()> {
    out.push(number << 3 | 2);
    out.push(u8::try_from(text.len())?);
    out.extend(text.as_bytes());
    Ok(())
}
