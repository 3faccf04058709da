//! Bodies of SQS requests, read as every action: nothing may panic, and what is accepted comes back
//! as it went in.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| forebay_sqs::fuzz_request(data));
