//! The demonstration's nodes: child processes of this program, in one directory.
//!
//! Every child is ended when this is dropped, whatever happened before.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::PARTITION;
use crate::control::{Faults, Request, client};
use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::status::NodeStatus;

/// Running nodes.
pub(super) struct Cluster {
    home: PathBuf,
    children: HashMap<String, Child>,
    /// Where the first node listens: all others begin there.
    seed: Option<String>,
}

impl Cluster {
    pub(super) fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            children: HashMap::new(),
            seed: None,
        }
    }

    fn dir(&self, node: &str) -> DataDir {
        DataDir::at(&self.home.join(node))
    }

    /// The partition's file on a node.
    pub(super) fn file(&self, node: &str) -> PathBuf {
        self.home.join(node).join(format!("{PARTITION}.db"))
    }

    /// Starts a node on a free port and waits until it answers.
    pub(super) fn start(&mut self, node: &str) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.home.join(format!("{node}.log")))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--allow-faults",
                "--dir",
            ])
            .arg(self.home.join(node))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the script, which then ends its children in order.
            .process_group(0);
        for (name, _) in
            std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("NUDA_"))
        {
            command.env_remove(name);
        }
        if let Some(seed) = &self.seed {
            command.args(["--peer", seed]);
        }
        self.children.insert(node.to_owned(), command.spawn()?);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match self.ask::<NodeStatus>(node, &Request::Status { partition: None }) {
                Ok(status) if status.nodes.len() + 1 >= self.children.len() => {
                    self.seed.get_or_insert(status.address);
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) if Instant::now() > until => {
                    return Err(e.during(format!("starting node {node}")));
                }
                Err(_) => {}
            }
            if Instant::now() > until {
                return Err(Error::retry(format!(
                    "node {node} does not find the others"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks a node.
    pub(super) fn ask<T: DeserializeOwned>(&self, node: &str, request: &Request) -> Result<T> {
        client::ask(&self.dir(node), request, |_| {})
    }

    /// Makes a node drop all traffic with these others.
    pub(super) fn cut(&self, node: &str, from: &[&str]) -> Result<()> {
        let cut = from.iter().map(|n| (*n).to_owned()).collect();
        let _: serde_json::Value = self.ask(
            node,
            &Request::Fault(Faults {
                cut,
                ..Faults::default()
            }),
        )?;
        Ok(())
    }

    /// kill -9.
    pub(super) fn kill(&mut self, node: &str) -> Result<()> {
        if let Some(mut child) = self.children.remove(node) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let ended = child.kill().and_then(|()| child.wait());
            if let Err(e) = ended {
                eprintln!("nuda: cannot end a node of the demonstration; {e}");
            }
        }
    }
}
