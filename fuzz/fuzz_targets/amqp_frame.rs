//! A stream of AMQP frames from bytes: methods, content headers, properties. What is read must
//! come out the same when written and read again, and nothing may panic or nest without end.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| forebay_amqp::read_everything(data));
