//! How the public reaches an app: `proxy`, `listen` and the other keys that belong to the proxy → [`ProxyConfig`].

use super::addresses;
use super::app::{DrainConfig, LimitsConfig, Network, ProxyConfig, Strategy};
use super::app_table::wait;
use super::keys;
use super::notes::Notes;
use super::table::{Found, Setting, View};
use super::{units, values};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Keys that say nothing where the proxy does not serve the app.
const ONLY_BEHIND_IT: [&str; 5] = ["listen", "hold", "trusted_proxies", "limits", "drain"];
/// nginx keeps an idle connection to us for 60 s (`keepalive_timeout` of an upstream) or up to 75 s: who closes first
/// loses no request, and that has to be nginx.
const NGINX_IDLE: Duration = Duration::from_secs(75);
/// hyper reads a head into a buffer that cannot be made smaller.
const LEAST_HEAD: u64 = 8 << 10;
const LARGEST_HEAD: u64 = 1 << 20;

/// An address that an app has for itself, and the value that claims it.
pub(super) type Claim<'a> = (SocketAddr, Found<'a>);

/// What of an app the public sees.
pub(super) struct Public<'a> {
    pub(super) proxy: Option<ProxyConfig>,
    pub(super) claims: Vec<Claim<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    Off,
}

/// `port`: the app's own, as far as it is right; `job`: it has a schedule.
pub(super) fn public<'a>(view: &View<'a>, port: &Setting<'a, u16>, job: bool, notes: &mut Notes<'_>) -> Public<'a> {
    let mode = view.read("proxy", notes, mode);
    let strategy = view.read("strategy", notes, strategy);
    refuse_stray(view, &mode, &strategy, job, notes);
    let listen = view.read("listen", notes, addresses::listen);
    let hold = wait(view, "hold", Duration::ZERO, notes).or(Duration::from_secs(10));
    let trusted_proxies = view.read("trusted_proxies", notes, trusted).or(loopback());
    let limits = limits(view, notes);
    let drain = drain(view, notes);
    let Setting::Set(port, place) = port else {
        return Public { proxy: None, claims: Vec::new() };
    };
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
    if job || mode.or(Mode::Http) == Mode::Off {
        // Whichever addresses it binds: another app on that port would be in its way.
        return Public { proxy: None, claims: vec![(everywhere, place.clone())] };
    }
    let claims = match listen {
        Setting::Absent => vec![(everywhere, place.clone())],
        Setting::Bad => Vec::new(),
        Setting::Set(addresses, found) => addresses::on_port(addresses, &found, *port, notes),
    };
    let listen = match claims.iter().map(|(address, _)| *address).collect::<Vec<_>>() {
        none if none.is_empty() => vec![everywhere],
        listen => listen,
    };
    let strategy = strategy.or(Strategy::BlueGreen);
    Public { proxy: Some(ProxyConfig { listen, strategy, hold, trusted_proxies, limits, drain }), claims }
}

/// Keys of the app itself that would do nothing.
fn refuse_stray(
    view: &View<'_>,
    mode: &Setting<'_, Mode>,
    strategy: &Setting<'_, Strategy>,
    job: bool,
    notes: &mut Notes<'_>,
) {
    let own = view.own();
    let off = mode.found().filter(|_| matches!(mode, Setting::Set(Mode::Off, _)));
    let (what, expected) = match off {
        _ if job => ("a job has no port that the proxy could serve", "leave it out"),
        _ if own.get("port").is_none() => {
            ("the app has no port that the proxy could serve", "add port = NUMBER or leave it out")
        }
        Some(off) if off.own => ("the app binds its port itself", "leave it out, or take out proxy = \"off\""),
        Some(_) => ("the app binds its port itself", "leave it out, or add proxy = \"http\""),
        None => return,
    };
    let mut stray: Vec<Found<'_>> = ONLY_BEHIND_IT.iter().filter_map(|key| own.get(key)).collect();
    if let Setting::Set(Mode::Http, found) = mode {
        stray.push(found.clone());
    }
    if let Setting::Set(Strategy::BlueGreen, found) = strategy {
        stray.push(found.clone());
    }
    for found in stray.iter().filter(|found| found.own) {
        notes.blame(found, what, expected);
    }
}

fn mode(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Mode> {
    match found.value.as_str() {
        Some("http") => Some(Mode::Http),
        Some("off") => Some(Mode::Off),
        Some(_) | None => {
            let expected = "write \"http\", or \"off\" where the app binds its port itself";
            notes.blame(found, format!("{} is not a choice", found.shown()), expected);
            None
        }
    }
}

fn strategy(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Strategy> {
    match found.value.as_str() {
        Some("blue-green") => Some(Strategy::BlueGreen),
        Some("stop-first") => Some(Strategy::StopFirst),
        Some(_) | None => {
            let expected = "write \"blue-green\", or \"stop-first\" for what cannot run twice at one time";
            notes.blame(found, format!("{} is not a choice", found.shown()), expected);
            None
        }
    }
}

fn loopback() -> Vec<Network> {
    vec![
        Network { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
        Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    ]
}

fn trusted(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<Network>> {
    let expected = "write a list of addresses and networks, such as [\"127.0.0.0/8\", \"::1\"]";
    values::list(found, notes, expected, |item, notes| {
        let network = addresses::network(item, notes)?;
        if network.prefix == 0 {
            let what = "any client may then say that it is another one";
            notes.warn_at(item.place(), &item.key, what, "name only the proxies in front of this one");
        }
        Some(network)
    })
}

fn limits(view: &View<'_>, notes: &mut Notes<'_>) -> LimitsConfig {
    let table = view.sub("limits", notes);
    table.refuse_unknown(&keys::LIMITS, notes);
    let connections = |found: &Found<'_>, notes: &mut Notes<'_>| values::number(found, notes, "a count", 1..=1_000_000);
    let idle = wait(&table, "idle", Duration::from_secs(1), notes);
    if let Setting::Set(idle, found) = &idle
        && *idle <= NGINX_IDLE
    {
        let what = "an nginx in front keeps its connections for 60 to 75 s and may send a request into one that closes";
        notes.warn_at(found.place(), &found.key, what, "write \"80s\" or leave it out");
    }
    LimitsConfig {
        connections: table.read("connections", notes, connections).or(10_000),
        header_timeout: wait(&table, "header_timeout", Duration::from_millis(100), notes).or(Duration::from_secs(10)),
        head: table.read("head", notes, head).or(32 << 10),
        idle: idle.or(Duration::from_secs(80)),
    }
}

fn head(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<u32> {
    let bytes = values::size(found, notes, LEAST_HEAD)?;
    if bytes > LARGEST_HEAD {
        let expected = format!("write at most {:?}", units::show_size(LARGEST_HEAD));
        notes.blame(found, format!("{} is too large", found.shown()), expected);
        return None;
    }
    u32::try_from(bytes).ok()
}

fn drain(view: &View<'_>, notes: &mut Notes<'_>) -> DrainConfig {
    let table = view.sub("drain", notes);
    table.refuse_unknown(&keys::DRAIN, notes);
    DrainConfig {
        requests: wait(&table, "requests", Duration::ZERO, notes).or(Duration::from_secs(90)),
        upgrades: wait(&table, "upgrades", Duration::ZERO, notes).or(Duration::from_secs(300)),
    }
}
