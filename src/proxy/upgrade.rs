//! After an instance's 101: bytes in both directions, whatever they mean.

use super::target::Claim;
use bytes::Bytes;
use std::io;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// The instance's side, until the client's is there too.
#[derive(Debug)]
pub(super) struct Tunnel {
    origin: TcpStream,
    /// What the instance has sent behind its 101.
    early: Bytes,
    claim: Claim,
}

impl Tunnel {
    pub(super) fn new(origin: TcpStream, early: Bytes, claim: Claim) -> Tunnel {
        Tunnel { origin, early, claim }
    }

    /// Moves bytes until both sides have ended, or the instance is cut. `early` is what the client has sent behind its
    /// request.
    pub(super) async fn run(mut self, mut client: TcpStream, early: Bytes) {
        let target = self.claim.target().clone();
        let moved = async {
            tokio::try_join!(self.origin.write_all(&early), client.write_all(&self.early))?;
            // An end on one side is passed on; the other may still speak.
            copy_bidirectional(&mut client, &mut self.origin).await
        };
        // How it ended is between the two.
        let _: Option<io::Result<(u64, u64)>> = target.unless_cut(moved).await;
    }
}
