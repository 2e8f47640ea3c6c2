//! The tests, as one program.
//!
//! `config`, `config_books`, `config_platform`, `wrong_config`, `credentials` what a person writes,
//! and what is said when it is wrong
//! · `criteria` the search language · `store`, `store_open` the store against a model, and from
//! whatever lies on the disk · `store_heal`, `small_disk` damaged, oversized and full · `fsync`,
//! `recorder`, `power` what the kernel was asked to bring to the disk, and what a power cut leaves
//! · `gate` the door: framing, limits, TLS · `sim` the simulator of upstream, `sim_rules` that it
//! is true to upstream · `transport` an upstream that means harm · `agent` the real binary in a
//! place of its own, `journeys` from what a person does to what a person sees, `attack` what
//! strangers do to it · `systemd` what it says to its service manager and takes from it, and the
//! unit files · `any_bytes` what holds for any bytes · `readme` that what README says is
//! so · `tidy` that the house keeps its rules · `scratch`, `directory` places on disk.
//! `store_packed` records made small, and large ones in parts · `store_kept` what earlier releases
//! wrote · `store_seed` what another device did, whole or not ·
//! `store_index` that indexes find what a look at everything finds, `terms` why they can ·
//! `store_documents` long texts · `package` the Debian package · `reads` the local interface in the
//! same process, where days go by at once · `outbox` that calls to functions arrive, `store_outbox`
//! where they lie meanwhile · `store_small` that memory and disk are given back.

// A test that cannot go on is to panic; clippy knows that of test functions, not of their helpers.
#![allow(clippy::unwrap_used)]

mod agent;
mod any_bytes;
mod attack;
mod config;
mod config_books;
mod config_platform;
mod converge;
mod credentials;
mod criteria;
mod directory;
mod fsync;
mod gate;
mod journeys;
mod outbox;
mod package;
mod power;
mod readme;
mod reads;
mod recorder;
mod scratch;
mod sim;
mod sim_rules;
mod small_disk;
mod store;
mod store_documents;
mod store_heal;
mod store_index;
mod store_kept;
mod store_open;
mod store_outbox;
mod store_packed;
mod store_seed;
mod store_small;
mod systemd;
mod terms;
mod tidy;
mod transport;
mod wrong_config;
