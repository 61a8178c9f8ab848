//! What a node was told: built-in values, then the TOML file, then `NUDA_*`, then flags.
//!
//! The flags and the environment arrive together from clap (flags win); this file lays them
//! over the TOML file and the built-in values, and checks the result once. The rest of the
//! program sees only [`Config`].

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::dir::DataDir;
use crate::error::{Error, Result};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The flags of `nuda serve`; each may stand in the environment or in the TOML file instead.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Options {
    /// The node's name; the directory's name if not given.
    #[arg(long, env = "NUDA_NAME")]
    name: Option<String>,
    /// Address to listen on for other nodes.
    #[arg(long, env = "NUDA_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address other nodes reach this one at, if it is not the listening address.
    #[arg(long, env = "NUDA_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Address of any other node; it tells of the rest. May be repeated.
    #[arg(
        long = "peer",
        env = "NUDA_PEERS",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    peers: Option<Vec<String>>,
    /// Listen beyond loopback although traffic is neither encrypted nor authenticated yet.
    #[arg(long, env = "NUDA_INSECURE", num_args = 0..=1, default_missing_value = "true")]
    insecure: Option<bool>,
    /// What to log: error, warn, info, debug, trace, or a tracing filter.
    #[arg(long, env = "NUDA_LOG")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, env = "NUDA_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// How often the directory is looked over for changes nobody announced, in milliseconds.
    #[arg(long, env = "NUDA_SCAN_MS")]
    scan_ms: Option<u64>,
    /// How often peers compare what they hold when nothing happens, in milliseconds.
    #[arg(long, env = "NUDA_COMPARE_MS")]
    compare_ms: Option<u64>,
    /// How long a request to a peer may take, in milliseconds.
    #[arg(long, env = "NUDA_REQUEST_TIMEOUT_MS")]
    request_timeout_ms: Option<u64>,
    /// How long a partition's connection stays open after its last use, in milliseconds.
    #[arg(long, env = "NUDA_IDLE_CLOSE_MS")]
    idle_close_ms: Option<u64>,
    /// A write-ahead log that nobody has checkpointed up to this many pages is checkpointed
    /// by the daemon.
    #[arg(long, env = "NUDA_CHECKPOINT_PAGES")]
    checkpoint_pages: Option<u32>,
    /// How long what every member has stays in the log, in milliseconds.
    #[arg(long, env = "NUDA_COLLECT_AFTER_MS")]
    collect_after_ms: Option<u64>,
    /// A member that was silent for this long no longer keeps the others from collecting their
    /// logs, in milliseconds; when it comes back it begins from a snapshot and re-issues what
    /// only it has. 0: never. The default is a week.
    #[arg(long, env = "NUDA_EXCLUDE_AFTER_MS")]
    exclude_after_ms: Option<u64>,
    /// For tests: die as by kill -9 at the point of this name.
    #[arg(long, hide = true, requires = "allow_faults")]
    fault_point: Option<String>,
    /// For tests: a group's log is replaced by a snapshot after this many entries.
    #[arg(long, hide = true, requires = "allow_faults")]
    snapshot_after: Option<u64>,
    /// For tests: the control socket may make this node drop traffic with named peers.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    allow_faults: Option<bool>,
}

/// What `serve` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) scan: Duration,
    pub(crate) compare: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) idle_close: Duration,
    pub(crate) checkpoint_pages: u32,
    pub(crate) collect_after_ms: u64,
    pub(crate) exclude_after_ms: u64,
    pub(crate) allow_faults: bool,
    pub(crate) fault_point: Option<String>,
    pub(crate) snapshot_after: Option<u64>,
}

