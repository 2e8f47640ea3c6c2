//! Has the fuzzer try the promise `callback`.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::callback(bytes));
