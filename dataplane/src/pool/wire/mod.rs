//! The native wire format, version 1: the pool header, and a file for what each kind has behind it
//! (docs/wire-format.md).
//!
//! What is parsed exists only where every bound was checked, so whoever reads it checks nothing again. The pooler writes
//! headers and rows here; detector and depooler read them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

mod data_only;
pub mod entry;
mod index_packet;
mod pooled_packet;
pub mod report;
pub mod short_rows;
mod template;

pub use data_only::DataOnly;
pub use index_packet::{BLOCK_HEADER_LEN, IndexBlock, IndexPacket, MAX_BLOCK_DISTANCE, write_block_header};
pub use pooled_packet::{PooledPacket, ROW_LEN, Row, RowType, Rows, header_and_rows_len, write_header_and_rows};
pub use template::{MAX_LENGTHS, Predetermined, Template, TemplateError, TemplateId, Templates};

/// The UDP destination port, unless another is configured.
pub const PORT: u16 = 7665;

/// The length of the pool header in bytes.
pub const HEADER_LEN: usize = 8;

/// The most rows an index can have: Count has eight bits.
pub const MAX_ROWS: usize = 255;

/// A flag in Template, of kind 0: TTLs count overlay nodes, and an addressee sends on what is not due there.
pub const OVERLAY: u8 = 0x01;

const VERSION: u8 = 1;
const AUTHENTICATED: u8 = 0x08;

/// Which bound a packet to the pool port breaks. It is dropped whole, under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// Shorter than the pool header.
    #[error("shorter than the pool header")]
    TruncatedHeader,
    /// A version that is not 1.
    #[error("unsupported version")]
    UnsupportedVersion,
    /// An authentication trailer is announced, which cannot be verified.
    #[error("authentication is not supported")]
    AuthenticatedUnsupported,
    /// A kind that is not taken.
    #[error("unsupported kind")]
    UnsupportedKind,
    /// A pooled packet with a count of 0.
    #[error("no rows")]
    NoRows,
    /// The index does not fit into what was received.
    #[error("index beyond the end")]
    TruncatedIndex,
    /// The first row does not start at 0.
    #[error("first row does not start at 0")]
    FirstRowStart,
    /// A row starts before the one in front of it.
    #[error("rows out of order")]
    RowOrder,
    /// A row starts within the one in front of it.
    #[error("rows overlap")]
    RowOverlap,
    /// A row starts behind the end of the one in front of it.
    #[error("gap between rows")]
    RowGap,
    /// A type other than a whole IPv4 or IPv6 packet.
    #[error("unsupported representation type")]
    UnsupportedType,
    /// The row of a whole packet, shorter than its IP header.
    #[error("row shorter than an IP header")]
    RowTooShort,
    /// A row that ends behind the end of the data.
    #[error("row beyond the data")]
    RowBeyondData,
    /// Data behind the end of the last row.
    #[error("data behind the last row")]
    TrailingData,
    /// What a row calls an IPv4 or IPv6 packet has another version.
    #[error("inner packet of another IP version")]
    InnerVersion,
    /// The length the inner packet's header gives is not that of its row.
    #[error("inner length differs from the row's")]
    InnerLength,
    /// Less data without an index than its packets take at least.
    #[error("less data than so many packets take")]
    DataTooShort,
    /// An index that has another number of rows than the pooled packet it is about has packets.
    #[error("number of rows differs from the number of packets")]
    IndexCount,
    /// An index packet with a count of 0.
    #[error("no blocks")]
    NoBlocks,
    /// A block of an index packet that is about an earlier pooled packet than the one in front of it, the same one, or
    /// one too far behind.
    #[error("blocks out of order")]
    BlockOrder,
    /// Something behind the last block of an index packet.
    #[error("something behind the last block")]
    TrailingIndex,
    /// A template that is not known here.
    #[error("unknown template")]
    UnknownTemplate,
    /// Data shorter or longer than what the template says.
    #[error("data is not as long as the template says")]
    TemplateLength,
    /// A repetition of a row with no row in front of it, no times, or beyond the count.
    #[error("repetition of no row, no times, or beyond the count")]
    RowRepetition,
    /// An entry of a form that does not exist.
    #[error("unsupported form of entry")]
    UnsupportedEntry,
    /// A report that ends within an item.
    #[error("report beyond the end")]
    TruncatedReport,
    /// An item of a report whose length does not suit its type.
    #[error("item of a report with a length that does not suit its type")]
    ReportItem,
    /// A hello with a count that is not 0.
    #[error("hello with rows")]
    HelloRows,
    /// A hello shorter than its fields.
    #[error("hello too short")]
    TruncatedHello,
    /// A hello whose instance is 0, which means "none".
    #[error("hello without an instance")]
    HelloInstance,
}

impl WireError {
    /// Every bound there is.
    pub const ALL: [WireError; 30] = [
        WireError::TruncatedHeader,
        WireError::UnsupportedVersion,
        WireError::AuthenticatedUnsupported,
        WireError::UnsupportedKind,
        WireError::NoRows,
        WireError::TruncatedIndex,
        WireError::FirstRowStart,
        WireError::RowOrder,
        WireError::RowOverlap,
        WireError::RowGap,
        WireError::UnsupportedType,
        WireError::RowTooShort,
        WireError::RowBeyondData,
        WireError::TrailingData,
        WireError::InnerVersion,
        WireError::InnerLength,
        WireError::DataTooShort,
        WireError::IndexCount,
        WireError::NoBlocks,
        WireError::BlockOrder,
        WireError::TrailingIndex,
        WireError::UnknownTemplate,
        WireError::TemplateLength,
        WireError::RowRepetition,
        WireError::UnsupportedEntry,
        WireError::TruncatedReport,
        WireError::ReportItem,
        WireError::HelloRows,
        WireError::TruncatedHello,
        WireError::HelloInstance,
    ];

