//! Conversions between wire and `std`: addresses, ports, and the proof of a listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::hmac;
use thiserror::Error;

/// Length of a listener's key, in bytes.
pub const PROOF_KEY_LENGTH: usize = 32;

/// Length of a nonce, in bytes.
pub const NONCE_LENGTH: usize = 16;

/// Length of a proof, in bytes: HMAC-SHA-256.
pub const PROOF_LENGTH: usize = 32;

/// Bytes that are not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an address has {length} bytes on the wire, needs 4 or 16")]
pub struct InvalidAddress {
    /// How many bytes there were.
    pub length: usize,
}

/// A number that is not a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("port {number} is out of range, needs 1 to 65535")]
pub struct InvalidPort {
    /// The number as it was on the wire.
    pub number: u32,
}

/// Bytes that are not as long as their field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a field has {length} bytes on the wire, needs {needed}")]
pub struct InvalidLength {
    /// How many bytes there were.
    pub length: usize,
    /// How many the field has.
    pub needed: usize,
}

/// A key that only one listener and the coordinator hold.
pub type ProofKey = [u8; PROOF_KEY_LENGTH];

/// What the coordinator draws for one probe.
pub type Nonce = [u8; NONCE_LENGTH];

/// What only the holder of a [`ProofKey`] can make.
pub type Proof = [u8; PROOF_LENGTH];

/// Writes `address` as 4 or 16 bytes, most significant first.
///
/// An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is written as the 4 bytes of its IPv4 address, since that is what is on
/// the network: sockets of both families name such a peer differently.
pub fn address_to_wire(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Reads an address of 4 or 16 bytes; an IPv4-mapped one becomes IPv4.
///
/// # Errors
/// [`InvalidAddress`] for any other length.
pub fn address_from_wire(bytes: &[u8]) -> Result<IpAddr, InvalidAddress> {
    let invalid = InvalidAddress {
        length: bytes.len(),
    };
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let octets = <[u8; 16]>::try_from(bytes).map_err(|_| invalid)?;
    Ok(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
}

/// Reads a port, 1 to 65535.
///
/// # Errors
/// [`InvalidPort`] for 0, which is what an absent field reads as, and for anything above 65535.
pub fn port_from_wire(number: u32) -> Result<u16, InvalidPort> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(InvalidPort { number }),
    }
}

/// Reads a field of a fixed length: a [`Nonce`], a [`ProofKey`] or a [`Proof`].
///
/// # Errors
/// [`InvalidLength`] when there are more or fewer than `N` bytes; none is what an absent field reads as.
pub fn bytes_from_wire<const N: usize>(bytes: &[u8]) -> Result<[u8; N], InvalidLength> {
    <[u8; N]>::try_from(bytes).map_err(|_| InvalidLength {
        length: bytes.len(),
        needed: N,
    })
}

/// Makes the proof that the holder of `key` saw a connection from `address` and `port`, as `peer.proto` defines it.
///
/// HMAC-SHA-256 over the nonce, the address in 16 bytes (IPv4 as `::ffff:a.b.c.d`) and the port in 2 bytes, most
/// significant first.
pub fn proof(key: &ProofKey, nonce: &Nonce, address: IpAddr, port: u16) -> Proof {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in proof_parts(nonce, &address_mapped(address), &port.to_be_bytes()) {
        context.update(part);
    }
    let mut proof = [0; PROOF_LENGTH];
    // Invariant: an HMAC-SHA-256 tag has PROOF_LENGTH bytes, so that zip drops none.
    for (to, from) in proof.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    proof
}

/// Whether `proof` is the one that [`proof`] makes of the same values; takes the same time for every wrong one.
pub fn verify_proof(key: &ProofKey, nonce: &Nonce, observed: (IpAddr, u16), proof: &[u8]) -> bool {
    let (address, port) = observed;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let message = proof_parts(nonce, &address_mapped(address), &port.to_be_bytes()).concat();
    hmac::verify(&key, &message, proof).is_ok()
}

