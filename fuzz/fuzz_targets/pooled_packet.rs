//! Kind 0: in what is accepted the rows cover the data exactly, and it is written as it was read.
#![no_main]

use carpool_dataplane::pool::wire::{PooledPacket, Row, header_and_rows_len, write_header_and_rows};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(packet) = PooledPacket::parse(payload) else { return };
    let header = packet.header();
    let (rows, packets): (Vec<Row>, Vec<&[u8]>) = packet.rows().unzip();
    assert_eq!(rows.len(), usize::from(header.count));
    assert_eq!(packets.concat(), packet.data());

    let mut written = vec![0; header_and_rows_len(rows.len())];
    write_header_and_rows(header.outer_ttl, header.sequence, &rows, &mut written).expect("rows that were read");
    written[3] = header.template; // what a receiver ignores
    written.extend_from_slice(packet.data());
    assert_eq!(written, payload);
});
