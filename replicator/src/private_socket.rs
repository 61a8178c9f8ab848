//! Unix sockets for programs on this machine: mode 0600, and the caller's user is asked of the
//! kernel besides. Who is behind a connection that is handed on has been checked; at most so
//! many are served at a time.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::node::Node;

/// Binds a socket, in place of one that an earlier process left.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|e| {
        Error::refused(format!(
            "cannot make {}; {e}; choose a shorter --dir",
            path.display()
        ))
    })?;
    make_private(path)?;
    Ok(listener)
}

/// Removes a socket that an earlier process left: the directory's lock is held, so nobody
/// listens on it.
pub(crate) fn remove_stale(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(std::fs::remove_file(path)?),
        Ok(_) => Err(Error::refused(format!(
            "{} is in the way; remove it",
            path.display()
        ))),
        Err(_) => Ok(()),
    }
}

/// Only the owner may connect.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o600),
    )?)
}

/// Hands on the connections of the socket's owner and of root, `connections` at a time, until
/// the node stops. `name` is what the log calls the socket.
pub(crate) async fn run<F, S>(
    node: Arc<Node>,
    (listener, path): (UnixListener, &Path),
    connections: usize,
    name: &'static str,
    serve: F,
) where
    F: Fn(Arc<Node>, UnixStream) -> S,
    S: Future<Output = Result<()>> + Send + 'static,
{
    let owner = std::fs::metadata(path).map_or(0, |m| m.uid());
    let connections = Arc::new(Semaphore::new(connections));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let caller = stream.peer_cred().map(|c| c.uid());
        if !caller.is_ok_and(|uid| uid == owner || uid == 0) {
            tracing::warn!("refused a caller of another user on {name}");
            continue;
        }
        let serving = serve(Arc::clone(&node), stream);
        node.spawn(async move {
            if let Err(e) = serving.await {
                tracing::debug!(error = %e, "a connection on {name} ended early");
            }
            drop(permit);
        });
    }
}
