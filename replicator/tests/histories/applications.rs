//! Applications as the test sees them: started, asked, stopped and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::application::{ANSWER, FILE};
use crate::support;

/// An application that says nothing for so long will never say anything.
const SILENCE: Duration = Duration::from_secs(180);

/// In which language an application is written.
#[derive(Debug, Clone)]
pub(crate) enum Language {
    /// rusqlite, with the extension linked.
    Rust,
    /// `/usr/bin/python3`, with this loadable extension.
    Python(PathBuf),
}

/// How to start an application.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) file: PathBuf,
    pub(crate) language: Language,
    pub(crate) envs: Vec<(String, String)>,
    pub(crate) under: Vec<String>,
}

/// A running application; ended when dropped.
pub(crate) struct Application {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
}

impl Start {
    pub(crate) fn run(&self) -> Application {
        let mut command = match &self.language {
            Language::Rust => {
                let program = std::env::current_exe().unwrap();
                let mut command = support::under(&self.under, program.to_str().unwrap());
                command.args(["--exact", "application", "--ignored", "--nocapture"]);
                command
            }
            Language::Python(extension) => {
                let script =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/application.py");
                let mut command = support::under(&self.under, "/usr/bin/python3");
                command.arg(script).arg(extension);
                command
            }
        };
        let mut child = command
            .env(FILE, &self.file)
            .envs(self.envs.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let answer = line.strip_prefix(ANSWER).map(serde_json::from_str);
                // A line cut in half was not said.
                if let Some(Ok(answer)) = answer
                    && tell.send(answer).is_err()
                {
                    return;
                }
            }
        });
        Application {
            child,
            input,
            answers,
        }
    }
}

impl Application {
    /// Asks and waits for the answer; `None` if the application died.
    pub(crate) fn ask(&mut self, asked: &Value) -> Option<Value> {
        writeln!(self.input, "{asked}").ok()?;
        match self.answers.recv_timeout(SILENCE) {
            Ok(answer) => Some(answer),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                panic!("an application does not answer: {asked}")
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The applications that run, for whoever kills and stops them.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Machines>);

#[derive(Debug, Default)]
struct Machines {
    /// Process ids.
    pids: BTreeMap<usize, u32>,
    /// Nodes whose machine is off: nothing starts there.
    off: BTreeSet<String>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Machines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an application, unless its machine is off.
    pub(crate) fn start(&self, client: usize, node: &str, start: &Start) -> Option<Application> {
        let mut machines = self.lock();
        if machines.off.contains(node) {
            return None;
        }
        let started = start.run();
        machines.pids.insert(client, started.pid());
        Some(started)
    }

    /// The application is about to be reaped.
    pub(crate) fn ended(&self, client: usize) {
        self.lock().pids.remove(&client);
    }

    /// Sends a signal to an application, if it runs. The lock is held meanwhile, and whoever
    /// reaps a process takes it out first: the id cannot be another process's.
    pub(crate) fn signal(&self, client: usize, signal: &str) -> bool {
        self.lock().signal(client, signal)
    }

    /// One more than the greatest number of an application that has run.
    pub(crate) fn clients(&self) -> usize {
        self.lock().pids.keys().max().map_or(0, |last| last + 1)
    }

    /// Nothing starts on these machines, until they are on again.
    pub(crate) fn off(&self, nodes: &[String]) {
        self.lock().off.extend(nodes.iter().cloned());
    }

    /// They are on.
    pub(crate) fn on(&self, nodes: &[String]) {
        self.lock().off.retain(|node| !nodes.contains(node));
    }
}

impl Machines {
    fn signal(&self, client: usize, signal: &str) -> bool {
        let Some(pid) = self.pids.get(&client) else {
            return false;
        };
        let sent = support::succeeds("kill", &[signal, &pid.to_string()]);
        if sent && signal == "-STOP" {
            support::stands_still(*pid);
        }
        sent
    }
}

/// Builds the loadable extension and answers where it is; `None` if there is no Python that
/// can load it.
pub(crate) fn loadable() -> Option<PathBuf> {
    let can = "import sqlite3; sqlite3.connect(':memory:').enable_load_extension(True)";
    if !support::succeeds("/usr/bin/python3", &["-c", can]) {
        return None;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let built = Command::new(cargo)
        .args(["build", "--quiet", "-p", "nuda-ext"])
        .current_dir(root)
        .status();
    let program = Path::new(support::NUDA);
    let library = program.parent()?.join("libnuda.so");
    (built.is_ok_and(|status| status.success()) && library.exists()).then_some(library)
}
