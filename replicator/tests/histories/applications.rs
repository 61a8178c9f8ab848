//! Applications as the test sees them: started, asked, stopped and killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::application::{ANSWER, FILE};
use crate::support;

/// An application that says nothing for so long will never say anything.
const SILENCE: Duration = Duration::from_secs(90);

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

/// The process ids of the applications that run, for whoever kills and stops them.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<BTreeMap<usize, u32>>);

impl Running {
    pub(crate) fn set(&self, client: usize, pid: Option<u32>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pid {
            Some(pid) => running.insert(client, pid),
            None => running.remove(&client),
        };
    }

    /// Sends a signal to an application, if it runs. The lock is held meanwhile, and whoever
    /// reaps a process takes it out first: the id cannot be another process's.
    pub(crate) fn signal(&self, client: usize, signal: &str) -> bool {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .get(&client)
            .is_some_and(|pid| support::succeeds("kill", &[signal, &pid.to_string()]))
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
