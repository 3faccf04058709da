//! The shard's frames from bytes, replayed one after the other: nothing may panic or take memory
//! that the input does not warrant, whatever story the frames tell.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| forebay_broker::fuzz_replay(data));
