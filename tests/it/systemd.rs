//! crmirror under systemd, which does not run here: a stand-in says and hears what systemd's
//! protocols say.
//!
//! - `stand_in`: where a service says how it is. `telling`: what the daemon says, and when.
//! - `sockets`: those that are passed. `swaps`: the binary is replaced under a stream of callbacks.
//! - `watchdog`: who stands still is noticed, who is slow is let be. `units`: the unit files.

mod sockets;
mod stand_in;
mod swaps;
mod telling;
mod units;
mod watchdog;
