//! Feeds the function of its name in the tests' harness.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wavetank_tests::untrusted::feed("suite", bytes));
