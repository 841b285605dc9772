//! Any bytes on the worker's channel: a frame, the beginning of one, or none, and never anything in between.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/conformance/frames.rs"]
mod frames;

fuzz_target!(|bytes: &[u8]| frames::check(bytes));
