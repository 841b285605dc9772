//! What a proxy holds: memory when nobody is there, and with thousands of clients who only keep their connection.

use crate::figures::{Table, mb};
use crate::load::{Body, Load};
use crate::yard::Yard;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

const CONNECTIONS: usize = 5000;
/// Until what is freed late is freed.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn measure(yard: &mut Yard) -> Vec<Table> {
    let mut table = Table::new(
        &format!(
            "Memory (PSS); {CONNECTIONS} idle connections have had one answer each; goals ≤ 8 MB idle, ≤ 20 KB each"
        ),
        &[
            "proxy",
            "started, MB",
            "after traffic, MB",
            "with idle connections, MB",
            "KB a connection",
            "after them, MB",
        ],
    );
    for index in 0..yard.proxies.len() {
        let Ok(proxy) = &yard.proxies[index] else { continue };
        let name = proxy.name();
        // One after the other: two of a kind would share their program's pages.
        let running = yard.start(proxy.as_ref());
        sleep(SETTLE);
        let started = running.pss();
        yard.traffic.run(&traffic(running.address), || Duration::ZERO);
        sleep(SETTLE);
        let after_traffic = running.pss();
        yard.traffic.hold(running.address, CONNECTIONS);
        sleep(SETTLE);
        let with = running.pss();
        yard.traffic.let_go();
        sleep(SETTLE);
        let after = running.pss();
        table.row([
            name,
            format!("{:.1}", mb(started)),
            format!("{:.1}", mb(after_traffic)),
            format!("{:.1}", mb(with)),
            format!("{:.1}", with.saturating_sub(after_traffic) as f64 / 1e3 / CONNECTIONS as f64),
            format!("{:.1}", mb(after)),
        ]);
    }
    yard.missing().for_each(|name| table.absent(name));
    vec![table]
}

/// So that whatever is set up at the first request is there.
fn traffic(to: SocketAddr) -> Load {
    let (warm_up, span) = (Duration::ZERO, Duration::from_secs(1));
    Load { to, body: Body::Small, keep_alive: true, connections: 64, rate: None, warm_up, span }
}
