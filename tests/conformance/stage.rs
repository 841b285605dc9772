//! A worker between one origin and its clients.

use crate::client::{Client, Pace};
use crate::origin::{Origin, Upstream};
use crate::proxy::Proxy;
use crate::wire::{self, Request};
use crate::worker::Worker;
use infissi::proxy::channel::Route;
use std::io;

pub(crate) struct Stage {
    pub(crate) worker: Worker,
    origin: Origin,
}

impl Stage {
    /// Before an origin that does this with each connection.
    pub(crate) fn before(play: impl Fn(&mut Upstream) -> io::Result<()> + Send + Sync + 'static) -> Stage {
        Stage::with(|_| {}, play)
    }

    /// Before an origin that answers each request with these bytes.
    pub(crate) fn answering(bytes: &'static str) -> Stage {
        Stage::before(move |upstream| {
            while upstream.request()?.is_some() {
                upstream.say(bytes.as_bytes())?;
            }
            Ok(())
        })
    }

    pub(crate) fn with(
        change: impl FnOnce(&mut Route),
        play: impl Fn(&mut Upstream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Stage {
        let mut worker = Worker::with(change);
        let origin = Origin::start(play);
        worker.point_at(origin.address);
        Stage { worker, origin }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.worker.address())
    }

    /// A client that has said this already.
    pub(crate) fn says(&self, bytes: &str) -> Client {
        let mut client = self.client();
        client.send(bytes.as_bytes(), Pace::AtOnce);
        client
    }

    /// The bytes of each connection to the origin, once nobody needs one any more.
    #[track_caller]
    pub(crate) fn record(mut self) -> Vec<Vec<u8>> {
        self.worker.let_go();
        self.origin.end()
    }

    /// The whole requests among them.
    #[track_caller]
    pub(crate) fn requests(self) -> Vec<Request> {
        self.record().iter().flat_map(|bytes| wire::requests(bytes).unwrap().0).collect()
    }
}
