//! What tables of routes want to know of prefixes of either family: where they begin and end, as numbers.

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::Prefix;

/// Prefixes of one family.
pub(super) trait Family: Prefix + Copy {
    /// Bits of an address.
    const WIDTH: u32;
    /// Bits of an address that name its bucket: what is told is counted by buckets of addresses that begin alike.
    const BUCKET: u32;

    /// The first address.
    fn first(self) -> u128;

    /// The prefix of this length that begins at an address; None where there is none such.
    fn at(first: u128, length: u32) -> Option<Self>;

    /// The last address.
    fn last(self) -> u128 {
        let host_bits = Self::WIDTH - u32::from(self.prefix_len());
        self.first() | 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
    }

    /// The bucket that an address is in.
    fn bucket(address: u128) -> u32 {
        u32::try_from(address >> (Self::WIDTH - Self::BUCKET)).unwrap_or(u32::MAX)
    }
}

impl Family for Ipv4Net {
    const WIDTH: u32 = 32;
    const BUCKET: u32 = 16;

    fn first(self) -> u128 {
        self.network().to_bits().into()
    }

    fn at(first: u128, length: u32) -> Option<Ipv4Net> {
        Ipv4Net::new(u32::try_from(first).ok()?.into(), u8::try_from(length).ok()?).ok()
    }
}

impl Family for Ipv6Net {
    const WIDTH: u32 = 128;
    const BUCKET: u32 = 32;

    fn first(self) -> u128 {
        self.network().to_bits()
    }

    fn at(first: u128, length: u32) -> Option<Ipv6Net> {
        Ipv6Net::new(first.into(), u8::try_from(length).ok()?).ok()
    }
}
