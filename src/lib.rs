//! crmirror: mirrors Zoho CRM records onto an edge device.

pub mod mirror;
pub mod secret;
pub mod upstream;
