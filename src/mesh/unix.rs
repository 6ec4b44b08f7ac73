//! The file of a Unix socket: made, taken over from a process that has died, and removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// Removes the file when it goes, if it is still the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// Absolute, since a process may change its folder.
    path: PathBuf,
    /// Device and inode. Nobody else has these as long as the listener is open.
    number: (u64, u64),
}

/// Listens there. A socket file on which nobody answers any more gives way; nothing else does.
pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            look(path)?;
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    let file = SocketFile {
        path: std::path::absolute(path)?,
        number: number(path)?,
    };
    Ok((listener, file))
}

/// An error unless the file is a socket on which nobody answers.
fn look(path: &Path) -> io::Result<()> {
    let taken = |why| Err(io::Error::new(ErrorKind::AddrInUse, why));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return taken("a file that is no socket is in the way, and is left there");
    }
    // A datagram socket asks without connecting: it neither waits for a full listener nor shows up there. Somebody
    // who listens is of the wrong type; where nobody does, the connection is refused.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        _ => taken("another process answers there"),
    }
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if number(&self.path).is_ok_and(|number| number == self.number)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket file");
        }
    }
}
