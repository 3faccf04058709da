//! Where to listen.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

/// `ADDR:PORT`, where `ADDR` is an IP address or `localhost`, or `off`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum ListenAddress {
    /// Do not listen.
    Off,
    /// Listen there; port 0 stands for any free one.
    At(SocketAddr),
}

impl ListenAddress {
    /// This port of the loopback address.
    pub(crate) const fn loopback(port: u16) -> Self {
        Self::At(SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            port,
        ))
    }
}

/// The text is not an address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither ADDR:PORT (such as 127.0.0.1:9324) nor \"off\"")]
pub(crate) struct NotAnAddress(String);

impl FromStr for ListenAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        // No other name is looked up: what a resolver answers is not for a broker to bind to.
        text.strip_prefix("localhost:")
            .and_then(|port| port.parse().ok())
            .map(Self::loopback)
            .ok_or_else(|| NotAnAddress(text.to_owned()))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_address_localhost_or_off() {
        assert_eq!("off".parse::<ListenAddress>().unwrap(), ListenAddress::Off);
        assert_eq!("OFF".parse::<ListenAddress>().unwrap(), ListenAddress::Off);
        assert_eq!(
            "localhost:7".parse::<ListenAddress>().unwrap(),
            ListenAddress::loopback(7)
        );
        assert_eq!(
            "[::1]:0".parse::<ListenAddress>().unwrap().to_string(),
            "[::1]:0"
        );
        for wrong in [
            "",
            "9324",
            "127.0.0.1",
            "example.org:80",
            "localhost:65536",
            "on",
        ] {
            assert!(
                wrong.parse::<ListenAddress>().is_err(),
                "{wrong:?} was taken"
            );
        }
    }
}
