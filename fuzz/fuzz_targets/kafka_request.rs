//! Kafka requests from bytes, of any key and version: none may panic or take memory that the input
//! does not warrant, and what is a request must be the same one when encoded and decoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| forebay_kafka::fuzz_request(data));
