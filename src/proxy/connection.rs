//! One client's connection, from its first byte to its last.

use super::routes::AppRoute;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpStream;

/// Serves a client until it or we end the connection. `public` is the address that the client connected to.
pub(crate) async fn serve(stream: TcpStream, _peer: SocketAddr, _public: SocketAddr, _app: Rc<AppRoute>) {
    drop(stream);
}