    /// The name of its counter; documented in docs/wire-format.md and stable.
    pub const fn name(self) -> &'static str {
        match self {
            WireError::TruncatedHeader => "truncated_header",
            WireError::UnsupportedVersion => "unsupported_version",
            WireError::AuthenticatedUnsupported => "authenticated_unsupported",
            WireError::UnsupportedKind => "unsupported_kind",
            WireError::NoRows => "no_rows",
            WireError::TruncatedIndex => "truncated_index",
            WireError::FirstRowStart => "first_row_start",
            WireError::RowOrder => "row_order",
            WireError::RowOverlap => "row_overlap",
            WireError::RowGap => "row_gap",
            WireError::UnsupportedType => "unsupported_type",
            WireError::RowTooShort => "row_too_short",
            WireError::RowBeyondData => "row_beyond_data",
            WireError::TrailingData => "trailing_data",
            WireError::InnerVersion => "inner_version",
            WireError::InnerLength => "inner_length",
            WireError::DataTooShort => "data_too_short",
            WireError::IndexCount => "index_count",
            WireError::NoBlocks => "no_blocks",
            WireError::BlockOrder => "block_order",
            WireError::TrailingIndex => "trailing_index",
            WireError::UnknownTemplate => "unknown_template",
            WireError::TemplateLength => "template_length",
            WireError::RowRepetition => "row_repetition",
            WireError::UnsupportedEntry => "unsupported_entry",
            WireError::TruncatedReport => "truncated_report",
            WireError::ReportItem => "report_item",
            WireError::HelloRows => "hello_rows",
            WireError::TruncatedHello => "truncated_hello",
            WireError::HelloInstance => "hello_instance",
        }
    }
}

/// What a packet to the pool port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pooled packet with its index in band.
    Pooled = 0,
    /// A pooled packet whose index travels in a packet of its own.
    DataOnly = 1,
    /// The indexes of such pooled packets.
    Index = 2,
    /// A pooled packet whose lengths both ends know.
    Predetermined = 3,
    /// A hello.
    Hello = 4,
    /// A pooled packet with short rows.
    Short = 5,
    /// A report to the sender of pooled packets.
    Report = 6,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Pooled, Kind::DataOnly, Kind::Index, Kind::Predetermined, Kind::Hello, Kind::Short, Kind::Report];

    /// The kind that a pool header gives.
    #[inline(always)]
    fn parse(&[version_kind, ..]: &[u8; HEADER_LEN]) -> Result<Kind, WireError> {
        if version_kind >> 4 != VERSION {
            return Err(WireError::UnsupportedVersion);
        }
        if version_kind & AUTHENTICATED != 0 {
            return Err(WireError::AuthenticatedUnsupported);
        }
        Kind::ALL.get(usize::from(version_kind & 0x0f)).copied().ok_or(WireError::UnsupportedKind)
    }
}

/// The header that every packet to the pool port starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolHeader {
    /// What follows.
    pub kind: Kind,
    /// Number of packets, 1 to 255, in a pooled packet of any kind; of blocks in a packet of indexes; 0 in a hello.
    pub count: u8,
    /// The TTL of the outer IP header as the last equipped node sent it.
    pub outer_ttl: u8,
    /// Names the template of a predetermined packet. In kind 0 a set of flags, of which [`OVERLAY`] is known. What is not
    /// known, and in all other kinds, is sent as 0 and ignored on receipt.
    pub template: u8,
    /// Counts what is sent from one source address and port to one destination address; wraps.
    pub sequence: u32,
}

impl PoolHeader {
    /// Reads the header at the start of a UDP payload. The count is not checked against the kind here.
    #[inline(always)]
    pub fn parse(payload: &[u8]) -> Result<PoolHeader, WireError> {
        let fixed = payload.first_chunk().ok_or(WireError::TruncatedHeader)?;
        Ok(PoolHeader::with_kind(Kind::parse(fixed)?, fixed))
    }

    /// The header of a packet of this kind.
    #[inline(always)]
    fn with_kind(kind: Kind, fixed: &[u8; HEADER_LEN]) -> PoolHeader {
        let &[_, count, outer_ttl, template, s0, s1, s2, s3] = fixed;
        PoolHeader { kind, count, outer_ttl, template, sequence: u32::from_be_bytes([s0, s1, s2, s3]) }
    }

    /// Whether this is a pooled packet between overlay nodes: nobody but its addressee looks at its rows.
    #[inline(always)]
    pub fn is_overlay(&self) -> bool {
        self.kind == Kind::Pooled && self.template & OVERLAY != 0
    }

    /// Writes the header as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        // As one word: it is read as such for the checksum, soon after.
        *out = self.word().to_le_bytes();
    }

    /// The header as it is on the wire, as a little-endian word.
    #[inline]
    pub fn word(&self) -> u64 {
        let start = u32::from_be_bytes([VERSION << 4 | self.kind as u8, self.count, self.outer_ttl, self.template]);
        (u64::from(start) << 32 | u64::from(self.sequence)).swap_bytes()
    }
}

#[cfg(test)]
pub(crate) use self::{
    data_only::tests::parted,
    index_packet::tests::index_packet,
    pooled_packet::tests::pooled,
    template::tests::{predetermined, templates},
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_in_snake_case() {
        let names: std::collections::HashSet<_> = WireError::ALL.iter().map(|error| error.name()).collect();
        assert_eq!(names.len(), WireError::ALL.len());
        for name in names {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
    }
}
