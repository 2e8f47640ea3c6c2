//! What is read of the platform's callbacks, and what they lead to.

use super::*;

fn parse(body: &str) -> Result<Payload, String> {
    Payload::parse(body.as_bytes())
}

#[test]
fn every_event_is_read_with_a_number_and_with_a_text() {
    for event in Event::ALL {
        for org in ["387238", "\"387238\""] {
            let body = format!(
                r#"{{"x":[1],"event":"{}","orgId":{org},"securityContext":"S3CRET"}}"#,
                event.as_str()
            );
            let payload = parse(&body).unwrap();
            assert_eq!((payload.event, payload.org_id.as_str()), (event, "387238"));
            assert_eq!(payload.security_context.reveal(), "S3CRET");
            assert!(!format!("{payload:?}").contains("S3CRET"));
        }
        let told = serde_json::to_string(&event).unwrap();
        assert_eq!(told, format!("\"{}\"", event.as_str()), "one name for all");
    }
}

#[test]
fn what_is_no_payload_is_refused_and_not_repeated() {
    let long = "S3CRET".repeat(CONTEXT_LIMIT / 6 + 1);
    let long = format!(r#"{{"event":"onInstall","orgId":1,"securityContext":"{long}"}}"#);
    for body in [
        "",
        "[]",
        "\"S3CRET\"",
        r#"{"event":"onS3CRET","orgId":1,"securityContext":"a"}"#,
        r#"{"event":"ONINSTALL","orgId":1,"securityContext":"a"}"#,
        r#"{"event":"onInstall","orgId":"S3CRET","securityContext":"a"}"#,
        r#"{"event":"onInstall","orgId":-1,"securityContext":"a"}"#,
        r#"{"event":"onInstall","orgId":1.5,"securityContext":"a"}"#,
        r#"{"event":"onInstall","orgId":123456789012345678901,"securityContext":"a"}"#,
        r#"{"event":"onInstall","orgId":1,"securityContext":""}"#,
        r#"{"event":"onInstall","orgId":1,"securityContext":7}"#,
        r#"{"event":"onInstall","orgId":1}"#,
        r#"{"orgId":1,"securityContext":"S3CRET"}"#,
        r#"{"event":"onInstall","event":"onUninstall","orgId":1,"securityContext":"a"}"#,
        &long,
    ] {
        let why = parse(body).expect_err(body);
        assert!(!why.contains("S3CRET"), "{body}: {why}");
    }
}

#[test]
fn a_record_says_what_was_announced_and_no_secret() {
    let recorded = Recorded {
        event: Event::TpaRevoke,
        org: OrgId::parse("387238").unwrap(),
        time: UpstreamTime::from_unix(0),
    };
    let record = recorded.record(7);
    let text =
        r#"{"event":"onTPARevoke","id":"7","orgId":"387238","time":"1970-01-01T00:00:00+00:00"}"#;
    assert_eq!((record.id(), record.json()), (RecordId::new(7), text));
    assert_eq!(Recorded::of(&record), Some(recorded));
}

#[test]
fn only_these_three_events_lead_to_something() {
    use Consequence::{Close, Nothing, Open, Wipe};
    let check = |event, on, removal, expected| {
        assert_eq!(consequence(event, on, removal), expected, "{event:?} {on:?} {removal:?}");
    };
    let removals = [None, Some(Removal::Closed), Some(Removal::Wiping), Some(Removal::Wiped)];
    for removal in removals {
        for (on, expected) in
            [(OnUninstall::Close, Close), (OnUninstall::Wipe, Wipe), (OnUninstall::Ignore, Nothing)]
        {
            check(Event::Uninstall, on, removal, expected);
            check(Event::ZohoAuthorise, on, removal, Open);
            check(Event::Install, on, removal, if removal.is_some() { Open } else { Nothing });
            for event in [
                Event::TpaAuthorise,
                Event::TpaRevoke,
                Event::Update,
                Event::ConfigParamAdd,
                Event::ConfigParamDelete,
            ] {
                check(event, on, removal, Nothing);
            }
        }
        let word = removal.map(Removal::as_str);
        assert_eq!(word.and_then(Removal::parse), removal);
    }
}
