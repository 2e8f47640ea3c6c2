//! crmirror's command.
fn main() {}
