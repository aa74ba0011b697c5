//! Whether an address may be dialled: the last word before a socket opens.
//!
//! Guarantees: this host's own listeners are never a target; metadata services stay closed whatever the operator
//! opens; plain `http` goes only to addresses that the operator opened.
//!
//! Leaves to others: the table of ranges (`addresses`), whose answer an address was (`resolve`).

use std::net::SocketAddr;

use super::{EgressConfig, addresses, origin::Scheme};

/// What the operator opens and what this host is itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    open: Vec<SocketAddr>,
    own: Vec<SocketAddr>,
}

impl Reach {
    /// Checks the operator's addresses: each must name one address and one port.
    pub fn new(config: &EgressConfig) -> Result<Self, String> {
        for open in &config.allow_addresses {
            let reason = match addresses::special(open.ip()) {
                _ if open.port() == 0 => "port 0 is no port; name the one to open".to_owned(),
                _ if open.ip().is_unspecified() => "it stands for every address of this machine; name one".to_owned(),
                Some(range) if range.always => format!("{} ({}) is never opened", range.name, range.source),
                _ => continue,
            };
            return Err(format!("`allow_addresses` has `{open}`: {reason}"));
        }
        Ok(Self { open: config.allow_addresses.clone(), own: config.own_listeners.clone() })
    }

    /// Whether the operator names this address and port.
    pub fn opens(&self, address: SocketAddr) -> bool {
        self.open.contains(&address)
    }

    /// Whether any address is open on this port, so that plain `http` to a name may be worth a DNS query.
    pub fn opens_port(&self, port: u16) -> bool {
        self.open.iter().any(|open| open.port() == port)
    }

    /// Whether this address may be dialled for a request of this scheme; if not, why.
    pub fn judge(&self, address: SocketAddr, scheme: Scheme) -> Result<(), String> {
        if self.is_own(address) {
            return Err(format!("`{address}` is where this host itself listens"));
        }
        let opened = self.opens(address);
        match addresses::special(address.ip()) {
            Some(range) if range.always || !opened => {
                let fix =
                    if range.always { "" } else { "; an operator can open one address and port in `allow_addresses`" };
                Err(format!("`{}` is not a public address: {} ({}){fix}", address.ip(), range.name, range.source))
            }
            _ if scheme == Scheme::Http && !opened => Err(format!(
                "plain `http` goes only to what the operator lists in `allow_addresses`, and `{address}` is not listed; use `https`"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a connection that is already made turned out to lead to this host's own listener.
    pub fn came_home(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        local.ip() == peer.ip() && self.own.iter().any(|own| own.port() == peer.port() && own.ip().is_unspecified())
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let local = address.ip().is_loopback() || address.ip().is_unspecified();
        self.own.iter().any(|own| {
            own.port() == address.port() && (own.ip() == address.ip() || (own.ip().is_unspecified() && local))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address and port")
    }

    fn reach(open: &[&str], own: &[&str]) -> Result<Reach, String> {
        Reach::new(&EgressConfig {
            allow_addresses: open.iter().map(|text| at(text)).collect(),
            own_listeners: own.iter().map(|text| at(text)).collect(),
            ..EgressConfig::default()
        })
    }

    #[test]
    fn only_the_named_address_and_port_is_opened() {
        let reach = reach(&["127.0.0.1:9000", "10.1.1.1:443"], &[]).expect("opened");
        for (address, scheme, allowed) in [
            ("127.0.0.1:9000", Scheme::Http, true),
            ("127.0.0.1:9000", Scheme::Https, true),
            ("127.0.0.1:9001", Scheme::Http, false),
            ("127.0.0.2:9000", Scheme::Http, false),
            ("10.1.1.1:443", Scheme::Https, true),
            ("10.1.1.1:80", Scheme::Http, false),
            ("[::1]:9000", Scheme::Http, false),
            ("93.184.215.14:443", Scheme::Https, true),
            ("93.184.215.14:80", Scheme::Http, false),
            ("93.184.215.14:9000", Scheme::Http, false),
        ] {
            assert_eq!(reach.judge(at(address), scheme).is_ok(), allowed, "{address} {scheme:?}");
        }
    }

    #[test]
    fn own_listeners_are_no_target_even_if_opened() {
        let exact = reach(&["127.0.0.1:8080", "127.0.0.2:8080"], &["127.0.0.1:8080"]).expect("opened");
        assert!(exact.judge(at("127.0.0.1:8080"), Scheme::Http).is_err());
        assert!(exact.judge(at("127.0.0.2:8080"), Scheme::Http).is_ok());
        let wild = reach(&["127.0.0.2:8080", "10.0.0.5:8080"], &["0.0.0.0:8080"]).expect("opened");
        assert!(wild.judge(at("127.0.0.2:8080"), Scheme::Http).is_err());
        assert!(wild.came_home(at("10.0.0.5:40000"), at("10.0.0.5:8080")));
        assert!(!wild.came_home(at("10.0.0.4:40000"), at("10.0.0.5:8080")));
        assert!(!wild.came_home(at("10.0.0.5:40000"), at("10.0.0.5:8081")));
    }

    #[test]
    fn what_is_always_closed_cannot_be_opened() {
        for closed in [
            "169.254.169.254:80",
            "168.63.129.16:80",
            "[fd00:ec2::254]:80",
            "[::ffff:127.0.0.1]:80",
            "0.0.0.0:80",
            "127.0.0.1:0",
        ] {
            assert!(reach(&[closed], &[]).is_err(), "{closed}");
        }
    }
}
