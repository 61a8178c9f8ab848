//! Where things lie: the repository, the cases, and the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of this crate.
#[must_use]
pub fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the workspace.
#[must_use]
pub fn repository() -> PathBuf {
    here()
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts what it builds.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Builds what a user runs, once per test program, and answers the folder that holds it.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("NUDA_BIN") {
            return repository().join(folder);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let done = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "-p",
                "nuda-ext",
                "-p",
                "nuda-replicator",
            ])
            .current_dir(repository())
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "cargo build of the extension and the daemon failed"
        );
        target().join("debug")
    })
}

/// The extension, freshly built; `NUDA_BIN` names a folder with another build.
#[must_use]
pub fn extension() -> PathBuf {
    built().join("libnuda.so")
}

/// The daemon and command line, freshly built.
#[must_use]
pub fn program() -> PathBuf {
    built().join("nuda")
}
