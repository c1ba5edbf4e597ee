//! What a connection says of the requests that come on it: whence, and whether by TLS. Every request carries it.
//!
//! It is read off the socket and the handshake, and off a header only where a trusted proxy wrote it (see `proxy`): what
//! a client writes decides nothing here.

use std::net::{IpAddr, SocketAddr};

/// An extension of every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionFacts {
    /// The client. An address that IPv6 only carries is IPv4.
    pub peer: IpAddr,
    /// The version of TLS; `None` over plain HTTP.
    pub tls: Option<TlsVersion>,
}

/// A version of TLS that the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
    /// Whichever the client speaks to a trusted proxy.
    OfProxy,
}

impl ConnectionFacts {
    /// Of a connection that is not encrypted, so far.
    pub(super) fn plain(peer: SocketAddr) -> Self {
        Self { peer: peer.ip().to_canonical(), tls: None }
    }

    /// Whether nobody on a network between can read along: it came by TLS, or from this machine.
    pub fn is_private(&self) -> bool {
        self.tls.is_some() || self.peer.is_loopback()
    }
}

impl TlsVersion {
    /// As `s3:TlsVersion` counts: 1.2, 1.3; `None` where only a proxy knows.
    pub fn number(self) -> Option<&'static str> {
        match self {
            Self::Tls12 => Some("1.2"),
            Self::Tls13 => Some("1.3"),
            Self::OfProxy => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_private() {
        let private = |peer: &str, tls| {
            let facts = ConnectionFacts::plain(peer.parse().unwrap());
            ConnectionFacts { tls, ..facts }.is_private()
        };
        for (peer, is_private) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.9]:1", true), ("10.0.0.5:1", false)]
        {
            assert_eq!(private(peer, None), is_private, "{peer}");
            assert!(private(peer, Some(TlsVersion::Tls13)), "{peer}");
        }
    }
}
