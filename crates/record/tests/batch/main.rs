//! The crate seen from outside.

mod damage;
mod golden;
mod keep;
mod peer;
mod round_trip;
mod sample;
