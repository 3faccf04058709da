//! Taste as a test: what the house rules say and a machine can see. Nothing is built or run here,
//! so it costs a second.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may say so by panicking"
)]

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;
