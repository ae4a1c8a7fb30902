//! Where a request really comes from, when balancers stand between.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::HeaderMap;

/// Header in which a balancer says whom it speaks for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Addresses with a common beginning, written `10.0.0.0/8`; a single one without the slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                is_same(network.to_bits().into(), address.to_bits().into(), 32 - u32::from(self.bits))
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                is_same(network.to_bits(), address.to_bits(), 128 - u32::from(self.bits))
            }
            _ => false,
        }
    }
}

/// Without this many bits at the end.
fn is_same(network: u128, address: u128, free_bits: u32) -> bool {
    network.checked_shr(free_bits) == address.checked_shr(free_bits)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is neither an address nor a network like 10.0.0.0/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(bits_max), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > bits_max { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Whether this is a balancer that is believed.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The client of a request: who is connected or, when that is a trusted balancer, the last that is not one of those it
/// names. What stands before was written by the client.
pub(crate) fn client(connected: SocketAddr, headers: &HeaderMap, trusted: &[Network]) -> SocketAddr {
    if !is_trusted(connected.ip(), trusted) {
        return connected;
    }
    // Byte by byte what the client wrote: it must not make what the balancer appended unreadable.
    let named: Vec<_> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let mut client = connected.ip();
    for address in named.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Ok(address) = address.trim().parse() else { break };
        client = address;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    SocketAddr::new(client, connected.port())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().expect(network).contains(address.parse().expect("an address"))
        };
        assert!(contains("10.0.0.0/8", "10.200.0.1") && contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && contains("::/0", "2001:db8::1"));
        assert!(contains("192.0.2.1", "192.0.2.1") && contains("2001:db8::/32", "2001:db8:9::1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/x", "::/129", "localhost"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_trusted_balancers_name_their_client() {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let client = |connected: &str, values: &[&'static str]| {
            let value = |value: &&str| HeaderValue::from_bytes(value.as_bytes()).expect("a header");
            let headers = values.iter().map(|text| (http::HeaderName::from_static(FORWARDED_FOR), value(text)));
            client(connected.parse().expect("an address"), &headers.collect(), &trusted).to_string()
        };
        assert_eq!(client("192.0.2.1:5", &["198.51.100.1"]), "192.0.2.1:5", "a stranger says what it likes");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.1"]), "198.51.100.1:5");
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1:5");
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1", "198.51.100.1"]), "198.51.100.1:5");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.1, x"]), "10.0.0.1:5");
        assert_eq!(client("10.0.0.1:5", &["é, 198.51.100.1"]), "198.51.100.1:5", "it hides behind no byte");
        assert_eq!(client("10.0.0.1:5", &[]), "10.0.0.1:5");
    }
}
