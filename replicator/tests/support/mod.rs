//! Real nodes for tests: processes of the built program on loopback, in a temporary directory.
//!
//! Every wait is bounded; every process is ended when its node is dropped. Applications are
//! rusqlite connections with the extension, as a user's Rust program would have them.

#![allow(dead_code)]

pub(crate) mod definitions;
pub(crate) mod outcomes;
pub(crate) mod power;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

/// The program under test.
pub(crate) const NUDA: &str = env!("CARGO_BIN_EXE_nuda");

/// The one table of [`Nodes::with_page`].
pub(crate) const PAGE: &str =
    "CREATE TABLE page(id TEXT PRIMARY KEY, title TEXT, hits COUNTER); SELECT nuda_track('page');";

/// Nodes in one directory.
pub(crate) struct Nodes {
    pub(crate) home: tempfile::TempDir,
    running: HashMap<String, Child>,
    pub(crate) seed: Option<String>,
    /// Further flags of `nuda serve`, for nodes that are started from now on.
    pub(crate) flags: Vec<String>,
    /// Their environment.
    pub(crate) envs: Vec<(String, String)>,
    /// Under which command they run.
    pub(crate) under: Vec<String>,
    /// Where nodes listen each time that they are started; the others take another port each time.
    pub(crate) listen: HashMap<String, String>,
    /// Whether some outcome was unknown: what it committed may be in the way of what comes next.
    doubted: AtomicBool,
    kept: bool,
}

impl Nodes {
    /// Starts these nodes.
    pub(crate) fn start(names: &[&str]) -> Self {
        Self::start_with(names, &[])
    }

    /// The same with further flags of `nuda serve`.
    pub(crate) fn start_with(names: &[&str], flags: &[&str]) -> Self {
        let mut nodes = Self {
            home: tempfile::tempdir().unwrap(),
            running: HashMap::new(),
            seed: None,
            flags: flags.iter().map(ToString::to_string).collect(),
            envs: Vec::new(),
            under: Vec::new(),
            listen: HashMap::new(),
            doubted: AtomicBool::new(false),
            kept: false,
        };
        for name in names {
            nodes.run(name);
        }
        nodes
    }

    /// Starts one node (again) on a port that nobody had.
    pub(crate) fn run(&mut self, name: &str) {
        self.spawn(name);
        self.found(name);
    }

    /// The same without waiting for it.
    pub(crate) fn spawn(&mut self, name: &str) {
        let child = self.command(name).spawn().unwrap();
        self.running.insert(name.to_owned(), child);
    }

