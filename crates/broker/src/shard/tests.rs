//! The shard against a model, on a disk whose power goes at any moment.
//!
//! A list of steps, commands and mishaps alike, is played to a real shard with a real journal on
//! a simulated disk. After every step the whole state must be what a naive model says; after every
//! crash it must be what it was after the last durable commit, and whatever a reply that has left
//! promised must still hold.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod act;
mod act_catalog;
mod act_stream;
mod act_work;
mod check;
mod decide;
mod model;
mod op;
mod promise;
mod world;

use proptest::prelude::*;

use world::World;

/// So many cases, unless `PROPTEST_CASES` asks for another number.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked = asked.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn whatever_happens_every_promise_is_kept(ops in op::ops()) {
        World::run(&ops);
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn the_same_steps_write_the_same_journal(ops in op::ops()) {
        let (one, other) = (World::run(&ops), World::run(&ops));
        prop_assert!(one.content() == other.content());
    }
}
