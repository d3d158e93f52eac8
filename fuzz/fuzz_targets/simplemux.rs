//! Simplemux: what is accepted is covered by its entries, and what we could have written is written as it was read.
#![no_main]

use carpool_dataplane::pool::simplemux::{Datagram, Flavour, Writer, PROTOCOL_IPV4};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, payload)) = input.split_first() else { return };
    let flavour = if choice & 1 == 0 { Flavour::Normal } else { Flavour::Fast };
    let Ok(datagram) = Datagram::parse(flavour, payload) else { return };
    let entries: Vec<_> = datagram.entries().collect();
    assert_eq!(entries.len(), usize::from(datagram.count()));
    let last = entries.last().expect("no datagram without an entry").bytes();
    assert_eq!(last.as_ptr_range().end, payload.as_ptr_range().end);

    let single = flavour == Flavour::Fast || payload[0] & 0x80 != 0;
    if single && entries.iter().all(|entry| entry.protocol() == PROTOCOL_IPV4) {
        let mut writer = Writer::new(flavour);
        let mut written = Vec::new();
        for entry in &entries {
            written.extend(writer.add(entry.bytes().len()).expect("it was read"));
            written.extend_from_slice(entry.bytes());
        }
        assert_eq!(written, payload);
    }
});
