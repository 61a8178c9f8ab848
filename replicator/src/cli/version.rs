//! `nuda version`: what this program is made of.

use std::process::ExitCode;

use clap::Args;

use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(super) fn run(self) -> Result<ExitCode> {
        let version = env!("CARGO_PKG_VERSION");
        let sqlite = rusqlite::version();
        let wire = crate::transport::PROTOCOL;
        let replication = nuda_core::protocol::PROTOCOL;
        let format = nuda_core::changeset::FORMAT;
        if self.json {
            super::print_json(&serde_json::json!({
                "nuda": version,
                "sqlite": sqlite,
                "wire_protocol": wire,
                "replication_protocol": replication,
                "change_format": format,
            }))?;
        } else {
            super::print(&format!(
                "nuda {version} (SQLite {sqlite}, wire protocol {wire}, replication protocol {replication}, change format {format})"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
