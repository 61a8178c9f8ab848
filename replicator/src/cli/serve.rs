//! `nuda serve`: runs a node until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{Config, Options};
use crate::daemon;
use crate::error::{Error, Result};
use crate::logging;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    target: super::Target,
    /// Configuration file; DIR/nuda.toml if it exists.
    #[arg(long, env = "NUDA_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode> {
        let dir = self.target.dir();
        let config = Config::load(&dir, self.config, self.options)?;
        logging::start(&config.log, config.log_format)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            // Files are worked on by at most this many threads at a time.
            .max_blocking_threads(128)
            .build()
            .map_err(|e| Error::internal(format!("cannot start; {e}")))?;
        let done = runtime.block_on(daemon::run(dir, config));
        runtime.shutdown_timeout(crate::limits::SHUTDOWN);
        done.map(|()| ExitCode::SUCCESS)
    }
}
