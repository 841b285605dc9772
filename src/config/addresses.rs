//! Addresses as they are written: what an app listens on, and networks of clients.

use super::app::Network;
use super::notes::Notes;
use super::table::Found;
use super::values;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use toml::de::DeValue;

/// One of `listen`: without a port it takes the app's.
pub(super) type Listen<'a> = (IpAddr, Option<u16>, Found<'a>);

/// A text or a list of them, in order. Never empty.
pub(super) fn listen<'a>(found: &Found<'a>, notes: &mut Notes<'_>) -> Option<Vec<Listen<'a>>> {
    let items = match found.value {
        DeValue::Array(_) => found.items(notes, "")?,
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => vec![found.clone()],
    };
    if items.is_empty() {
        notes.blame(found, "it names no address", "write one like \"[::]\" or leave it out");
        return None;
    }
    let read: Vec<Option<Listen<'a>>> = items
        .into_iter()
        .map(|item| address(&item, notes).map(|(address, port)| (address.to_canonical(), port, item)))
        .collect();
    read.into_iter().collect()
}

/// The addresses of an app with that port. One of them has to be on it, and no two may be in each other's way.
pub(super) fn on_port<'a>(
    listen: Vec<Listen<'a>>,
    whole: &Found<'_>,
    port: u16,
    notes: &mut Notes<'_>,
) -> Vec<(SocketAddr, Found<'a>)> {
    let mut claims: Vec<(SocketAddr, Found<'a>)> = Vec::new();
    for (address, own_port, item) in listen {
        let address = SocketAddr::new(address, own_port.unwrap_or(port));
        if let Some((first, _)) = claims.iter().find(|(first, _)| collide(*first, address)) {
            let what = format!("{address} is within {first} of the same list, which then cannot be bound");
            let what = if *first == address { format!("{address} stands there twice") } else { what };
            notes.blame(&item, what, "take one of them out");
        }
        claims.push((address, item));
    }
    if let Some((other, _)) = claims.first()
        && !claims.iter().any(|(address, _)| address.port() == port)
    {
        let expected = format!("write one of them without a port, or write port = {}", other.port());
        notes.blame(whole, format!("none of it is on port {port}"), expected);
    }
    claims
}

/// Would the kernel refuse to bind the second while the first listens (bind(2): EADDRINUSE)? `[::]` takes IPv4 too.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: IpAddr, other: IpAddr| match one {
        IpAddr::V6(one) => one.is_unspecified(),
        IpAddr::V4(one) => one.is_unspecified() && other.is_ipv4(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

fn address(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<(IpAddr, Option<u16>)> {
    let text = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            String::new()
        }
    };
    if let Some((address, port)) = split(&text) {
        // An app's port is its own: from [defaults] every app would take the same one.
        return match port {
            Some(_) if !found.own => {
                notes.blame(found, "apps cannot share a port", format!("write \"{}\"", host(address)));
                None
            }
            Some(0) => {
                let expected = format!("write a number from 1 to 65535, or \"{}\"", host(address));
                notes.blame(found, "0 is not a port", expected);
                None
            }
            Some(_) | None => Some((address, port)),
        };
    }
    notes.blame(found, format!("{} is not an address to listen on", found.shown()), meant(&text));
    None
}

fn split(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    address.map(|address| (address, None))
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What would be right instead of `text`.
fn meant(text: &str) -> String {
    if text.parse::<Ipv6Addr>().is_ok() {
        return format!("write \"[{text}]\"");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    match (host, port) {
        ("" | "*", Some(port)) => format!("write \"[::]:{port}\""),
        ("localhost", Some(port)) => format!("names are not looked up: write \"127.0.0.1:{port}\""),
        _ if text == "localhost" => "names are not looked up: write \"127.0.0.1\"".to_owned(),
        _ => "write one like \"[::]\", \"127.0.0.1\" or \"127.0.0.1:3000\"".to_owned(),
    }
}

/// `127.0.0.0/8`, or one address.
pub(super) fn network(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Network> {
    let text = values::text(found, notes)?;
    let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(a, prefix)| (a, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else {
        let expected = "write one like \"10.0.0.5\", \"10.0.0.0/8\" or \"fd00::/8\"";
        notes.blame(found, format!("{} is not an address or a network", found.shown()), expected);
        return None;
    };
    if address.to_canonical() != address {
        let expected = format!("write {} and, for a network, its prefix", address.to_canonical());
        notes.blame(found, "this is an IPv4 address written as IPv6", expected);
        return None;
    }
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix.map_or(Some(bits), |prefix| prefix.parse().ok()).filter(|prefix| *prefix <= bits) else {
        let expected = format!("write a number from 0 to {bits} behind the slash");
        notes.blame(found, format!("{} has no such prefix", found.shown()), expected);
        return None;
    };
    let first = first_of(address, prefix);
    if first != address {
        let expected = format!("write \"{first}/{prefix}\", or \"{address}\" for that one alone");
        notes.blame(found, format!("{} is an address within a network", found.shown()), expected);
        return None;
    }
    Some(Network { address, prefix })
}

/// The address with the bits behind the prefix put to 0.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(four.to_bits() & mask))
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_in_the_way_of_what_it_covers() {
        for (one, other, expected) in [
            ("[::]:1", "[::]:1", true),
            ("[::]:1", "[::]:2", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
        ] {
            let (a, b) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((collide(a, b), collide(b, a)), (expected, expected), "{one} and {other}");
        }
    }
}
