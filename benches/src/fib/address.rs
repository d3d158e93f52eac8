//! Addresses in the form that tables take them.

/// An address of one family.
pub trait Address: Copy + Send + Sync + 'static {
    /// From the number that it is.
    fn from_bits(bits: u128) -> Self;
}

/// IPv4, in host byte order.
impl Address for u32 {
    fn from_bits(bits: u128) -> u32 {
        bits as u32
    }
}

/// IPv6, in network byte order.
impl Address for [u8; 16] {
    fn from_bits(bits: u128) -> [u8; 16] {
        bits.to_be_bytes()
    }
}
