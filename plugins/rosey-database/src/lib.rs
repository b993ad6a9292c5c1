//! The chat bot's database service of catalogue R, as a component. What it does is in `rosey.rs`: the
//! tests make a service that lies of the same file.

mod kv;
mod rosey;

wavetank_sdk::service!(rosey::Rosey);
