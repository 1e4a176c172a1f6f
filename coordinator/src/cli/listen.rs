//! Where agents are awaited.

use std::net::{Ipv4Addr, SocketAddr};

/// Reads `10.0.1.5:7443`, or `7443` for this port of every IPv4 address.
///
/// # Errors
/// A text that says how to write it.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    match port {
        Ok(port) => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        Err(_) => text.parse().map_err(|_| {
            format!("`{text}` is no address, write 7443, 10.0.1.5:7443 or [fd00::5]:7443")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_that_of_every_address() {
        let read = |text| listen(text).map(|address| address.to_string());
        assert_eq!(read("7443").as_deref(), Ok("0.0.0.0:7443"));
        assert_eq!(read(":7443").as_deref(), Ok("0.0.0.0:7443"));
        assert_eq!(read("10.0.1.5:7443").as_deref(), Ok("10.0.1.5:7443"));
        assert_eq!(read("[fd00::5]:7443").as_deref(), Ok("[fd00::5]:7443"));
    }

    #[test]
    fn what_is_no_address_is_told_how_to_be_one() {
        for text in ["", "70000", "host:7443", "10.0.1.5"] {
            let told = listen(text);
            assert!(
                told.is_err_and(|told| told.contains("write 7443")),
                "{text}"
            );
        }
    }
}
