//! The crate seen from outside.

mod round_trip;
mod sample;
