//! Clients far away, in the middle of their handshake when the public address changes.

use crate::machine::skip;
use crate::network::{HERE, Knock, Network};
use crate::server::Server;
use infissi::linux::ports;
use std::collections::BTreeSet;
use std::net::TcpListener;

const PORT: u16 = 3000;
const OK: Option<&str> = Some("HTTP/1.1 200 OK");

fn at(listen: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\ncwd = \"demo\"\nport = {PORT}\nlisten = \"{listen}\"\n\
         health = {{ http = \"/api/health\", healthy = 1 }}\n"
    )
}

fn go_to(server: &Server, listen: &str) {
    server.configure(&at(listen));
    server.ctl(&["apply"]).ok();
}

fn wait_open(server: &Server, at: &[&str]) {
    let wanted: BTreeSet<String> = at.iter().map(|ip| (*ip).to_owned()).collect();
    let open = || ports::holders(PORT).iter().map(|holder| holder.address.ip().to_string()).collect::<BTreeSet<_>>();
    server.wait_until(&format!("{wanted:?} to be what is open"), || open() == wanted);
}

#[test]
fn who_is_in_the_middle_of_a_handshake_when_the_address_changes_is_answered() {
    let test = "handshakes::who_is_in_the_middle_of_a_handshake_when_the_address_changes_is_answered";
    let Some(mut network) = Network::own(test) else { return };
    if TcpListener::bind("[::]:0").is_err() {
        return skip("there is no IPv6 here");
    }
    let here = HERE.to_string();
    let mut server = Server::start(&at("[::]"));
    server.wait_status("web", "online");
    let mut ports = 5000..;
    let mut begin = |network: &mut Network| network.begin(ports.next().unwrap(), PORT);

    let to_all = begin(&mut network);
    go_to(&server, &here);
    assert_eq!(network.ask(to_all, "/").as_deref(), OK, "a part takes the place of the whole");
    wait_open(&server, &[&here]);

    let to_one = begin(&mut network);
    go_to(&server, "[::]");
    assert_eq!(network.ask(to_one, "/").as_deref(), OK, "the whole takes the place of a part");
    wait_open(&server, &[&here, "::"]);

    let to_one = begin(&mut network);
    go_to(&server, "127.0.0.1");
    assert_eq!(network.knock(4000, PORT).1, Knock::Ignored, "what was applied is so, for those who begin now");
    assert_eq!(network.ask(to_one, "/").as_deref(), OK, "a part takes the place of another one");
    wait_open(&server, &["127.0.0.1"]);
    assert_eq!(network.knock(4001, PORT).1, Knock::Refused);

    go_to(&server, "[::]");
    let to_both = begin(&mut network);
    go_to(&server, "0.0.0.0");
    assert_eq!(network.ask(to_both, "/").as_deref(), OK, "one family takes the place of both");
    wait_open(&server, &["127.0.0.1", "0.0.0.0"]);

    let to_four = begin(&mut network);
    go_to(&server, "[::]");
    assert_eq!(network.ask(to_four, "/").as_deref(), OK, "both take the place of one family");
    wait_open(&server, &["127.0.0.1", "0.0.0.0", "::"]);

    let to_four = begin(&mut network);
    server.kill_supervisor();
    server.configure(&at(&here));
    server.run();
    server.wait_until("the next supervisor to move it", || {
        ports::holders(PORT).iter().any(|holder| holder.address.ip() == HERE)
    });
    assert_eq!(network.ask(to_four, "/").as_deref(), OK, "the next supervisor goes about it as the first");
    wait_open(&server, &[&here]);

    go_to(&server, "[::]");
    go_to(&server, "127.0.0.1");
    go_to(&server, "[::]");
    assert_eq!(network.knock(4002, PORT).1, Knock::Answered, "it is as if it had never been given up");
    server.ctl(&["stop", "web"]).ok();
    wait_open(&server, &[]);
}
