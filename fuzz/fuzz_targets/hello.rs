//! Kind 4: what is accepted is written as it was read, but for what a receiver ignores.
#![no_main]

use carpool_dataplane::pool::hello::{HELLO_LEN, Hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(hello) = Hello::parse(payload) else { return };
    let mut written = [0; HELLO_LEN];
    hello.write(&mut written);
    let mut expected = payload[..HELLO_LEN].to_vec();
    expected[3] = 0; // template
    expected[HELLO_LEN - 2..].fill(0); // reserved
    assert_eq!(written, expected[..]);
});
