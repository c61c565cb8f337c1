#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| presence::fuzzing::target("answer")(bytes));