    /// What starts a node. The port is nobody else's, now or before: a node that still calls one that is gone
    /// must not reach another test's.
    pub(crate) fn command(&self, name: &str) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join(format!("{name}.log")))
            .unwrap();
        let listen = self.listen.get(name).cloned().unwrap_or_else(free_address);
        let mut command = under(&self.under_of(name), NUDA);
        command
            .envs(self.envs_of(name))
            .args(["serve", "--allow-faults", "--listen", &listen])
            .args([
                "--log",
                "debug,hyper_util=info,reqwest=info,openraft=off",
                "--dir",
            ])
            .arg(self.dir(name))
            .args(&self.flags)
            .stderr(log)
            .stdout(Stdio::null());
        if let Some(seed) = &self.seed {
            command.args(["--peer", seed]);
        }
        command
    }

    /// The environment of a node and its applications: `{node}` is its name there.
    pub(crate) fn envs_of(&self, name: &str) -> Vec<(String, String)> {
        let of = |(key, value): &(String, String)| (key.clone(), value.replace("{node}", name));
        self.envs.iter().map(of).collect()
    }

    /// The command under which a node and its applications run: `{node}` is its name there.
    pub(crate) fn under_of(&self, name: &str) -> Vec<String> {
        let words = self.under.iter();
        words.map(|word| word.replace("{node}", name)).collect()
    }

    /// Waits until it answers and knows the other nodes that run.
    pub(crate) fn found(&mut self, name: &str) {
        let others = self.running.len() - 1;
        let status = self.eventually(&format!("{name} finds the others"), |nodes| {
            let output = nodes.nuda(name, &["status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            (status["nodes"].as_array()?.len() >= others).then_some(status)
        });
        if self.seed.is_none() {
            self.seed = Some(status["address"].as_str().unwrap().to_owned());
        }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, partition: &str) -> PathBuf {
        self.dir(name).join(format!("{partition}.db"))
    }

    /// The process id of a node.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.running[name].id()
    }

    /// Sends a signal to a node.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let pid = self.pid(name).to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        if signal == "-STOP" {
            stands_still(self.pid(name));
        }
    }

    /// SIGSTOP at a moment at which the node has no write lock of this file: its applications go on writing.
    pub(crate) fn freeze(&self, name: &str, partition: &str) {
        let conn = self.open(name, partition);
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.signal(name, "-STOP");
        conn.execute_batch("ROLLBACK").unwrap();
    }

    /// Whether a node has not died by itself.
    pub(crate) fn is_running(&mut self, name: &str) -> bool {
        let child = self.running.get_mut(name).unwrap();
        child.try_wait().unwrap().is_none()
    }

    /// Waits until a node has died by itself.
    pub(crate) fn died(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        self.eventually(&format!("{name} dies"), |_| child.try_wait().unwrap());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; answers whether it ended well, and how long that took.
    pub(crate) fn stop(&mut self, name: &str) -> (bool, Duration) {
        self.signal(name, "-TERM");
        let began = Instant::now();
        let mut child = self.running.remove(name).unwrap();
        let ended = child.wait().unwrap();
        (ended.success(), began.elapsed())
    }

    /// Runs a command against a node.
    pub(crate) fn nuda(&self, name: &str, args: &[&str]) -> Output {
        Command::new(NUDA)
            .args(args)
            .env("NUDA_DIR", self.dir(name))
            .output()
            .unwrap()
    }

    /// The same; it must succeed.
    pub(crate) fn nuda_ok(&self, name: &str, args: &[&str]) -> String {
        let output = self.nuda(name, args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{args:?}: {error}\n{}",
            self.logs()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.nuda_ok(name, &["status", "--json"])).unwrap()
    }

    pub(crate) fn address(&self, name: &str) -> String {
        self.status(name)["address"].as_str().unwrap().to_owned()
    }

    /// All replicas become equal.
    pub(crate) fn verify(&self, name: &str, partition: &str) {
        self.nuda_ok(name, &["verify", partition, "--timeout-s", "60"]);
    }

    /// An application's connection. A member that seemed to be away gets its file when it is back: one that was
    /// opened before would be another one.
    pub(crate) fn open(&self, name: &str, partition: &str) -> Connection {
        let file = self.file(name, partition);
        self.eventually(&format!("{name} has its file"), |_| {
            file.exists().then_some(())
        });
        open(&file)
    }

    /// A partition with one table on these nodes, the first of which founds it.
    pub(crate) fn with_page(names: &[&str]) -> Self {
        Self::with_page_and(names, &[])
    }

    /// The same with further flags of `nuda serve`.
    pub(crate) fn with_page_and(names: &[&str], flags: &[&str]) -> Self {
        let nodes = Self::start_with(names, flags);
        nodes.nuda_ok(names[0], &["create", "org", "--on", &names.join(",")]);
        definitions::make_tables(&nodes, &nodes.open(names[0], "org"), PAGE);
        for name in names {
            let conn = nodes.open(name, "org");
            nodes.eventually("the table is everywhere", |_| {
                conn.prepare("SELECT * FROM page").ok().map(|_| ())
            });
        }
        nodes
    }

    /// Waits, but not for ever: long enough for a machine that has other work.
    pub(crate) fn eventually<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "never: {what}\n{}{}",
                self.logs(),
                self.states()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What each node that runs says of itself, for a failed test.
    fn states(&self) -> String {
        let mut text = String::new();
        for name in self.running.keys() {
            let output = self.nuda(name, &["status"]);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&format!("--- status of {name}\n{said}\n"));
        }
        text
    }

    /// Ends the nodes of a run that failed, and keeps what they leave if `NUDA_KEEP` says so.
    pub(crate) fn keep(&mut self) {
        self.end();
        if std::env::var_os("NUDA_KEEP").is_none() || self.kept {
            return;
        }
        // A copy: some of it may be mounted there.
        let name = self.home.path().file_name().unwrap_or_default();
        let name = format!("nuda-kept-{}", name.to_string_lossy().replace('.', ""));
        let folder = std::env::temp_dir().join(name);
        let from = self.home.path().display().to_string();
        self.kept = succeeds("cp", &["-a", &from, &folder.display().to_string()]);
        eprintln!("kept: {} ({})", folder.display(), self.kept);
    }

    fn end(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All that a node has logged.
    pub(crate) fn logs_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// The ends of all logs, for a failed test.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.home.path()).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let log = std::fs::read_to_string(entry.path()).unwrap();
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(30)..];
                text.push_str(&format!(
                    "--- {:?}\n{}\n",
                    entry.file_name(),
                    tail.join("\n")
                ));
            }
        }
        text
    }
}

