//! Every shape of a callback that upstream may send is understood.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place};
use crate::sim::{Moment, http};

/// The largest id, one that a signed number has not, one that a double has not, the smallest.
const IDS: [u64; 4] = [u64::MAX, 1 << 63, (1 << 53) + 1, 1];

/// Changes a lead where no catch-up looks, and sees that the callback that `made` makes brings it.
fn brings(place: &mut Place, id: u64, made: impl Fn(&Place, Value) -> u16) {
    let score = fastrand::u32(..).to_string();
    assert!(place.upstream().touch_formula("Leads", id, "Score", &score));
    let body = place.callback("update", &[id]);
    assert_eq!(made(place, body), 200);
    place.until_reads("Leads", id, "Score", &score);
}

fn changed(key: &'static str, value: Value) -> impl Fn(&Place, Value) -> u16 {
    move |place, mut body| {
        body[key] = value.clone();
        place.post(&body.to_string())
    }
}

#[test]
fn every_shape_of_a_callback_brings_its_record() {
    let mut place = Place::new("shapes");
    let ids = old_leads(&mut place.upstream(), 3);
    place.set("channel.id", &format!("\"{}\"", i64::MAX));
    place.begin();
    let id = ids[1];
    for operation in ["insert", "update", "create", "edit", "delete"] {
        brings(&mut place, id, changed("operation", json!(operation)));
    }
    for channel in [json!(i64::MAX), json!(i64::MAX.to_string())] {
        brings(&mut place, id, changed("channel_id", channel));
    }
    brings(&mut place, id, changed("ids", json!([id])));
    brings(&mut place, id, changed("ids", json!([id, id.to_string(), ids[0]])));
    let origin = place.loopback.origin();
    for version in ["v2", "v2.1", "v8"] {
        let uri = json!(format!("{origin}/crm/{version}/Leads"));
        brings(&mut place, id, changed("resource_uri", uri));
    }
    for time in [Value::Null, json!(0), json!(1.5), json!(u64::MAX)] {
        brings(&mut place, id, changed("server_time", time));
    }
    brings(&mut place, id, changed("a_key_of_next_year", json!({"deep": [1, {"x": null}]})));
    brings(&mut place, id, changed("affected_values", json!([{"record_id": "1", "values": {}}])));
    brings(&mut place, id, changed("query_params", Value::Null));

    for media in ["application/x-www-form-urlencoded;charset=UTF-8", "text/plain", "x", ""] {
        brings(&mut place, id, |place, body| {
            let headers = [("Content-Type", media)];
            let body = body.to_string();
            let heard = http(place.callbacks, "POST", CALLBACK_PATH, &headers, body.as_bytes());
            heard.unwrap().status
        });
    }
    brings(&mut place, id, |place, body| {
        let target = format!("{CALLBACK_PATH}?from=upstream");
        http(place.callbacks, "POST", &target, &[], body.to_string().as_bytes()).unwrap().status
    });
    brings(&mut place, id, |place, body| place.post(&format!("\n {body:#} \n")));
    brings(&mut place, id, |place, body| {
        place.post(&format!("{body}{}", " ".repeat((1 << 20) - body.to_string().len())))
    });
    brings(&mut place, id, |place, body| chunked(place, &body.to_string()));
}

/// Posts a body in chunks of 7 bytes.
fn chunked(place: &Place, body: &str) -> u16 {
    let mut stream = TcpStream::connect(place.callbacks).unwrap();
    stream.set_read_timeout(Some(crate::agent::PATIENCE)).unwrap();
    let mut request = format!(
        "POST {CALLBACK_PATH} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n"
    );
    for piece in body.as_bytes().chunks(7) {
        request.push_str(&format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
    }
    stream.write_all(format!("{request}0\r\n\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn ids_of_64_bits_stay_exact() {
    let mut place = Place::new("ids");
    let at = Moment::from_unix(place.upstream().now().unix() - 90 * 86_400);
    for id in IDS {
        place.upstream().load("Leads", id, at, &[("Last_Name", "\"x\"")]);
    }
    place.begin();
    assert_eq!(
        place.records("Leads").into_keys().collect::<Vec<_>>(),
        [IDS[3], IDS[2], IDS[1], IDS[0]]
    );
    for id in IDS {
        brings(&mut place, id, |place, body| place.post(&body.to_string()));
        brings(&mut place, id, changed("ids", json!([id])));
        assert_eq!(place.record("Leads", id).unwrap()["id"], format!("\"{id}\""));
    }
    let score = "\"all in one\"";
    for id in IDS {
        place.upstream().touch_formula("Leads", id, "Score", score);
    }
    assert_eq!(place.post(&place.callback("update", &IDS).to_string()), 200);
    for id in IDS {
        place.until_reads("Leads", id, "Score", score);
    }
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}

#[test]
fn a_callback_of_many_ids_brings_them_all() {
    let mut place = Place::new("many-ids");
    let ids = old_leads(&mut place.upstream(), 130);
    place.begin();
    place.upstream().knobs.ids_per_callback = 1_000;
    place.upstream().mass_update("Leads", &ids[..120], &[("Phone", "\"1\"")]);
    assert!(place.upstream().delete("Leads", ids[125]));
    place.carry();
    let truth = place.truth("Leads", false);
    place.until("all have arrived", |place| (place.records("Leads") == truth).then_some(()));
    assert_eq!(place.status()["modules"]["Leads"]["records"], 129);
}

#[test]
fn the_token_before_the_last_renewal_is_still_accepted() {
    let mut place = Place::new("old-token");
    let ids = old_leads(&mut place.upstream(), 1);
    place.begin();
    let first = place.channel()["token"].clone();
    assert_eq!(place.run(&["channel", "renew"]).code, 0);
    let second = place.channel()["token"].clone();
    assert_ne!(first, second, "a renewal makes a fresh token");
    brings(&mut place, ids[0], changed("token", first.clone()));
    brings(&mut place, ids[0], changed("token", second.clone()));
    place.kill().begin();
    brings(&mut place, ids[0], changed("token", first));
    brings(&mut place, ids[0], changed("token", second));
}

#[test]
fn a_repeated_callback_is_counted_and_does_no_harm() {
    let mut place = Place::new("repeated");
    let ids = old_leads(&mut place.upstream(), 1);
    place.begin();
    let body = place.callback("update", &ids).to_string();
    for _ in 0..3 {
        assert_eq!(place.post(&body), 200);
    }
    place.until_settled();
    let callbacks = place.status()["callbacks"].clone();
    assert_eq!(callbacks, json!({"accepted": 3, "refused": 0, "duplicate": 2}));
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}
