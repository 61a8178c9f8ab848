//! The life of a node: take the directory, listen, run the tasks, stop in order.
//!
//! An orderly stop ends the tasks, lets requests in flight finish, and closes the files
//! without a checkpoint. Whatever it leaves undone, a crash would have left too.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::consensus;
use crate::control;
use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::private_socket;
use crate::task;
use crate::transport::http::Http;
use crate::transport::server;

/// Runs a node until SIGTERM or SIGINT.
pub(crate) async fn run(dir: DataDir, config: Config) -> Result<()> {
    crate::broken::announce()?;
    crate::extension::register()?;
    dir.create()?;
    let lock = dir.lock()?;
    dir.clear_temporary();
    let identity = dir.identity(config.name.as_deref())?;
    let listener = TcpListener::bind(config.listen).await.map_err(|e| {
        Error::refused(format!(
            "cannot listen on {}; {e}; choose another address with --listen",
            config.listen
        ))
    })?;
    let address = match &config.advertise {
        Some(address) => address.clone(),
        None => listener.local_addr()?.to_string(),
    };
    let control = private_socket::bind(&dir.control_socket())?;
    let wake = task::wake::bind(&dir)?;
    let strong = private_socket::bind(&dir.strong_socket())?;
    let ordered = consensus::Consensus::open(&dir.private())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let metrics = Arc::new(Metrics::default());
    let transport = Http::new(
        identity.clone(),
        config.request_timeout,
        Arc::clone(&metrics),
    )?;
    let transport = Box::new(transport);
    let boot_ms = dir.boot_ms(crate::clock::wall_ms())?;
    let node = Arc::new(Node::new(
        dir,
        identity,
        config,
        (address, boot_ms),
        transport,
        metrics,
        ordered,
    ));
    // At the start nobody else needs this thread.
    task::scan::begin(&node);
    tracing::info!(
        node = %node.me().name,
        address = %node.me().address,
        dir = %node.dir.root().display(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let server = tokio::spawn(server::run(Arc::clone(&node), listener));
    node.spawn(control::server::run(Arc::clone(&node), control));
    node.consensus.start(&node).await?;
    node.spawn(consensus::socket::run(Arc::clone(&node), strong));
    node.spawn(consensus::found::run(Arc::clone(&node)));
    node.spawn(task::wake::run(Arc::clone(&node), wake));
    node.spawn(task::scan::run(Arc::clone(&node)));
    node.spawn(task::timer::run(Arc::clone(&node)));
    node.spawn(task::gossip::run(Arc::clone(&node)));
    node.spawn(task::compare::run(Arc::clone(&node)));
    node.spawn(task::idle::run(Arc::clone(&node)));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    node.stop();
    if tokio::time::timeout(crate::limits::SHUTDOWN, server)
        .await
        .is_err()
    {
        tracing::warn!("requests were still under way");
    }
    node.consensus.stop().await;
    for socket in [
        node.dir.control_socket(),
        node.dir.wake_socket(),
        node.dir.strong_socket(),
    ] {
        if let Err(e) = std::fs::remove_file(&socket) {
            tracing::debug!(file = %socket.display(), error = %e, "not removed");
        }
    }
    drop(lock);
    Ok(())
}