/// A command that runs under another one, if any.
pub(crate) fn under(outer: &[String], program: &str) -> Command {
    match outer.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

impl Nodes {
    /// Starts an application: a process that inserts `count` pages `PREFIX N` into a node's
    /// file, one transaction each, which also adds to the row `hits`, and prints each N once
    /// its COMMIT has returned. It is the ignored test `writer` of the same program.
    pub(crate) fn writer(&self, name: &str, prefix: &str, count: usize, sync: &str) -> Writer {
        let said = self.home.path().join(format!("{prefix}.said"));
        let program = std::env::current_exe().unwrap();
        let child = under(&self.under_of(name), program.to_str().unwrap())
            .args(["--exact", "writer", "--ignored", "--nocapture"])
            .envs(self.envs_of(name))
            .env("WRITE_TO", self.file(name, "org"))
            .env("WRITE_PREFIX", prefix)
            .env("WRITE_COUNT", count.to_string())
            .env("WRITE_SYNC", sync)
            .stdout(std::fs::File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Writer { child, said }
    }
}

/// An application that writes.
pub(crate) struct Writer {
    child: Child,
    said: PathBuf,
}

impl Writer {
    /// The pages whose COMMIT has returned until now.
    pub(crate) fn committed(&self) -> Vec<String> {
        let said = std::fs::read_to_string(&self.said).unwrap();
        // A line cut in half was not said.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let ids = whole
            .lines()
            .filter_map(|line| line.strip_prefix("committed "));
        ids.map(str::to_owned).collect()
    }

    /// Waits until it has done all; what it committed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.child.wait().unwrap();
        self.committed()
    }

    /// kill -9; what it had committed.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.finish()
    }
}

/// What the ignored test `writer` does.
pub(crate) fn write_as_told() {
    let Ok(file) = std::env::var("WRITE_TO") else {
        return;
    };
    let told = |name: &str| std::env::var(name).unwrap();
    let conn = open(Path::new(&file));
    // The test harness may have begun a line: where tests run one after the other it does.
    println!();
    conn.pragma_update(None, "synchronous", told("WRITE_SYNC"))
        .unwrap();
    for n in 0..told("WRITE_COUNT").parse::<usize>().unwrap() {
        let id = format!("{} {n}", told("WRITE_PREFIX"));
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&conn, &id);
        conn.execute("UPDATE page SET hits = hits + 1 WHERE id = 'hits'", [])
            .unwrap();
        conn.execute_batch("COMMIT").unwrap();
        println!("committed {id}");
        // An application, not a benchmark.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says why a test could not be made here.
pub(crate) fn skipped(why: &str) {
    // Past the capture of the test harness: what was skipped is said aloud.
    let _ = writeln!(std::io::stderr().lock(), "skipped: {why}");
}

/// Waits until no thread of a process that was stopped runs any more: one of them has to take the signal
/// first, and the others go on until it has.
pub(crate) fn stands_still(pid: u32) {
    let until = Instant::now() + Duration::from_secs(60);
    let is_stopped = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the program's name, which may hold anything.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.is_empty() || state.starts_with(['T', 't', 'Z', 'X'])
    };
    while let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) {
        if tasks.flatten().all(is_stopped) {
            return;
        }
        assert!(Instant::now() < until, "never: {pid} stands still");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a command for its success.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let done = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

/// The library that gives processes another clock, if it is installed.
pub(crate) fn faketime() -> Option<String> {
    let found = std::fs::read_dir("/usr/lib").ok()?.flatten().find_map(|e| {
        let file = e.path().join("faketime/libfaketimeMT.so.1");
        file.exists().then_some(file)
    });
    Some(found?.to_str()?.to_owned())
}

/// An address that is free, that no client's end of a connection takes by chance, and that no other
/// test of this process is given.
pub(crate) fn free_address() -> String {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 6_000).unwrap() * 2;
    loop {
        let port = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{port}");
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Something mounted at a node's directory, gone when dropped.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = succeeds("umount", &["-l", self.0.to_str().unwrap_or_default()]);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        self.end();
    }
}

/// A connection with the extension.
pub(crate) fn open(file: &Path) -> Connection {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        nuda::register_static(rusqlite::ffi::sqlite3_auto_extension).unwrap();
    });
    let conn = Connection::open(file).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.pragma_update(None, "synchronous", "NORMAL").unwrap();
    conn
}

pub(crate) fn count(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM page", [], |r| r.get(0))
        .unwrap()
}

pub(crate) fn insert(conn: &Connection, id: &str) {
    conn.execute("INSERT INTO page VALUES (?, 'title', 1)", [id])
        .unwrap();
}

/// One HTTP request as bytes; the answer's status and text.
pub(crate) fn http(address: &str, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!(
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A refusal may come before all of the body was read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or(0), answer)
}
