//! What holds for whatever bytes come from outside, tried with the fuzzer's seeds.

#[path = "../fuzz/promises.rs"]
mod promises;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_keeps_its_promise() {
    for (target, promise) in promises::ALL {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
        let mut tried = 0;
        for seed in fs::read_dir(&seeds).unwrap() {
            promise(&fs::read(seed.unwrap().path()).unwrap());
            tried += 1;
        }
        assert!(tried > 1, "{target} has no seeds");
    }
}
