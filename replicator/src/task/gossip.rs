//! Greets other nodes, so that each learns of all.
//!
//! Begins with the addresses given by `--peer` and those kept from earlier; greets whoever is
//! new at once, whoever fails again after a pause that doubles, and everybody now and then.
//! A greeting also carries the clock, which is compared and never set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::Result;
use crate::node::Node;
use crate::transport::Route;
use crate::transport::wire::Hello;

const AGAIN: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(100);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// When an address is greeted next.
struct Plan {
    at: Instant,
    pause: Duration,
}

/// What this node says of itself and others.
pub(crate) fn hello(node: &Node) -> Hello {
    Hello {
        me: node.me().clone(),
        now_ms: clock::wall_ms(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes: node.peers.entries(),
    }
}

/// Takes over what a greeting says; `took_ms` is how long the exchange lasted, if it did.
pub(crate) fn learn(node: &Arc<Node>, hello: &Hello, took_ms: u64) -> Result<()> {
    let mut news = node.peers.learn(&hello.me)?;
    for entry in hello.nodes.iter().take(crate::limits::NODES) {
        match node.peers.learn(entry) {
            Ok(new) => news |= new,
            Err(e) => tracing::warn!(from = %hello.me.name, error = %e, "ignored an address"),
        }
    }
    if news {
        if let Err(e) = node.peers.save() {
            tracing::warn!(error = %e, "cannot keep the address list");
        }
        node.news.notify_one();
    }
    let theirs = hello.now_ms.saturating_add(took_ms / 2);
    node.clock_of(&hello.me.name, theirs);
    node.heard(&hello.me.name);
    Ok(())
}

/// Greets for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let mut plans: HashMap<String, Plan> = HashMap::new();
    let now = Instant::now;
    loop {
        let mut addresses: Vec<String> = node
            .peers
            .entries()
            .into_iter()
            .map(|e| e.address)
            .collect();
        for seed in &node.config.peers {
            let known = plans.get(seed).is_some_and(|p| p.pause == Duration::ZERO);
            // Once a seed has answered it is greeted under its own name.
            if *seed != node.me().address && !addresses.contains(seed) && !known {
                addresses.push(seed.clone());
            }
        }
        plans.retain(|address, _| {
            addresses.contains(address) || node.config.peers.contains(address)
        });
        let mut greetings = tokio::task::JoinSet::new();
        for address in addresses {
            if plans.get(&address).is_none_or(|p| p.at <= now()) {
                let node = Arc::clone(&node);
                greetings.spawn(async move {
                    let greeted = greet(&node, &address).await;
                    (address, greeted)
                });
            }
        }
        while let Some(done) = greetings.join_next().await {
            let Ok((address, greeted)) = done else {
                continue;
            };
            let pause = plans.get(&address).map_or(Duration::ZERO, |p| p.pause);
            let (wait, pause) = match greeted {
                Ok(()) => (AGAIN, Duration::ZERO),
                Err(e) => {
                    report(&node, &address, &e);
                    let pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                    (pause, pause)
                }
            };
            let at = now() + wait;
            plans.insert(address, Plan { at, pause });
        }
        // While somebody is silent or new, look often; otherwise rarely.
        let soonest = plans.values().map(|p| p.at).min();
        let pause = soonest.map_or(AGAIN, |at| at.saturating_duration_since(now()));
        let pause = tokio::time::sleep(pause.clamp(STEP, Duration::from_secs(1)));
        tokio::select! {
            () = pause => {}
            // Somebody is new: everybody hears of it now.
            () = node.news.notified() => plans.values_mut().for_each(|p| p.at = now()),
        }
    }
}

fn report(node: &Arc<Node>, address: &str, error: &crate::error::Error) {
    let peers = node.peers.all();
    if let Some(peer) = peers.iter().find(|p| p.entry.address == address) {
        node.failed(&peer.entry.name, error);
    } else if error.is_retry() {
        tracing::debug!(address, %error, "no answer to a greeting");
    } else {
        tracing::error!(address, %error, "a greeting was refused");
    }
}

async fn greet(node: &Arc<Node>, address: &str) -> Result<()> {
    let began = clock::now_ms();
    let body = serde_json::to_vec(&hello(node))?;
    let call = node.call_address(address, Route::Hello, body);
    let answer = tokio::time::timeout(Duration::from_secs(2), call)
        .await
        .map_err(|_| {
            crate::error::Error::retry(format!("cannot reach {address}; no answer in time"))
        })??;
    let took_ms = clock::now_ms().saturating_sub(began);
    learn(node, &serde_json::from_slice::<Hello>(&answer)?, took_ms)
}
