//! A network that is slow, or cut: a proxy in front of a node that hands on every byte after a
//! while.
//!
//! Loopback knows no distance, and `netem` is not in every kernel. Each chunk is given its time
//! when it arrives and written when that has come, so that a delay takes nothing from the
//! throughput. While the way is cut, chunks stay where they are, as behind a router that has lost
//! its route; nobody is told. Threads end with the process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// How often a cut way is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What holds for all connections of a proxy.
#[derive(Default)]
struct Way {
    /// From end to end, one direction.
    delay_us: AtomicU64,
    is_cut: AtomicBool,
}

/// A proxy in front of one node.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    way: Arc<Way>,
}

impl Proxy {
    /// Listens, for a node that will listen at [`Proxy::target`].
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        // Free now, and nobody is given it again so soon.
        let target = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let way = Arc::new(Way::default());
        let theirs = Arc::clone(&way);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A node that is not there refuses, and so does this end of the way.
                if let Ok(far) = TcpStream::connect(target) {
                    let _ = join(&near, &far, &theirs);
                }
            }
        });
        Ok(Self {
            address,
            target,
            way,
        })
    }

    /// Where others reach the node.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where the node listens.
    pub(crate) fn target(&self) -> String {
        self.target.to_string()
    }

    /// From now on a round trip to the node takes so long.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        let delay_us = u64::try_from(round_trip.as_micros() / 2).unwrap_or(u64::MAX);
        self.way.delay_us.store(delay_us, Ordering::Relaxed);
    }

    /// Nothing passes, or all does again.
    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.way.is_cut.store(is_cut, Ordering::Relaxed);
    }
}

/// Carries both directions of a connection.
fn join(near: &TcpStream, far: &TcpStream, way: &Arc<Way>) -> std::io::Result<()> {
    for (from, to) in [(near, far), (far, near)] {
        from.set_nodelay(true)?;
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (send, receive) = channel();
        let (reading, writing) = (Arc::clone(way), Arc::clone(way));
        std::thread::spawn(move || take(from, &send, &reading));
        std::thread::spawn(move || give(to, &receive, &writing));
    }
    Ok(())
}

fn take(mut from: TcpStream, send: &Sender<(Instant, Vec<u8>)>, way: &Way) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        let delay = Duration::from_micros(way.delay_us.load(Ordering::Relaxed));
        let chunk = buffer.get(..read).unwrap_or_default().to_vec();
        // An empty chunk is the end, and arrives like any other.
        if send.send((Instant::now() + delay, chunk)).is_err() || read == 0 {
            return;
        }
    }
}

fn give(mut to: TcpStream, receive: &Receiver<(Instant, Vec<u8>)>, way: &Way) {
    while let Ok((at, chunk)) = receive.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        while way.is_cut.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
        if chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a byte through the proxy to a listener that sends it back.
    fn round_trip(proxy: &Proxy, stream: &mut TcpStream) -> Duration {
        let began = Instant::now();
        stream.write_all(&[1]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let took = began.elapsed();
        assert_ne!(proxy.address(), proxy.target());
        took
    }

    #[test]
    fn a_byte_takes_its_time_and_waits_while_the_way_is_cut() {
        let proxy = Proxy::start().unwrap();
        let echo = TcpListener::bind(proxy.target()).unwrap();
        std::thread::spawn(move || {
            for stream in echo.incoming().flatten() {
                let mut back = stream.try_clone().unwrap();
                let mut stream = stream;
                std::thread::spawn(move || std::io::copy(&mut stream, &mut back));
            }
        });
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        round_trip(&proxy, &mut stream);
        proxy.set_round_trip(Duration::from_millis(60));
        assert!(round_trip(&proxy, &mut stream) >= Duration::from_millis(60));
        proxy.set_round_trip(Duration::ZERO);
        proxy.set_cut(true);
        let heal = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(80));
                proxy.set_cut(false);
            });
            round_trip(&proxy, &mut stream)
        });
        assert!(heal >= Duration::from_millis(75));
    }
}
