//! A web page of another origin cannot read the mirror, nor command the daemon.
//!
//! A browser sends what a page asks for, and lets the page read the reply only if the reply says
//! so: for a foreign origin it must not.

use crate::agent::Place;
use crate::sim::Heard;

const KIOSK: &str = "http://kiosk.local";
const SECRET: &str = "Moriarty";

fn allowed(heard: &Heard) -> Option<&str> {
    heard.header("access-control-allow-origin")
}

#[test]
fn a_page_of_another_origin_reads_nothing() {
    let mut place = Place::new("pages");
    place.set("local.allow_origins", &format!("[\"{KIOSK}\"]"));
    let id = place.upstream().create("Leads", &[("Last_Name", &format!("\"{SECRET}\""))]);
    place.begin();
    let one = format!("/crm/v2/Leads/{id}");
    let port = place.local.port();

    // Rebinding: the page's own name leads to this device, and the request names the page.
    for host in ["evil.example", &format!("evil.example:{port}"), "kiosk.local.evil.example"] {
        for target in [&*one, "/crm/v2/Leads", "/status"] {
            let heard = place.ask("GET", target, &[("Host", host)]);
            assert_eq!(heard.status, 421, "{host} {target}");
            assert!(!heard.text().contains(SECRET), "{host} {target}");
        }
        let heard = place.ask("POST", "/sync", &[("Host", host)]);
        assert_eq!(heard.status, 421, "{host} may command");
    }

    // Asked from elsewhere by the device's right name: the reply is not the page's to read.
    for origin in [
        "http://evil.example",
        "https://kiosk.local",
        "http://kiosk.local:8080",
        "http://kiosk.local.evil.example",
        "http://sub.kiosk.local",
        "http://kiosk.local@evil.example",
        "null",
        "*",
        "file://",
        "",
    ] {
        for target in [&*one, "/crm/v2/Leads", "/status", "/nothing"] {
            for method in ["GET", "POST", "OPTIONS"] {
                let heard = place.ask(method, target, &[("Origin", origin)]);
                assert_eq!(allowed(&heard), None, "{origin}: {method} {target}");
                let credentials = heard.header("access-control-allow-credentials");
                assert_eq!(credentials, None, "{origin}: {method} {target}");
            }
        }
        // Commands have an effect though the reply is not read.
        for command in ["/sync", "/channel?action=close"] {
            let heard = place.ask("POST", command, &[("Origin", origin)]);
            assert_eq!(heard.status, 403, "{origin}: POST {command}");
        }
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
        let heard = place.ask("OPTIONS", &one, &preflight);
        assert_eq!(allowed(&heard), None, "{origin}: preflight");
        assert_eq!(heard.header("access-control-allow-methods"), None, "{origin}: preflight");
    }

    let heard = place.ask("GET", &one, &[("Origin", KIOSK)]);
    assert_eq!((heard.status, allowed(&heard)), (200, Some(KIOSK)));
    assert!(heard.text().contains(SECRET) && heard.header("vary").is_some());
    let heard = place.ask("POST", "/sync", &[("Origin", KIOSK)]);
    assert_eq!((heard.status, allowed(&heard)), (202, Some(KIOSK)));
}
