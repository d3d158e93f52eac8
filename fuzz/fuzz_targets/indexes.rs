//! Kinds 1, 2 and 3: the input is cut in two, a pooled packet and an index packet. What is accepted covers its data, alone
//! or joined with any block.
#![no_main]

use carpool_dataplane::pool::wire::{DataOnly, IndexPacket, Predetermined, Template, TemplateId, Templates};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], Vec<u16>)| {
    let (packet, index, lengths) = input;
    if let (Ok(data), Ok(index)) = (DataOnly::parse(packet), IndexPacket::parse(index)) {
        assert_eq!(index.blocks().count(), usize::from(index.header().count));
        for block in index.blocks() {
            let Ok(joined) = data.join(block.rows) else { continue };
            let packets: Vec<&[u8]> = joined.rows().map(|(_, packet)| packet).collect();
            assert_eq!(packets.len(), usize::from(data.header().count));
            assert_eq!(packets.concat(), data.data());
        }
    }
    let Ok(template) = Template::new(&lengths) else { return };
    let templates: Templates = (1..=u8::MAX).filter_map(TemplateId::new).map(|id| (id, template)).collect();
    if let Ok(predetermined) = Predetermined::parse(packet, &templates) {
        let packets: Vec<&[u8]> = predetermined.packets().collect();
        assert_eq!(packets.len(), usize::from(predetermined.header().count));
        assert_eq!(packets.concat(), packet[8..]);
    }
});
