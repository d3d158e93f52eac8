//! Frames of a capture file, to be sent to the gateway.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use carpool_dataplane::packet::ethernet;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::GenError;
use crate::frames::{Link, MAX_FRAME};

/// The most that is kept in memory, in bytes.
const MAX_BYTES: usize = 1 << 30;

/// Reads the frames of a pcap or pcapng file, and addresses them to the gateway.
pub fn read(path: &Path, link: Link) -> Result<Vec<Vec<u8>>, GenError> {
    let failed = |problem: String| GenError::new(format!("{}: {problem}", path.display()));
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(error.to_string()))?);
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(|_| failed("no capture file: it is shorter than 4 bytes".into()))?;
    file.rewind().map_err(|error| failed(error.to_string()))?;
    let mut frames = Frames { link, frames: vec![], bytes: 0 };
    // The section header block of pcapng.
    let read = if magic == [0x0a, 0x0d, 0x0d, 0x0a] { frames.read_ng(file) } else { frames.read_classic(file) };
    read.map_err(failed)?;
    if frames.frames.is_empty() {
        return Err(failed("there is no frame in it".into()));
    }
    Ok(frames.frames)
}

struct Frames {
    link: Link,
    frames: Vec<Vec<u8>>,
    bytes: usize,
}

impl Frames {
    fn read_classic(&mut self, file: impl Read) -> Result<(), String> {
        let mut reader = PcapReader::new(file).map_err(|error| error.to_string())?;
        check(reader.header().datalink)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| format!("frame {}: {error}", self.frames.len() + 1))?;
            self.push(&packet.data, packet.orig_len)?;
        }
        Ok(())
    }

    fn read_ng(&mut self, file: impl Read) -> Result<(), String> {
        let mut reader = PcapNgReader::new(file).map_err(|error| error.to_string())?;
        while let Some(block) = reader.next_block() {
            let block = block.map_err(|error| format!("behind frame {}: {error}", self.frames.len()))?;
            match block {
                Block::InterfaceDescription(interface) => check(interface.linktype)?,
                Block::EnhancedPacket(packet) => self.push(&packet.data, packet.original_len)?,
                Block::SimplePacket(packet) => self.push(&packet.data, packet.original_len)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, data: &[u8], whole: u32) -> Result<(), String> {
        let number = self.frames.len() + 1;
        if data.len() != whole as usize {
            return Err(format!("frame {number} was cut from {whole} to {} bytes when it was captured", data.len()));
        }
        if data.len() < ethernet::HEADER_LEN || data.len() > usize::from(MAX_FRAME) {
            return Err(format!("frame {number} has {} bytes: expected 14 to {MAX_FRAME}", data.len()));
        }
        self.bytes += data.len();
        if self.bytes > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes of frames: take a part of it"));
        }
        let mut frame = data.to_vec();
        for (to, from) in frame.iter_mut().zip(self.link.gateway.0.iter().chain(&self.link.source.0)) {
            *to = *from;
        }
        self.frames.push(frame);
        Ok(())
    }
}

fn check(link: DataLink) -> Result<(), String> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(format!("it is of {link:?}: expected Ethernet")) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use carpool_dataplane::packet::MacAddr;
    use pcap_file::pcap::{PcapPacket, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;

    use super::*;

    const LINK: Link = Link { source: MacAddr([2; 6]), gateway: MacAddr([4; 6]) };

    /// A file that goes with its owner.
    struct Capture(PathBuf);

    impl Capture {
        fn new(name: &str, bytes: &[u8]) -> Capture {
            let path = std::env::temp_dir().join(format!("carpool-gen-{name}-{}", std::process::id()));
            fs::write(&path, bytes).expect("the temporary directory is writable");
            Capture(path)
        }
    }

    impl Drop for Capture {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn classic(frames: &[(&[u8], u32)]) -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new()).expect("memory");
        for (frame, length) in frames {
            writer.write_packet(&PcapPacket::new(Duration::ZERO, *length, frame)).expect("memory");
        }
        writer.into_writer()
    }

    #[test]
    fn both_formats_are_read_and_addressed_to_the_gateway() {
        let frames: Vec<Vec<u8>> = (0..3u8).map(|number| vec![number; 60 + usize::from(number)]).collect();
        let lengths: Vec<(&[u8], u32)> = frames.iter().map(|frame| (&frame[..], frame.len() as u32)).collect();
        let mut writer = PcapNgWriter::new(Vec::new()).expect("memory");
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0xffff, options: vec![] };
        writer.write_pcapng_block(interface).expect("memory");
        for frame in &frames {
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::ZERO,
                original_len: frame.len() as u32,
                data: frame.into(),
                options: vec![],
            };
            writer.write_pcapng_block(packet).expect("memory");
        }
        for (name, bytes) in [("classic", classic(&lengths)), ("ng", writer.into_inner())] {
            let file = Capture::new(name, &bytes);
            let read = read(&file.0, LINK).expect("sound");
            assert_eq!(read.len(), 3, "{name}");
            for (read, frame) in read.iter().zip(&frames) {
                assert_eq!((&read[..6], &read[6..12], &read[12..]), (&[4; 6][..], &[2; 6][..], &frame[12..]), "{name}");
            }
        }
    }

    #[test]
    fn files_that_cannot_be_sent_are_refused_with_a_reason() {
        let long = vec![0; 1519];
        for (name, bytes, reason) in [
            ("empty", vec![], "shorter than 4 bytes"),
            ("none", classic(&[]), "no frame"),
            ("cut", classic(&[(&[0; 60], 100)]), "cut"),
            ("short", classic(&[(&[0; 13], 13)]), "14 to 1518"),
            ("long", classic(&[(&long, 1519)]), "14 to 1518"),
            ("text", b"no capture file at all, but some text".to_vec(), ""),
        ] {
            let file = Capture::new(name, &bytes);
            let error = read(&file.0, LINK).expect_err(name).to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(read(Path::new("/nowhere/at/all"), LINK).is_err());
    }
}
