//! Recordings as files: pcap with nanosecond timestamps, which tcpdump and Wireshark read.

use std::{fs::File, io::BufWriter, path::Path};

use pcap_file::{
    DataLink, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
};

use crate::{
    capture::Frame,
    error::{Doing, Error, Result},
};

/// Writes frames in order of time.
pub fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a Frame>) -> Result<()> {
    let mut frames: Vec<_> = frames.into_iter().collect();
    frames.sort_by_key(|frame| frame.at);
    let file = File::create(path).doing(format!("creating {}", path.display()))?;
    let header =
        PcapHeader { ts_resolution: TsResolution::NanoSecond, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let failed = |error: pcap_file::PcapError| Error::Malformed {
        what: format!("the recording for {}", path.display()),
        why: error.to_string(),
    };
    let mut writer = PcapWriter::with_header(BufWriter::new(file), header).map_err(failed)?;
    for frame in frames {
        let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        writer.write_packet(&PcapPacket::new(frame.at, length, &frame.bytes)).map_err(failed)?;
    }
    writer
        .into_writer()
        .into_inner()
        .map_err(|error| error.into_error())
        .doing(format!("writing {}", path.display()))?;
    Ok(())
}
