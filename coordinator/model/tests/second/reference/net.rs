//! Addresses and networks, as numbers.

use std::net::IpAddr;

/// A network: a family, the bits of its first address and how many of them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Net {
    v4: bool,
    bits: u128,
    pub len: u32,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl Net {
    /// Reads `10.0.0.0/16` or `2001:db8::/32`; bits behind the prefix are dropped.
    pub fn read(text: &str) -> Self {
        let (address, len) = text.split_once('/').unwrap();
        let address: IpAddr = address.parse().unwrap();
        let len: u32 = len.parse().unwrap();
        let width = if address.is_ipv4() { 32 } else { 128 };
        let free = width - len;
        let bits = if free >= 128 {
            0
        } else {
            bits(address) >> free << free
        };
        Self {
            v4: address.is_ipv4(),
            bits,
            len,
        }
    }

    /// The network of `len` bits that holds an address.
    pub fn around(address: IpAddr, len: u32) -> Self {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let free = width - len.min(width);
        let bits = if free >= 128 {
            0
        } else {
            bits(address) >> free << free
        };
        Self {
            v4: address.is_ipv4(),
            bits,
            len: len.min(width),
        }
    }

    /// The network of one address.
    pub fn host(address: IpAddr) -> Self {
        let len = if address.is_ipv4() { 32 } else { 128 };
        Self {
            v4: address.is_ipv4(),
            bits: bits(address),
            len,
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        if self.v4 != address.is_ipv4() {
            return false;
        }
        let free = if self.v4 { 32 } else { 128 } - self.len;
        free >= 128 || (bits(address) ^ self.bits) >> free == 0
    }

    /// The address that lies `offset` behind the first one.
    pub fn nth(&self, offset: u128) -> IpAddr {
        if self.v4 {
            IpAddr::V4(u32::try_from(self.bits + offset).unwrap().into())
        } else {
            IpAddr::V6((self.bits + offset).into())
        }
    }
}