/// What the proof is made over, in order.
fn proof_parts<'a>(nonce: &'a Nonce, address: &'a [u8; 16], port: &'a [u8; 2]) -> [&'a [u8]; 3] {
    [nonce, address, port]
}

/// The address in 16 bytes, IPv4 as `::ffff:a.b.c.d`.
fn address_mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const KEY: ProofKey = [7; PROOF_KEY_LENGTH];
    const NONCE: Nonce = [3; NONCE_LENGTH];

    #[test]
    fn an_address_survives_the_wire() {
        for text in ["10.0.1.10", "0.0.0.0", "2001:db8::1", "::", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(
                address_from_wire(&address_to_wire(address)),
                Ok(address),
                "{text}"
            );
        }
    }

    #[test]
    fn an_ipv4_mapped_address_becomes_ipv4_both_ways() {
        let mapped: IpAddr = "::ffff:10.0.1.10".parse().unwrap();
        assert_eq!(address_to_wire(mapped), [10, 0, 1, 10]);
        let IpAddr::V6(raw) = mapped else {
            unreachable!()
        };
        assert_eq!(
            address_from_wire(&raw.octets()),
            Ok("10.0.1.10".parse().unwrap())
        );
    }

    #[test]
    fn an_address_of_another_length_is_refused() {
        for length in [0, 1, 3, 5, 8, 15, 17, 32] {
            assert_eq!(
                address_from_wire(&vec![1; length]),
                Err(InvalidAddress { length })
            );
        }
    }

    #[test]
    fn a_port_out_of_range_is_refused_and_never_narrowed() {
        assert_eq!(port_from_wire(1), Ok(1));
        assert_eq!(port_from_wire(65_535), Ok(65_535));
        for number in [0, 65_536, 65_979, u32::MAX] {
            assert_eq!(port_from_wire(number), Err(InvalidPort { number }));
        }
    }

    #[test]
    fn a_fixed_field_of_another_length_is_refused() {
        assert_eq!(bytes_from_wire::<2>(&[1, 2]), Ok([1, 2]));
        for bytes in [&[][..], &[1][..], &[1, 2, 3][..]] {
            let length = bytes.len();
            assert_eq!(
                bytes_from_wire::<2>(bytes),
                Err(InvalidLength { length, needed: 2 })
            );
        }
    }

    #[test]
    fn a_proof_is_hmac_sha256_as_the_proto_file_says() {
        // Made with Python's hmac module over 16 x 03, ::ffff:10.0.1.10 and 0x9c40, key 32 x 07.
        let expected = "c8b6d7a0d135c738111ffe8ecde350f8db54a10f4adc661faa7d9a905caf757c";
        let made = proof(&KEY, &NONCE, "10.0.1.10".parse().unwrap(), 40_000);
        let hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_proof_holds_for_exactly_its_key_nonce_address_and_port() {
        let address: IpAddr = "10.0.1.10".parse().unwrap();
        let made = proof(&KEY, &NONCE, address, 40_000);
        assert!(verify_proof(&KEY, &NONCE, (address, 40_000), &made));
        assert!(verify_proof(
            &KEY,
            &NONCE,
            ("::ffff:10.0.1.10".parse().unwrap(), 40_000),
            &made
        ));
        assert!(!verify_proof(&[8; 32], &NONCE, (address, 40_000), &made));
        assert!(!verify_proof(&KEY, &[4; 16], (address, 40_000), &made));
        assert!(!verify_proof(
            &KEY,
            &NONCE,
            ("10.0.1.11".parse().unwrap(), 40_000),
            &made
        ));
        assert!(!verify_proof(&KEY, &NONCE, (address, 40_001), &made));
        assert!(!verify_proof(&KEY, &NONCE, (address, 40_000), &[]));
        let mut changed = made;
        changed[31] ^= 1;
        assert!(!verify_proof(&KEY, &NONCE, (address, 40_000), &changed));
    }
}