impl Config {
    /// Lays `flags` (with the environment) over the file `path`, or over the directory's
    /// `nuda.toml` if there is one.
    pub(crate) fn load(dir: &DataDir, path: Option<PathBuf>, flags: Options) -> Result<Self> {
        let asked_for = path.is_some();
        let path = path.unwrap_or_else(|| dir.config_file());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str::<Options>(&text).map_err(|e| {
                Error::refused(format!(
                    "cannot use {}; {}; mend the file or name another with --config",
                    path.display(),
                    e.to_string().trim().replace('\n', " ")
                ))
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !asked_for => Options::default(),
            Err(e) => {
                return Err(Error::refused(format!(
                    "cannot read {}; {e}; name a readable file with --config",
                    path.display()
                )));
            }
        };
        Self::check(flags.over(file))
    }

    fn check(o: Options) -> Result<Self> {
        let listen_text = o.listen.unwrap_or_else(|| "127.0.0.1:7100".to_owned());
        let listen = resolve(&listen_text)?;
        if !listen.ip().is_loopback() && !o.insecure.unwrap_or(false) {
            return Err(Error::refused(format!(
                "will not listen on {listen}; traffic between nodes is not encrypted or authenticated yet; listen on 127.0.0.1, or say --insecure on a network you trust"
            )));
        }
        if listen.ip().is_unspecified() && o.advertise.is_none() {
            return Err(Error::refused(format!(
                "cannot tell other nodes how to reach {listen}; it is every address of this machine; add --advertise HOST:PORT"
            )));
        }
        let ms = |value: Option<u64>, default: u64| {
            Duration::from_millis(value.unwrap_or(default).clamp(10, 3_600_000))
        };
        Ok(Self {
            name: o.name,
            listen,
            advertise: o.advertise,
            peers: o.peers.unwrap_or_default(),
            log: o.log.unwrap_or_else(|| "info,openraft=off".to_owned()),
            log_format: o.log_format.unwrap_or(LogFormat::Text),
            scan: ms(o.scan_ms, 1_000),
            compare: ms(o.compare_ms, 5_000),
            request_timeout: ms(o.request_timeout_ms, 10_000),
            idle_close: ms(o.idle_close_ms, 10_000),
            checkpoint_pages: o.checkpoint_pages.unwrap_or(4_000).max(100),
            collect_after_ms: o.collect_after_ms.unwrap_or(5_000),
            // Members hear of each other that often when nothing happens; several times must
            // have failed before one counts as away.
            exclude_after_ms: match o.exclude_after_ms.unwrap_or(7 * 24 * 3_600_000) {
                0 => 0,
                after_ms => after_ms.max(5 * o.compare_ms.unwrap_or(5_000).max(10)),
            },
            allow_faults: o.allow_faults.unwrap_or(false),
            fault_point: o.fault_point.filter(|_| o.allow_faults == Some(true)),
            snapshot_after: o.snapshot_after.filter(|_| o.allow_faults == Some(true)),
        })
    }
}

impl Options {
    fn over(self, below: Self) -> Self {
        Self {
            name: self.name.or(below.name),
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            peers: self.peers.or(below.peers),
            insecure: self.insecure.or(below.insecure),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            scan_ms: self.scan_ms.or(below.scan_ms),
            compare_ms: self.compare_ms.or(below.compare_ms),
            request_timeout_ms: self.request_timeout_ms.or(below.request_timeout_ms),
            idle_close_ms: self.idle_close_ms.or(below.idle_close_ms),
            checkpoint_pages: self.checkpoint_pages.or(below.checkpoint_pages),
            collect_after_ms: self.collect_after_ms.or(below.collect_after_ms),
            exclude_after_ms: self.exclude_after_ms.or(below.exclude_after_ms),
            allow_faults: self.allow_faults.or(below.allow_faults),
            fault_point: self.fault_point.or(below.fault_point),
            snapshot_after: self.snapshot_after.or(below.snapshot_after),
        }
    }
}

fn resolve(text: &str) -> Result<SocketAddr> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| {
            Error::refused(format!(
                "cannot listen on \"{text}\"; it is no HOST:PORT; for example --listen 127.0.0.1:7101"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_sources_win() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::at(home.path());
        std::fs::write(
            dir.config_file(),
            "name = \"x\"\nlisten = \"127.0.0.1:9\"\npeers = [\"127.0.0.1:1\"]\nscan_ms = 50\n",
        )
        .unwrap();
        let flags = Options {
            listen: Some("127.0.0.1:8".into()),
            ..Options::default()
        };
        let config = Config::load(&dir, None, flags).unwrap();
        assert_eq!(config.name.as_deref(), Some("x"));
        assert_eq!(config.listen.port(), 8);
        assert_eq!(config.peers, ["127.0.0.1:1"]);
        assert_eq!(config.scan, Duration::from_millis(50));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::at(home.path());
        std::fs::write(dir.config_file(), "lisen = \"127.0.0.1:9\"\n").unwrap();
        let error = Config::load(&dir, None, Options::default()).unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn beyond_loopback_only_when_told() {
        let dir = DataDir::at(std::path::Path::new("/nonexistent"));
        let mut flags = Options {
            listen: Some("192.0.2.1:7100".into()),
            ..Options::default()
        };
        assert!(Config::load(&dir, None, flags.clone()).is_err());
        flags.insecure = Some(true);
        assert!(Config::load(&dir, None, flags).is_ok());
    }
}
