//! What a test needs of a proxy.

use std::net::SocketAddr;

/// What stands between a client and an origin.
pub(crate) trait Proxy {
    /// Where clients connect.
    fn address(&self) -> SocketAddr;
    /// From the next request on, everything goes there.
    fn point_at(&mut self, origin: SocketAddr);
    /// Waits until nothing goes to the origin that it last pointed at, and closes all connections to it.
    fn let_go(&mut self);
}
