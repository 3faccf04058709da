//! The crate seen from outside.

mod damage;
mod golden;
mod peer;
mod round_trip;
mod sample;
