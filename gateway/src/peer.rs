//! Who is at the other end of a request: where it comes from, what it shows.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{HeaderMap, header, request::Parts};
use messenger_core::Error;

/// The address a request comes from; unspecified when the server does not know it.
pub(crate) fn address(parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip())
}

/// What is counted as one customer: an IPv4 address, or the whole /64 one has with IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The token of the one `Authorization: Bearer` header; none without such a header.
///
/// # Errors
/// UNAUTHENTICATED when there is more than one, or it is of another kind.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::unauthenticated("more than one authorization header"));
    }
    match value.to_str().ok().and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        _ => Err(Error::unauthenticated("the authorization header must be: Bearer <token>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_header() {
        let headers = |values: &[&'static str]| {
            values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a header"))).collect::<HeaderMap>()
        };
        assert_eq!(bearer(&headers(&["bearer a.b.c"])).expect("well formed"), Some("a.b.c"));
        assert_eq!(bearer(&headers(&[])).expect("well formed"), None);
        for values in [&["Basic a"][..], &["Bearer"], &["a.b.c"], &["Bearer a", "Bearer a"]] {
            assert!(bearer(&headers(values)).is_err(), "{values:?}");
        }
    }

    #[test]
    fn an_ipv6_customer_has_a_whole_network() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!((&*network("::ffff:192.0.2.1"), &*network("192.0.2.1")), ("192.0.2.1", "192.0.2.1"));
    }
}
