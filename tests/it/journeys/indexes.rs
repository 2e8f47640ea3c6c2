//! Indexes as the person sees them who names fields in the configuration: built while the daemon
//! works, there at once after `kill -9`, and gone when they are named no longer.

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;

fn until_indexes(place: &mut Place, expected: &Value) {
    place.until(&format!("the indexes are {expected}"), |place| {
        (place.status()["modules"]["Leads"]["indexes"] == *expected).then_some(())
    });
}

#[test]
fn an_index_is_built_kept_and_removed() {
    let mut place = Place::new("indexes");
    let ids = old_leads(&mut place.upstream(), 300);
    place.modules(&[("Leads", "index = [\"Phone\"]")]).begin();
    let both = json!({ "Modified_Time": "whole", "Phone": "whole" });
    until_indexes(&mut place, &both);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"5551\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"5551\"");
    place.kill().start().ready();
    assert_eq!(place.status()["modules"]["Leads"]["indexes"], both, "nothing is built again");

    place.kill().modules(&[("Leads", "index = [\"Last_Name\"]")]).start().ready();
    until_indexes(&mut place, &json!({ "Modified_Time": "whole", "Last_Name": "whole" }));
    place.stop();
    let found = place.run(&["fsck"]);
    assert_eq!(found.code, 0, "{found:?}");
}
