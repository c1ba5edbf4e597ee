//! Proxies that stand before the server, and what they say of a client's own connection.
//!
//! `X-Forwarded-For` and `X-Forwarded-Proto` count only on a connection from an address that an administrator has called
//! a proxy; from anybody else they are text. Read from the right, where the nearest proxy wrote: what a client wrote
//! itself stands to the left of that. A request counts as encrypted if both ways were: that of the client to the proxy,
//! and that of the proxy to here.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;
use serde::Deserialize;

use super::facts::{ConnectionFacts, TlsVersion};

/// An address, or a network of them, whose word on its clients is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Proxy(IpNet);

/// The text names no proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a proxy is an address or a network, such as 10.0.0.7 or 10.0.0.0/24, and not everybody")]
pub struct InvalidProxy;

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let address = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let network = text.parse::<IpNet>().or_else(|_| address()).map_err(|_| InvalidProxy)?;
        if network.prefix_len() == 0 { Err(InvalidProxy) } else { Ok(Self(network)) }
    }
}

impl TryFrom<String> for Proxy {
    type Error = InvalidProxy;

    fn try_from(text: String) -> Result<Self, InvalidProxy> {
        text.parse()
    }
}

/// What is known of a request that came by this connection, with these headers.
pub(super) fn seen_through(proxies: &[Proxy], connection: ConnectionFacts, headers: &HeaderMap) -> ConnectionFacts {
    let is_proxy = |address: IpAddr| proxies.iter().any(|Proxy(network)| network.contains(&address));
    if !is_proxy(connection.peer) || !headers.contains_key(FORWARDED_FOR) {
        return connection;
    }
    let mut client = connection.peer;
    for hop in from_the_right(headers, FORWARDED_FOR) {
        // Nobody is on the machine of this server who comes by another's.
        let Some(address) = address(hop).filter(|hop| !hop.is_loopback() || client.is_loopback()) else { break };
        client = address;
        if !is_proxy(client) {
            break;
        }
    }
    let by_tls = from_the_right(headers, FORWARDED_PROTO).next().is_some_and(|word| word.eq_ignore_ascii_case("https"));
    let tls = (by_tls && connection.is_private()).then_some(TlsVersion::OfProxy);
    ConnectionFacts { peer: client, tls }
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The elements of a list header, the last first. One that is no text ends it.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().collect::<Vec<_>>().into_iter().rev();
    let texts = values.map_while(|value| value.to_str().ok());
    texts.flat_map(|text| text.rsplit(',').map(str::trim))
}

/// Some proxies write the port, too.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, tls: Option<TlsVersion>, lines: &[(&str, &str)]) -> (String, Option<TlsVersion>, bool) {
        let proxies: Vec<Proxy> = ["127.0.0.1", "10.0.0.0/24", "fd00::7"].map(|text| text.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let facts = seen_through(&proxies, ConnectionFacts { peer: peer.parse().unwrap(), tls }, &headers);
        (facts.peer.to_string(), facts.tls, facts.is_private())
    }

    const TLS: Option<TlsVersion> = Some(TlsVersion::Tls13);
    const OF_PROXY: Option<TlsVersion> = Some(TlsVersion::OfProxy);

    #[test]
    fn whoever_is_no_proxy_is_who_the_socket_says() {
        let claims = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https")];
        assert_eq!(seen("192.0.2.1", None, &claims), ("192.0.2.1".into(), None, false));
        assert_eq!(seen("192.0.2.1", TLS, &claims), ("192.0.2.1".into(), TLS, true));
        assert_eq!(seen("10.0.1.7", None, &claims), ("10.0.1.7".into(), None, false));
    }

    #[test]
    fn the_client_is_the_last_whom_no_proxy_vouches_for() {
        let client = |line: &str| seen("10.0.0.7", None, &[("x-forwarded-for", line)]).0;
        assert_eq!(client("192.0.2.1"), "192.0.2.1");
        assert_eq!(client("9.9.9.9, 192.0.2.1"), "192.0.2.1", "the client wrote the first itself");
        assert_eq!(client("9.9.9.9,192.0.2.1, 10.0.0.8"), "192.0.2.1", "two proxies");
        assert_eq!(client("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(client("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(client("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(client("10.0.0.9, 10.0.0.8"), "10.0.0.9", "a client among the proxies");
        for nonsense in ["", "unknown", "192.0.2.1, unknown", "127.0.0.1", "192.0.2.1,::1"] {
            assert_eq!(client(nonsense), "10.0.0.7", "{nonsense}");
        }
        let twice = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen("fd00::7", None, &twice).0, "192.0.2.1", "the last line, as it was appended");
    }

    #[test]
    fn a_request_is_encrypted_if_both_ways_are() {
        let through = |peer, tls, proto: &str| {
            let (_, tls, is_private) =
                seen(peer, tls, &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", proto)]);
            (tls, is_private)
        };
        assert_eq!(through("127.0.0.1", None, "https"), (OF_PROXY, true));
        assert_eq!(through("10.0.0.7", TLS, "https"), (OF_PROXY, true));
        assert_eq!(through("10.0.0.7", None, "https"), (None, false), "in the clear from the proxy to here");
        for plain in ["http", "", "https, http", "on"] {
            assert_eq!(through("10.0.0.7", TLS, plain), (None, false), "{plain}");
            assert_eq!(through("127.0.0.1", None, plain), (None, false), "{plain}");
        }
        // Whoever comes to a proxy's address without a proxy.
        assert_eq!(seen("127.0.0.1", None, &[("x-forwarded-proto", "https")]), ("127.0.0.1".into(), None, true));
    }

    #[test]
    fn a_proxy_is_not_everybody() {
        for text in ["0.0.0.0/0", "::/0", "", "proxy.example.com", "10.0.0.0/33"] {
            assert_eq!(text.parse::<Proxy>(), Err(InvalidProxy), "{text}");
        }
    }
}
