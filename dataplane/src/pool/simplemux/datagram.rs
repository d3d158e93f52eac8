//! The reader's side: a datagram all of whose bounds hold.
//!
//! Entries lie behind each other, from the first byte to the last. Reading goes through them once to check and later
//! once more to hand them out, by the same steps, so the second time nothing can be found broken.

use super::{Flavour, MAX_ENTRIES, MAX_LENGTH, PROTOCOL_IPV4};

const MIN_IPV4_LEN: usize = 20;

/// Which bound a datagram breaks. It is dropped whole, under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SimplemuxError {
    /// Nothing behind the UDP header.
    #[error("no entry")]
    NoEntries,
    /// Longer than the format lets a datagram be.
    #[error("longer than 2304 bytes")]
    TooLong,
    /// More entries than the format allows.
    #[error("more than 100 entries")]
    TooManyEntries,
    /// A separator that does not fit into what was received.
    #[error("separator beyond the end")]
    TruncatedSeparator,
    /// A length of three bytes: no datagram is that long.
    #[error("length of three bytes")]
    ThreeByteLength,
    /// A length of two bytes where one says it as well.
    #[error("length in more bytes than it takes")]
    OverlongLength,
    /// An IPv4 packet shorter than its header.
    #[error("entry shorter than an IPv4 header")]
    EntryTooShort,
    /// An entry that ends behind the end of the datagram.
    #[error("entry beyond the end")]
    EntryBeyondEnd,
    /// What is called an IPv4 packet has another version.
    #[error("inner packet is not IPv4")]
    InnerVersion,
    /// The inner packet's total length is not the length of its entry.
    #[error("inner length differs from the entry's")]
    InnerLength,
}

impl SimplemuxError {
    /// Every bound there is.
    pub const ALL: [SimplemuxError; 10] = [
        SimplemuxError::NoEntries,
        SimplemuxError::TooLong,
        SimplemuxError::TooManyEntries,
        SimplemuxError::TruncatedSeparator,
        SimplemuxError::ThreeByteLength,
        SimplemuxError::OverlongLength,
        SimplemuxError::EntryTooShort,
        SimplemuxError::EntryBeyondEnd,
        SimplemuxError::InnerVersion,
        SimplemuxError::InnerLength,
    ];

    /// The name of its counter; documented in docs/simplemux.md and stable.
    pub const fn name(self) -> &'static str {
        match self {
            SimplemuxError::NoEntries => "no_entries",
            SimplemuxError::TooLong => "too_long",
            SimplemuxError::TooManyEntries => "too_many_entries",
            SimplemuxError::TruncatedSeparator => "truncated_separator",
            SimplemuxError::ThreeByteLength => "three_byte_length",
            SimplemuxError::OverlongLength => "overlong_length",
            SimplemuxError::EntryTooShort => "entry_too_short",
            SimplemuxError::EntryBeyondEnd => "entry_beyond_end",
            SimplemuxError::InnerVersion => "inner_version",
            SimplemuxError::InnerLength => "inner_length",
        }
    }
}

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Protocol 4: a whole IPv4 packet. Its version is 4 and its total length that of the slice, at least 20.
    Ipv4(&'a [u8]),
    /// Any other protocol, with as many bytes as its separator says; about them nothing is known.
    Other(u8, &'a [u8]),
}

impl<'a> Entry<'a> {
    /// The bytes behind the separator.
    #[inline(always)]
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Entry::Ipv4(bytes) | Entry::Other(_, bytes) => bytes,
        }
    }

    /// The protocol.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        match self {
            Entry::Ipv4(_) => PROTOCOL_IPV4,
            Entry::Other(protocol, _) => protocol,
        }
    }
}

/// A datagram all of whose bounds hold: 1 to 100 entries that cover it from end to end, and each that says it is an
/// IPv4 packet begins like one of its length.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    flavour: Flavour,
    payload: &'a [u8],
    entries: u8,
}

