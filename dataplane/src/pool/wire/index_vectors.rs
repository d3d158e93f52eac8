//! The golden vectors of kinds 1, 2 and 3 in tests/vectors/indexes: hex pairs, and comments that say what they mean.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{
    BLOCK_HEADER_LEN, DataOnly, HEADER_LEN, IndexPacket, Kind, PoolHeader, Predetermined, ROW_LEN, Row, RowType,
    Template, TemplateId, Templates, WireError, write_block_header,
};

/// A file: its `# key: value` comments, and the UDP payload.
struct Vector {
    keys: BTreeMap<String, String>,
    payload: Vec<u8>,
}

impl Vector {
    fn read(text: &str) -> Vector {
        let mut vector = Vector { keys: BTreeMap::new(), payload: Vec::new() };
        for line in text.lines() {
            let (hex, comment) = line.split_once('#').unwrap_or((line, ""));
            vector.payload.extend(hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect("a hex pair")));
            if let (true, Some((key, value))) = (hex.trim().is_empty(), comment.trim().split_once(": ")) {
                vector.keys.insert(key.to_owned(), value.to_owned());
            }
        }
        vector
    }

    fn key(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }

    /// `7=60,200 8=60`: numbers, each with a list of lengths.
    fn lists(&self, key: &str) -> Vec<(u32, Vec<u16>)> {
        let list = |lengths: &str| lengths.split(',').map(|length| length.parse().expect("a length")).collect();
        let entry = |entry: &str| {
            let (number, lengths) = entry.split_once('=').expect("number=lengths");
            (number.parse().expect("a number"), list(lengths))
        };
        self.key(key).split_whitespace().map(entry).collect()
    }

    fn templates(&self) -> Templates {
        let template = |(id, lengths): (u32, Vec<u16>)| {
            let id = TemplateId::new(id.try_into().expect("at most 255")).expect("not 0");
            (id, Template::new(&lengths).expect("sound lengths"))
        };
        self.lists("templates").into_iter().map(template).collect()
    }
}

/// What a payload says, in the words of its vector: for packets, their lengths.
fn meaning(vector: &Vector, all: &BTreeMap<String, Vector>) -> Result<String, WireError> {
    let joined = |lengths: &mut dyn Iterator<Item = String>| lengths.collect::<Vec<_>>().join(" ");
    let of_packets = |packets: Vec<&[u8]>| {
        assert_eq!(packets.concat(), vector.payload[HEADER_LEN..], "one behind the other, from the header on");
        joined(&mut packets.iter().map(|packet| packet.len().to_string()))
    };
    match vector.key("kind") {
        "1" => {
            let data = DataOnly::parse(&vector.payload)?;
            let index = all.get(vector.key("index")).expect("its index has a vector too");
            let index = IndexPacket::parse(&index.payload).expect("a sound index");
            let block = index.blocks().find(|block| block.sequence == data.header().sequence).expect("a block");
            Ok(of_packets(data.join(block.rows)?.rows().map(|(_, packet)| packet).collect()))
        }
        "2" => {
            let of_block = |rows: &[[u8; 6]]| {
                let lengths = rows.iter().map(|row| u16::from_be_bytes([row[2], row[3]]).to_string());
                lengths.collect::<Vec<_>>().join(",")
            };
            let index = IndexPacket::parse(&vector.payload)?;
            Ok(joined(&mut index.blocks().map(|block| format!("{}={}", block.sequence, of_block(block.rows)))))
        }
        "3" => {
            let templates = vector.templates();
            let packet = Predetermined::parse(&vector.payload, &templates)?;
            Ok(of_packets(packet.packets().collect()))
        }
        other => panic!("kind {other:?}"),
    }
}

/// What our writers make of what a vector says: of its packets, where it has some, only the bytes are taken from it.
fn written(vector: &Vector) -> Vec<u8> {
    let PoolHeader { sequence, template, .. } = PoolHeader::parse(&vector.payload).expect("a pool header");
    let of_header = |kind, count: usize, template| {
        let mut header = [0; HEADER_LEN];
        PoolHeader { kind, count: count as u8, outer_ttl: 64, template, sequence }.write(&mut header);
        header.to_vec()
    };
    let packets = vector.key("packets").split_whitespace().count();
    let data = &vector.payload[HEADER_LEN..];
    match vector.key("kind") {
        "1" => [&of_header(Kind::DataOnly, packets, 0)[..], data].concat(),
        "2" => {
            let blocks = vector.lists("blocks");
            let mut payload = of_header(Kind::Index, blocks.len(), 0);
            for (of, lengths) in blocks {
                let mut block = [0; BLOCK_HEADER_LEN];
                write_block_header(of, lengths.len() as u8, &mut block);
                payload.extend(block);
                let mut start = 0;
                for length in lengths {
                    let mut row = [0; ROW_LEN];
                    Row { start, length, ttl: 1, row_type: RowType::WholeIpv4 }.write(&mut row);
                    payload.extend(row);
                    start += length;
                }
            }
            payload
        }
        "3" => [&of_header(Kind::Predetermined, packets, template)[..], data].concat(),
        other => panic!("kind {other:?}"),
    }
}

#[test]
fn every_golden_vector_means_what_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/indexes");
    let files = std::fs::read_dir(&directory).expect("tests/vectors/indexes").map(|file| file.expect("a file").path());
    let vectors: BTreeMap<String, Vector> = files
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, Vector::read(&std::fs::read_to_string(&path).expect("a text")))
        })
        .collect();
    let mut refused = HashSet::new();
    for (name, vector) in &vectors {
        match meaning(vector, &vectors) {
            Ok(found) => {
                let expected = if vector.key("kind") == "2" { "blocks" } else { "packets" };
                assert_eq!(found, vector.key(expected), "{name}");
                assert_eq!(written(vector), vector.payload, "{name}: to the byte");
            }
            Err(error) => {
                assert_eq!(error.name(), vector.key("refused"), "{name}");
                refused.insert(error);
            }
        }
    }
    for error in [
        WireError::DataTooShort,
        WireError::IndexCount,
        WireError::NoBlocks,
        WireError::BlockOrder,
        WireError::TrailingIndex,
        WireError::UnknownTemplate,
        WireError::TemplateLength,
    ] {
        assert!(refused.contains(&error), "{error:?} has no vector");
    }
}
