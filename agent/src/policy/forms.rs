//! IPv6 addresses that stand for IPv4 addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefixes behind which the last 32 bits are an IPv4 address, as value and length: IPv4-compatible [RFC 4291 2.5.5.1],
/// IPv4-mapped [2.5.5.2], translated [RFC 2765], NAT64 [RFC 6052], NAT64 for local use [RFC 8215].
const LAST_32_BITS: [(u128, u32); 5] = [
    (0, 96),
    (0xffff << 32, 96),
    (0xffff << 48, 96),
    (0x0064_ff9b << 96, 96),
    (0x0064_ff9b_0001 << 80, 48),
];

/// 6to4 [RFC 3056]: bits 16 to 47 are an IPv4 address.
const SIX_TO_FOUR: u128 = 0x2002;

/// Teredo [RFC 4380]: bits 32 to 63 are the server, the last 32 bits the client, each inverted.
const TEREDO: u128 = 0x2001_0000;

/// ISATAP [RFC 5214]: the middle of the interface identifier, but for the universal and group bits.
const ISATAP: u128 = 0x5efe;

/// Every IPv4 address that `address` may stand for; packets to it may end there, whoever translates them.
pub(super) fn embedded_addresses(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = address.to_bits();
    let last = low_32(bits);
    let by_prefix = LAST_32_BITS
        .iter()
        .any(|(prefix, length)| bits >> (128 - length) == prefix >> (128 - length));
    // RFC 8215 networks of /48 and more may put the address further up, as RFC 6052 2.2 says, around bits 64 to 71.
    let local_nat64 = bits >> 80 == 0x0064_ff9b_0001;
    let around_octet = low_32((bits >> 40 & 0xffff) | (bits >> 64 & 0xffff) << 16);
    let by_isatap = bits >> 32 & 0xfcff_ffff == ISATAP;
    [
        (by_prefix || by_isatap).then_some(last),
        local_nat64.then_some(around_octet),
        (bits >> 112 == SIX_TO_FOUR).then_some(low_32(bits >> 80)),
        (bits >> 96 == TEREDO).then_some(!last),
        (bits >> 96 == TEREDO).then_some(low_32(bits >> 64)),
    ]
    .into_iter()
    .flatten()
}

/// The lowest 32 bits as an address.
fn low_32(bits: u128) -> Ipv4Addr {
    let [.., a, b, c, d] = bits.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_address_that_it_hides() {
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        for text in [
            "::169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::",
            "2001::5601:5601",
            "2600:1f14::5efe:169.254.169.254",
            "2600:1f14::200:5efe:169.254.169.254",
        ] {
            let address: Ipv6Addr = text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
            assert!(
                embedded_addresses(address).any(|hidden| hidden == metadata),
                "{text}"
            );
        }
    }

    #[test]
    fn an_ordinary_address_hides_none() {
        for text in ["2600:1f14:abc::10", "fd00:ec3::1", "2001:db8::7f00:1"] {
            let address: Ipv6Addr = text.parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
            assert_eq!(embedded_addresses(address).count(), 0, "{text}");
        }
    }
}
