#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| streamraft_fuzz::log_wire(data));
