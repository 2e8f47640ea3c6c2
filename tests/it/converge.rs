//! It converges: after any mixture of what can go wrong, the mirror becomes equal to upstream.
//!
//! - `world` upstream, the post, a device with a real store, and time, from one seed · `agent` the
//!   heart, store and reception · `device` its clocks · `people` what happens upstream.
//! - `story` random stories in three forms: every road open, callbacks only, catch-up only.
//! - `plot` stories in a line each, for what once went wrong · `cost` what it costs upstream.
//!
//! `SEEDS=20000 cargo test --test it converge` tells more stories, `SEEDS=7..8` one again.

mod agent;
mod cost;
mod device;
mod people;
mod plot;
mod story;
mod world;

use crate::scratch::seeds;
use story::{Form, tell};

#[test]
fn with_every_road_open() {
    seeds(40).for_each(|seed| tell(Form::EveryRoad, seed));
}

#[test]
fn by_callbacks_alone() {
    seeds(40).for_each(|seed| tell(Form::Callbacks, seed));
}

#[test]
fn by_catch_up_alone() {
    seeds(40).for_each(|seed| tell(Form::CatchUp, seed));
}
