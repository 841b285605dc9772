//! What stands in the proxy's way: a port that a script names by itself, a listener that goes past the proxy, private
//! ports that the kernel gives to clients.

use super::{Finding, good, unwise};
use crate::api::{AppDetail, SupervisorStatus};
use crate::config::own_port;
use crate::linux::ports;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

/// More is no package.json, bytes.
const LARGEST: u64 = 1 << 20;

/// Do clients of this machine get ports that instances are to bind?
pub(super) fn private_ports(supervisor: &SupervisorStatus) -> Option<Finding> {
    let [first, last] = supervisor.port_range?;
    let (clients, reserved) = (ports::of_clients()?, ports::reserved());
    Some(overlap(first..=last, &clients, &reserved))
}

fn overlap(range: RangeInclusive<u16>, clients: &RangeInclusive<u16>, reserved: &[RangeInclusive<u16>]) -> Finding {
    let (first, last) = (*range.start(), *range.end());
    let shown = format!("{}-{}", clients.start(), clients.end());
    let is_reserved = |port: &u16| reserved.iter().any(|range| range.contains(port));
    if !range.into_iter().any(|port| clients.contains(&port) && !is_reserved(&port)) {
        return good(format!("the private ports of instances, {first}-{last}, are not given to clients"));
    }
    let next =
        format!("port_range below {}, or sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}", clients.start());
    unwise(
        format!(
            "the private ports of instances, {first}-{last}, are among those that the kernel gives to clients, {shown}"
        ),
        Some(&next),
    )
}

/// For an app behind the proxy.
pub(super) fn app(detail: &AppDetail) -> Vec<Finding> {
    if detail.listen.is_empty() {
        return Vec::new();
    }
    let pids: Vec<i32> = detail.processes.iter().map(|process| process.pid).collect();
    let script = script(&detail.command, Path::new(&detail.cwd));
    beyond_loopback(detail, &ports::addresses_of(&pids)).into_iter().chain(own_script(detail, script)).collect()
}

fn beyond_loopback(detail: &AppDetail, addresses: &[SocketAddr]) -> Option<Finding> {
    let private = |port: u16| detail.status.instances.iter().any(|instance| instance.port == Some(port));
    let open =
        addresses.iter().find(|address| private(address.port()) && !address.ip().to_canonical().is_loopback())?;
    Some(unwise(
        format!("{}: an instance listens on {open}, where others reach it past the proxy", detail.status.name),
        Some("let it listen on HOST, which is 127.0.0.1; next start wants --hostname {host} in command"),
    ))
}

/// `script`: its name and what it runs.
fn own_script(detail: &AppDetail, script: Option<(String, String)>) -> Option<Finding> {
    let (name, text) = script?;
    let port = own_port(&text)?;
    // Options that come last win, as far as they are the same program's.
    if detail.command.iter().any(|word| word.contains("{port}")) {
        return None;
    }
    let app = &detail.status.name;
    Some(unwise(
        format!("{app}: the script {name:?} names port {port}, and behind the proxy each instance has another one"),
        Some("let it use $PORT, or add -- --port {port} to command"),
    ))
}

/// The script of package.json that a package manager's command runs.
fn script(command: &[String], cwd: &Path) -> Option<(String, String)> {
    let (program, words) = command.split_first()?;
    if !["npm", "pnpm", "yarn", "bun"].contains(&program.as_str()) {
        return None;
    }
    let name = words.iter().find(|word| !["run", "run-script"].contains(&word.as_str()))?;
    let mut text = String::new();
    File::open(cwd.join("package.json")).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some((name.clone(), package["scripts"][name].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::api::{Health, InstanceStatus, Slot, Status};
    use crate::ctl::sample;

    fn proxied() -> AppDetail {
        let mut detail = sample::detail();
        detail.status.instances = vec![InstanceStatus {
            slot: Slot::Blue,
            index: 0,
            pid: Some(1),
            port: Some(21_000),
            status: Status::Online,
            health: Health::Healthy,
            memory_bytes: None,
            cpu_percent: None,
            uptime_ms: None,
            in_flight: None,
        }];
        detail
    }

    #[test]
    fn an_instance_that_others_reach_past_the_proxy_is_unwise() {
        let listens = |address: &str| beyond_loopback(&proxied(), &[address.parse().unwrap()]);
        for open in ["0.0.0.0:21000", "[::]:21000", "192.168.1.2:21000"] {
            assert!(listens(open).is_some_and(|finding| finding.what.contains(open)), "{open}");
        }
        // The last one is not where the proxy asks: an app may have more listeners.
        for fine in ["127.0.0.1:21000", "[::1]:21000", "[::ffff:127.0.0.1]:21000", "0.0.0.0:9000"] {
            assert_eq!(listens(fine), None, "{fine}");
        }
    }

    #[test]
    fn a_script_with_a_port_of_its_own_is_unwise_unless_it_is_told_another() {
        let directory = tempfile::tempdir().unwrap();
        let package = r#"{ "scripts": { "start": "next start -p 3000", "serve": "node ." } }"#;
        std::fs::write(directory.path().join("package.json"), package).unwrap();
        let look = |command: &str| {
            let mut detail = proxied();
            detail.cwd = directory.path().display().to_string();
            detail.command = command.split(' ').map(str::to_owned).collect();
            app(&detail)
        };
        for (command, found) in [
            ("npm start", 1),
            ("npm run start", 1),
            ("yarn start", 1),
            ("npm start -- --port {port}", 0),
            ("npm run serve", 0),
            ("npm", 0),
            ("node start", 0),
        ] {
            assert_eq!(look(command).len(), found, "{command}");
        }
        assert!(look("npm start")[0].what.contains("names port 3000"));
        let mut alone = proxied();
        alone.listen.clear();
        assert!(app(&alone).is_empty(), "it binds its port itself");
    }

    #[test]
    fn private_ports_among_those_of_clients_are_unwise_unless_they_are_reserved() {
        let verdict = |range, reserved: &[RangeInclusive<u16>]| overlap(range, &(32_768..=60_999), reserved).verdict;
        assert_eq!(verdict(21_000..=21_999, &[]), Verdict::Good);
        assert_eq!(verdict(32_000..=32_800, &[]), Verdict::Unwise);
        assert_eq!(verdict(32_000..=32_800, &[32_700..=32_799]), Verdict::Unwise);
        assert_eq!(verdict(32_000..=32_800, &[32_700..=32_799, 32_800..=32_800]), Verdict::Good);
    }
}
