//! Three nodes of the built program on loopback, in a temporary directory, for what only a
//! running daemon shows.
//!
//! Every daemon ends with this: when the cluster is dropped, also on an error, and when the
//! benchmark itself is killed. Every wait is bounded.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::Result;
use crate::ffi;
use crate::proxy::Proxy;

/// The nodes' names, which are those of their directories.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long anything but the opening of very many partitions may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Running nodes.
pub(crate) struct Cluster {
    home: TempDir,
    program: PathBuf,
    daemons: Vec<Daemon>,
    /// Where each node listens, and where the others reach it if that is elsewhere.
    addresses: Vec<(String, Option<String>)>,
}

/// The program beside this one, or why there is none.
pub(crate) fn program() -> std::result::Result<PathBuf, String> {
    std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("nuda")))
        .filter(|path| path.is_file())
        .ok_or_else(|| "no nuda beside this program; build it as this one was".to_owned())
}

impl Cluster {
    /// Starts three nodes that know each other.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        Self::start_behind(program, &[])
    }

    /// The same, with a proxy in front of each node.
    pub(crate) fn start_behind(program: &Path, proxies: &[Proxy]) -> Result<Self> {
        let mut cluster = Self {
            home: tempfile::tempdir()?,
            program: program.to_owned(),
            daemons: Vec::new(),
            addresses: Vec::new(),
        };
        for (others, name) in NAMES.into_iter().enumerate() {
            let proxy = proxies.get(others);
            let listen = proxy.map_or_else(|| "127.0.0.1:0".to_owned(), Proxy::target);
            cluster.addresses.push((listen, proxy.map(Proxy::address)));
            cluster.serve(others, name)?;
            let address = cluster.eventually("a node that finds the others", || {
                let status = cluster.status(name).ok()?;
                (status.get("nodes")?.as_array()?.len() >= others)
                    .then(|| status.get("address")?.as_str().map(str::to_owned))?
            })?;
            if let (None, Some(at)) = (proxy, cluster.addresses.get_mut(others)) {
                at.0 = address;
            }
        }
        Ok(cluster)
    }

    /// Starts a node's daemon, in the place of the one before.
    fn serve(&mut self, at: usize, name: &str) -> Result<()> {
        let (listen, advertise) = self.addresses.get(at).ok_or("no such node")?;
        let mut serve = Command::new(&self.program);
        serve
            .args(["serve", "--listen", listen, "--dir"])
            .arg(self.dir(name));
        if let Some(advertise) = advertise {
            serve.args(["--advertise", advertise]);
        }
        if at > 0
            && let Some((listen, advertise)) = self.addresses.first()
        {
            serve.args(["--peer", advertise.as_ref().unwrap_or(listen)]);
        }
        let log = self.home.path().join(format!("{name}.log"));
        let daemon = Daemon::start(serve, &log)?;
        match self.daemons.get_mut(at) {
            Some(place) => *place = daemon,
            None => self.daemons.push(daemon),
        }
        Ok(())
    }

    fn place(name: &str) -> Result<usize> {
        let at = NAMES.into_iter().position(|n| n == name);
        Ok(at.ok_or("no such node")?)
    }

    /// Kills a node's daemon, as by a fault of its own.
    pub(crate) fn kill(&mut self, name: &str) -> Result<()> {
        let daemon = self.daemons.get_mut(Self::place(name)?);
        daemon.ok_or("no such node")?.kill();
        Ok(())
    }

    /// Starts a killed node again.
    pub(crate) fn restart(&mut self, name: &str) -> Result<()> {
        self.serve(Self::place(name)?, name)
    }

    /// Who leads the log of the first partition, as a node knows it.
    pub(crate) fn leader(&self, asked: &str) -> Option<&'static str> {
        let status = self.status(asked).ok()?;
        let leader = status.pointer("/partitions/0/log/leader")?.as_str()?;
        NAMES.into_iter().find(|name| *name == leader)
    }

    /// Makes a partition with a strong table of accounts and one row, ready on every node.
    pub(crate) fn create_strong(&self, partition: &str) -> Result<()> {
        self.create(partition)?;
        let founder = self.open("a", partition)?;
        founder.execute_batch(
            "CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER);
             SELECT nuda_track('account', 'strong');",
        )?;
        for name in NAMES {
            let db = self.open(name, partition)?;
            self.eventually("a strong table on every node", || {
                db.prepare("SELECT balance FROM account").ok()?;
                let strong = "SELECT nuda_read_consistency('strong')";
                db.query_row(strong, [], |_| Ok(())).ok()
            })?;
        }
        founder.execute("INSERT INTO account VALUES ('x', 0)", [])?;
        Ok(())
    }

    /// Where temporary files of a measurement may lie too.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The process ids of the daemons.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.daemons.iter().map(Daemon::pid).collect()
    }

    /// Runs the command line against a node.
    pub(crate) fn nuda(&self, name: &str, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(args)
            .env("NUDA_DIR", self.dir(name))
            .output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("nuda {}: {}", args.join(" "), error.trim()).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn status(&self, name: &str) -> Result<Value> {
        let status = self.nuda(name, &["status", "--json"])?;
        Ok(serde_json::from_str(&status)?)
    }

    /// Makes a partition on all three nodes; the first one founds it.
    pub(crate) fn create(&self, partition: &str) -> Result<()> {
        let on = NAMES.join(",");
        self.nuda("a", &["create", partition, "--on", &on])?;
        Ok(())
    }

    /// An application's connection.
    pub(crate) fn open(&self, name: &str, partition: &str) -> Result<Connection> {
        static REGISTER: Once = Once::new();
        let mut registered = Ok(());
        REGISTER.call_once(|| {
            // The applications are threads of this program, and shall not wait for each other.
            nuda::without_memory_statistics(rusqlite::ffi::sqlite3_config);
            registered = nuda::register_static(rusqlite::ffi::sqlite3_auto_extension);
        });
        registered?;
        let db = Connection::open(self.dir(name).join(format!("{partition}.db")))?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(db)
    }

    /// Waits, but not for ever.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        self.within(PATIENCE, what, look)
    }

    /// The same with another limit.
    pub(crate) fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + limit;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(format!("waited in vain for {what}\n{}", self.logs()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ends of the daemons' logs.
    fn logs(&self) -> String {
        let ends = NAMES.map(|name| {
            let log = self.home.path().join(format!("{name}.log"));
            let log = fs::read_to_string(log).unwrap_or_default();
            let mut lines: Vec<&str> = log.lines().rev().take(5).collect();
            lines.reverse();
            format!("--- {name}\n{}", lines.join("\n"))
        });
        ends.join("\n")
    }
}

/// One process that ends with its owner.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it with its output in `log`. Called on the main thread only: on Linux the process
    /// ends with the thread that started it.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        ffi::end_with_parent(&mut command);
        Ok(Self(command.spawn()?))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing it has is kept, and it may be too busy to stop in order.
        self.kill();
    }
}
