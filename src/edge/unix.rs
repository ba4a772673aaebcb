//! Listening on a path: who owns the file, and when it goes.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::listener::{BACKLOG, ListeningSocket};

/// The file of a socket of ours. Dropping it removes the file, unless somebody else has bound the path since.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// Holds on to the file: the number of one that is gone would be given to the next at once.
    _socket: UnixListener,
}

/// Listens on `path` with these permission bits. A file that a dead process left behind is replaced.
///
/// # Errors
/// Somebody listens there, the file is no socket, or the path cannot be bound.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<(ListeningSocket, SocketFile)> {
    remove_stale(path)?;
    let socket = stream_socket()?;
    socket.bind(&SockAddr::unix(path)?)?;
    let socket = UnixListener::from(OwnedFd::from(socket));
    let file = SocketFile { path: path.to_owned(), inode: inode(path)?, _socket: socket.try_clone()? };
    // Before it listens, so that nobody connects whom the permissions keep out.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    SockRef::from(&socket).listen(BACKLOG)?;
    Ok((ListeningSocket::Unix(socket), file))
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // So that asking whether somebody listens cannot wait for one whose queue is full.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    match stream_socket()?.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Accepted, queued or forbidden: somebody is there.
        Ok(()) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // What cannot be removed is stale for whoever comes next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_path_is_taken_from_the_dead_only_and_left_to_a_successor() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join("in.sock");
        let (socket, file) = bind_unix(&path, 0o640).expect("a free path");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o640);
        let second = bind_unix(&path, 0o666).err().map(|error| error.kind());
        assert_eq!(second, Some(io::ErrorKind::AddrInUse));
        drop(UnixStream::connect(&path).expect("it listens still"));

        fs::remove_file(&path).expect("by an operator");
        let next = UnixListener::bind(&path).expect("by a successor");
        drop((socket, file));
        drop(UnixStream::connect(&path).expect("the successor's file stays"));

        drop(next);
        assert!(path.exists(), "the dead leave theirs behind");
        let (socket, file) = bind_unix(&path, 0o666).expect("which is replaced");
        drop((file, socket));
        assert!(!path.exists());

        fs::write(&path, "precious").expect("a file");
        let kind = bind_unix(&path, 0o666).err().map(|error| error.kind());
        assert_eq!(kind, Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }
}
