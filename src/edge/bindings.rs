//! Every listener of the configuration, bound or inherited, before the first thread.

use std::io;

use super::inherited::Inherited;
use super::listener::bind_tcp;
use super::unix::{SocketFile, bind_unix};
use super::worker::Bound;
use crate::config::gateway::{ListenAddress, Listener};
use crate::observe::events::Listening;

/// All sockets at once: a port that is taken is found before anything is served.
#[derive(Default)]
pub struct Bindings {
    /// Where it listens, in the order of the configuration.
    pub listening: Vec<Listening>,
    /// One list per worker.
    pub per_worker: Vec<Vec<Bound>>,
    /// Files to remove at the end.
    pub files: Vec<SocketFile>,
}

impl Bindings {
    /// For so many workers.
    ///
    /// # Errors
    /// The address that cannot be had, and why.
    pub fn all(
        listeners: &[Listener],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, (ListenAddress, io::Error)> {
        let mut bindings = Self { per_worker: (0..workers).map(|_| Vec::new()).collect(), ..Self::default() };
        for (index, listener) in listeners.iter().enumerate() {
            bindings.add(index, listener, inherited).map_err(|error| (listener.address.clone(), error))?;
        }
        Ok(bindings)
    }

    fn add(&mut self, index: usize, listener: &Listener, inherited: &mut Inherited) -> io::Result<()> {
        let workers = self.per_worker.len();
        let passed = inherited.take(&listener.address);
        let is_inherited = passed.is_some();
        let sockets = match (passed, &listener.address) {
            (Some(socket), _) => socket.shared(workers)?,
            (None, ListenAddress::Ip(address)) => bind_tcp(*address, workers)?,
            (None, ListenAddress::Unix(path)) => {
                let (socket, file) = bind_unix(path, listener.mode)?;
                self.files.push(file);
                socket.shared(workers)?
            }
        };
        let tls = !listener.tls.is_empty();
        let address = sockets.first().map(|socket| socket.address(&listener.address)).transpose()?;
        self.listening.push(Listening { address: address.unwrap_or_else(|| listener.address.clone()), tls });
        for (bound, socket) in self.per_worker.iter_mut().zip(sockets) {
            bound.push(Bound { socket, index, tls, inherited: is_inherited });
        }
        Ok(())
    }
}