impl<'a> Datagram<'a> {
    /// Reads a UDP payload and checks every bound before it touches what the bound is about.
    #[inline]
    pub fn parse(flavour: Flavour, payload: &'a [u8]) -> Result<Datagram<'a>, SimplemuxError> {
        if payload.is_empty() {
            return Err(SimplemuxError::NoEntries);
        }
        if payload.len() > MAX_LENGTH {
            return Err(SimplemuxError::TooLong);
        }
        let mut entries = 0;
        let mut cursor = Cursor::new(flavour, payload);
        while !cursor.is_at_end() {
            if entries == MAX_ENTRIES {
                return Err(SimplemuxError::TooManyEntries);
            }
            cursor.next()?;
            entries += 1;
        }
        Ok(Datagram { flavour, payload, entries })
    }

    /// How many entries: 1 to 100.
    #[inline(always)]
    pub const fn count(&self) -> u8 {
        self.entries
    }

    /// The entries in order.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.flavour, self.payload);
        std::iter::from_fn(move || if cursor.is_at_end() { None } else { cursor.next().ok() })
    }
}

/// How far a datagram has been read.
struct Cursor<'a> {
    flavour: Flavour,
    rest: &'a [u8],
    protocol: Protocol,
}

/// Where the protocol of an entry stands, in the normal flavour.
#[derive(Clone, Copy)]
enum Protocol {
    /// In the first separator, which comes next.
    InFirst,
    /// In every separator.
    InEach,
    /// It was in the first one, for all.
    OfAll(u8),
}

impl<'a> Cursor<'a> {
    #[inline]
    fn new(flavour: Flavour, payload: &'a [u8]) -> Cursor<'a> {
        Cursor { flavour, rest: payload, protocol: Protocol::InFirst }
    }

    #[inline(always)]
    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads one entry and checks all there is to check about it.
    #[inline]
    fn next(&mut self) -> Result<Entry<'a>, SimplemuxError> {
        let (length, protocol) = match self.flavour {
            Flavour::Normal => self.normal_separator()?,
            Flavour::Fast => self.fast_separator()?,
        };
        if protocol == PROTOCOL_IPV4 && length < MIN_IPV4_LEN {
            return Err(SimplemuxError::EntryTooShort);
        }
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SimplemuxError::EntryBeyondEnd)?;
        self.rest = rest;
        if protocol != PROTOCOL_IPV4 {
            return Ok(Entry::Other(protocol, bytes));
        }
        match bytes {
            [version_ihl, ..] if version_ihl >> 4 != 4 => Err(SimplemuxError::InnerVersion),
            [_, _, l0, l1, ..] if usize::from(u16::from_be_bytes([*l0, *l1])) == length => Ok(Entry::Ipv4(bytes)),
            _ => Err(SimplemuxError::InnerLength),
        }
    }

    #[inline]
    fn fast_separator(&mut self) -> Result<(usize, u8), SimplemuxError> {
        let (&[l0, l1, protocol], rest) =
            self.rest.split_first_chunk::<3>().ok_or(SimplemuxError::TruncatedSeparator)?;
        self.rest = rest;
        Ok((usize::from(u16::from_be_bytes([l0, l1])), protocol))
    }

    /// SPB(1) LXT(1) LEN(6) in the first separator, LXT(1) LEN(7) in the others; 0 LEN(7) behind it where LXT is set;
    /// then the protocol, in the first separator or where SPB is not set.
    #[inline]
    fn normal_separator(&mut self) -> Result<(usize, u8), SimplemuxError> {
        let head = self.byte()?;
        // How many bits of length the first byte has; the bit above them says whether there is a second byte.
        let bits = if matches!(self.protocol, Protocol::InFirst) { 6 } else { 7 };
        let one_byte = 1usize << bits;
        let mut length = usize::from(head) & (one_byte - 1);
        if usize::from(head) & one_byte != 0 {
            let low = self.byte()?;
            if low & 0x80 != 0 {
                return Err(SimplemuxError::ThreeByteLength);
            }
            length = length << 7 | usize::from(low);
            if length < one_byte {
                return Err(SimplemuxError::OverlongLength);
            }
        }
        let protocol = match self.protocol {
            Protocol::OfAll(protocol) => protocol,
            Protocol::InEach => self.byte()?,
            Protocol::InFirst => {
                let protocol = self.byte()?;
                self.protocol = if head & 0x80 != 0 { Protocol::OfAll(protocol) } else { Protocol::InEach };
                protocol
            }
        };
        Ok((length, protocol))
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, SimplemuxError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SimplemuxError::TruncatedSeparator)?;
        self.rest = rest;
        Ok(byte)
    }
}
