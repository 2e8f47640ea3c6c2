//! Stories in a line each: what once went wrong, or must not.
//!
//! `check("create 7; edit 7; delete 7; deliver 3; deliver 1", "7: tombstone")`: records are named
//! by small numbers, callbacks by the order in which they were made; one that is not delivered is
//! lost. Before a colon stand the circumstances. Time passes only where the plot says so, and while
//! the heart waits in `wait`. `meanwhile` happens just before the next request is answered, or the
//! next that has a given part in its address.

use std::time::Duration;

use crmirror::mirror::ledger::ScanKind;
use crmirror::mirror::planner::Input;

use super::device::Time;
use super::people::{Desk, People};
use super::world::{START, Scripted, World};
use crate::sim::{Aim, Fault, Moment, RetryAfter, Upstream};

const MODULE: &str = "Deals";
/// Ids are beyond 2^53, as upstream's are.
const FIRST: u64 = 6_756_839_000_001_000_000;

struct Plot {
    world: World,
    fields: usize,
    count: u64,
}

/// Plays the plot, lets the heart do what it can do now, and compares what the mirror has of the
/// records that are expected.
fn check(plot: &str, expected: &str) {
    let (circumstances, steps) = plot.split_once(": ").unwrap_or(("", plot));
    let mut played = Plot::begin(circumstances);
    for step in steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        let words: Vec<&str> = step.split_whitespace().collect();
        played.step(&words);
    }
    played.world.settle();
    let held: Vec<String> = expected
        .split("; ")
        .map(|one| {
            let number: u64 = one.split_once(':').unwrap().0.parse().unwrap();
            format!("{number}: {}", played.world.word(MODULE, FIRST + number))
        })
        .collect();
    if held.join("; ") != expected {
        played.world.fail_on(&format!("{plot}\nshould lead to {expected}"), &held);
    }
}

impl Plot {
    /// A world in which the channel is open and nothing was made yet.
    fn begin(circumstances: &str) -> Plot {
        let is = |word: &str| circumstances.split_whitespace().any(|other| other == word);
        let time = Time::starting(START);
        time.set_wall(if is("future") { 4_000_000_000 } else { 0 });
        let mut upstream = Upstream::new(time.upstream.clone());
        let fields = if is("wide") { 120 } else { 3 };
        let names: Vec<String> = (0..fields).map(|n| format!("Field_{n:03}")).collect();
        let names_of: Vec<&str> = names.iter().map(String::as_str).collect();
        upstream.model.add(MODULE).with_fields(&names_of);
        upstream.knobs.date_header = !is("untold");
        upstream.knobs.page_tokens_in_v2 = !is("tokenless");
        upstream.knobs.page_tokens_shift = is("shifting");
        if is("lagging") {
            upstream.knobs.lists_lag = Duration::from_secs(60);
        }
        upstream.model.add(MODULE).has_modified_time = !is("unstamped");
        let version = if is("v8") { "v8" } else { "v2" };
        let mut text = format!(
            "[upstream]\ndata_centre = \"us\"\napi_version = \"{version}\"\n\
             [catch_up]\ncredits_per_day = 1000000\n\
             [[module]]\nname = \"{MODULE}\"\n"
        );
        if is("whole") {
            text += "whole_records = true\n";
        }
        if !is("pull") {
            text = text.replace(
                "[[module]]",
                "[channel]\nnotify_url = \"https://kiosk-7.example.com/callback/4f1c9a\"\n\
                 id = \"1000000068001\"\n[[module]]",
            );
        }
        let desk = Desk { module: MODULE.to_owned(), fields: names };
        let people = People::new(1, vec![desk], Vec::new(), 1);
        let mut world = World::new(&text, upstream, people, time);
        world.is_honest = !is("unstamped") && !is("silently");
        if !is("new") {
            world.settle();
            world.time.pass(Duration::from_secs(3_600));
            world.settle();
        }
        Plot { world, fields, count: 0 }
    }

    fn step(&mut self, words: &[&str]) {
        self.world.diary.note(words.join(" "));
        if let [.., "restore", number] = words {
            // It moves no stamp: no catch-up can know.
            let key = (MODULE.to_owned(), id(number));
            self.world.people.lock().unwrap().silent.insert(key);
        }
        match words {
            ["meanwhile", rest @ ..] => self.meanwhile(rest),
            ["deliver", number] => {
                self.world.collect_callbacks();
                let at = number.parse::<usize>().unwrap() - 1;
                assert_eq!(self.world.deliver(at, true), Some(200), "{words:?}");
            }
            ["settle"] => self.world.settle(),
            ["turn", times] => drop(self.world.turns(times.parse().unwrap())),
            ["restart"] => self.world.stop(),
            ["wait", span] => self.world.live(duration(span)),
            ["pass", span] => self.world.time.pass(duration(span)),
            ["sweep"] => self.sync(ScanKind::Sweep),
            ["sync"] => self.sync(ScanKind::CatchUp),
            ["jump", span] => self.world.time.jump_upstream(duration(span).as_secs() as i64),
            ["back", span] => {
                self.world.is_honest = false;
                self.world.time.jump_upstream(-(duration(span).as_secs() as i64));
            }
            ["edit-each"] => self.edit_each(),
            ["delete-each"] => (1..=450).for_each(|number| {
                self.world.time.pass(Duration::from_secs(1));
                self.world.upstream().delete(MODULE, FIRST + number);
            }),
            ["offline"] => self.world.upstream().faults.offline(true),
            ["online"] => self.world.upstream().faults.calm(),
            ["deny", number] => self.world.upstream().faults.deny(MODULE, Some(id(number))),
            ["silence"] => {
                let forever = Fault::Throttled(RetryAfter::Seconds(u64::MAX));
                self.world.upstream().faults.script(5, Aim::path("/crm"), forever);
            }
            ["withhold", scope] => self.world.upstream().accounts.withhold(scope),
            ["drop-channel"] => {
                let mut upstream = self.world.upstream();
                for channel in upstream.live_channels() {
                    upstream.drop_channel(&channel);
                }
            }
            _ => {
                self.count += 1;
                let change = change(words, self.count, self.fields);
                change(&mut self.world.upstream.lock().unwrap());
            }
        }
    }

    fn sync(&mut self, kind: ScanKind) {
        self.world.hear(Input::SyncAsked { module: None, kind });
        self.world.settle();
    }

    /// `meanwhile [later] [at PART] CHANGE`: before the next request, or the next whose path and
    /// query have this part; in the same second, or in a later one.
    fn meanwhile(&mut self, words: &[&str]) {
        self.count += 1;
        let (later, words) = match words {
            ["later", rest @ ..] => (Duration::from_secs(2), rest),
            _ => (Duration::ZERO, words),
        };
        let (part, words) = match words {
            ["at", part, rest @ ..] => (*part, rest),
            _ => ("", words),
        };
        let change = change(words, self.count, self.fields);
        let scripted = Scripted { part: part.to_owned(), later, change };
        self.world.meddling.lock().unwrap().script.push_back(scripted);
    }

    /// Every record, a second apart.
    fn edit_each(&mut self) {
        let ids = self.world.upstream().ids(MODULE);
        for id in ids {
            self.world.time.pass(Duration::from_secs(1));
            self.count += 1;
            let value = format!("\"n{}\"", self.count);
            self.world.upstream().edit(MODULE, id, &[("Field_000", &value)]);
        }
    }
}

type Change = Box<dyn FnOnce(&mut Upstream) + Send>;

/// The `count`-th change of a plot.
fn change(words: &[&str], count: u64, fields: usize) -> Change {
    let value = format!("\"n{count}\"");
    let names: Vec<String> = (0..fields).map(|n| format!("Field_{n:03}")).collect();
    let first = words.get(1).copied().unwrap_or("1");
    let (id, all) = (id(first), first.parse::<u64>().unwrap_or(0));
    let other = words.get(2).map(|word| FIRST + word.parse::<u64>().unwrap_or(0));
    let verb = words[0].to_owned();
    Box::new(move |upstream| {
        let values: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), value.as_str())).collect();
        match verb.as_str() {
            "nothing" => {}
            "create" => upstream.create_as(MODULE, id, &values),
            "edit" => assert!(upstream.edit(MODULE, id, &values)),
            "delete" => assert!(upstream.delete(MODULE, id)),
            "purge" => assert!(upstream.purge(MODULE, id)),
            "restore" => assert!(upstream.restore(MODULE, id)),
            "revoke" => assert!(upstream.revoke_permission(MODULE, id)),
            "grant" => assert!(upstream.grant_permission(MODULE, id)),
            "formula" => assert!(upstream.touch_formula(MODULE, id, &names[0], &value)),
            "merge" => assert!(upstream.merge(MODULE, id, other.expect("merge KEPT OTHER"))),
            // So many that were there before the story begins, made a second apart.
            "load" => (1..=all).for_each(|number| {
                let at = Moment::from_unix(START.unix() - 1_000_000 + number as i64);
                upstream.load(MODULE, FIRST + number, at, &values);
            }),
            "update-all" => {
                let ids = upstream.ids(MODULE);
                upstream.mass_update(MODULE, &ids, &values);
            }
            other => panic!("a plot knows no '{other}'"),
        }
    })
}

fn id(number: &str) -> u64 {
    FIRST + number.parse::<u64>().unwrap_or(0)
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("no unit of time: {other}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

#[test]
fn callbacks_late_lost_and_doubled() {
    check("create 7; deliver 1", "7: live");
    check("create 7; edit 7; delete 7; deliver 3; deliver 1", "7: tombstone");
    check("create 7; edit 7; deliver 2; deliver 1; deliver 2", "7: live");
    check("create 7; deliver 1; settle; meanwhile edit 7; edit 7; deliver 2", "7: live");
    check("create 7; edit 7; wait 20m", "7: live");
    check("create 7; deliver 1; settle; delete 7; wait 20m", "7: tombstone");
    check("create 7; create 8; deliver 1; deliver 2; restart", "7: live; 8: live");
    check("create 7; deliver 1; settle; drop-channel; edit 7; wait 20m", "7: live");
}

#[test]
fn what_upstream_does_in_silence_is_found_by_a_sweep() {
    let made = "create 7; create 8; deliver 1; deliver 2; settle";
    check(&format!("{made}; revoke 7; sweep"), "7: tombstone; 8: live");
    check(&format!("{made}; revoke 7; sweep; grant 7; sweep"), "7: live; 8: live");
    check(&format!("{made}; merge 7 8; wait 25h"), "7: live; 8: tombstone");
    check(&format!("{made}; delete 7; deliver 3; restore 7; sweep"), "7: live; 8: live");
    check(&format!("{made}; formula 7; sweep"), "7: live");
    check(&format!("unstamped: {made}; edit 7; sweep"), "7: live");
}

#[test]
fn outages_of_any_length() {
    let made = "create 7; create 8; deliver 1; deliver 2; settle; offline";
    for span in ["1h", "59d", "90d", "130d"] {
        for form in ["", "v8: ", "pull: "] {
            let made = if form == "pull: " { "create 7; create 8; sync; offline" } else { made };
            let plot = format!("{form}{made}; edit 8; delete 7; pass {span}; online; wait 20m");
            check(&plot, "7: tombstone; 8: live");
        }
    }
    check("create 7; silence; wait 2h", "7: live");
}

#[test]
fn records_that_change_while_they_are_read() {
    // Two edits within a second, the second of them between two passes.
    let torn = "create 7; deliver 1; settle; edit 7; deliver 2; meanwhile at Field_060 edit 7";
    check(&format!("v8 wide: {torn}; settle; wait 20m"), "7: live");
    check(&format!("v8 wide: {torn}; settle; deliver 3"), "7: live");
    // Read in its second, and edited again in it.
    check(
        "whole: create 7; deliver 1; settle; edit 7; deliver 2; settle; edit 7; wait 20m",
        "7: live",
    );
    // Edited between two passes, in a later second.
    let torn =
        "create 7; deliver 1; settle; edit 7; deliver 2; meanwhile later at Field_060 edit 7";
    check(&format!("v8 wide: {torn}; settle"), "7: live");
    // Gone between two passes.
    let gone = "create 7; deliver 1; settle; edit 7; deliver 2; meanwhile at Field_060 delete 7";
    check(&format!("v8 wide: {gone}; wait 20m"), "7: tombstone");
}

#[test]
fn rows_that_move_while_pages_are_read() {
    // With 5 gone, 201 stands on a page that was read already.
    for tokens in ["", "tokenless", "shifting", "v8 shifting"] {
        let second = if tokens == "tokenless" { "&page=2" } else { "page_token" };
        let first = format!("new {tokens}: load 450; meanwhile at {second} delete 5; settle");
        check(&first, "5: tombstone; 201: live; 400: live");
        let later = format!(
            "{tokens}: load 450; sweep; pass 5m; update-all; pass 5m; \
             meanwhile at coql edit 5; meanwhile at coql edit 6; sync"
        );
        check(&later, "5: live; 201: live; 450: live");
        let apart = format!(
            "{tokens}: load 450; sweep; pass 1h; edit-each; meanwhile at sort_by=Mod nothing; \
             meanwhile later at sort_by=Mod edit 5; sync"
        );
        check(&apart, "5: live; 201: live; 450: live");
    }
}

#[test]
fn a_record_that_is_restored_while_the_deleted_are_listed() {
    // With the newest gone from the list, another stands on a page that was read already.
    let plot = "pull: load 450; sweep; pass 1h; delete-each; \
                meanwhile at deleted?type=all&per_page=200&page=2 restore 450; sync; wait 1m";
    check(plot, "1: tombstone; 250: tombstone; 251: tombstone; 449: tombstone");
}

#[test]
fn what_goes_away_silently_is_missed_by_the_count() {
    let lost = "load 30; sweep; wait 7h; revoke 7; merge 8 9; wait 4h";
    check(&format!("silently: {lost}"), "7: tombstone; 8: live; 9: tombstone");
    // Where counting is not allowed, only the next sweep finds it.
    let uncounted = format!("silently: withhold ZohoSearch.securesearch.READ; {lost}");
    check(&uncounted, "7: undead; 8: live; 9: undead");
    check(&format!("{uncounted}; wait 24h"), "7: tombstone; 8: live; 9: tombstone");
    // A first listing that passed by one, as another went away before it: the number is right.
    let hidden = "new silently shifting: load 450; meanwhile at page_token revoke 3; settle";
    check(hidden, "3: undead; 201: nothing");
    check(&format!("{hidden}; wait 25h"), "3: tombstone; 201: live");
}

#[test]
fn lists_that_lag_behind_the_records() {
    let made = "lagging: create 7; create 8; deliver 1; deliver 2; settle; pass 5m";
    check(&format!("{made}; delete 7; deliver 3; settle; sweep"), "7: tombstone; 8: live");
    check(&format!("{made}; create 9; deliver 3; settle; sweep"), "7: live; 9: live");
    check(&format!("{made}; pass 10m; edit 7; sync; pass 20m; sync"), "7: live");
    check(&format!("{made}; pass 10m; delete 7; sync; pass 20m; sync"), "7: tombstone");
}

#[test]
fn a_scan_that_is_interrupted_goes_on_where_it_was() {
    for version in ["v2", "v8", "tokenless", "whole"] {
        let plot = format!("new {version}: load 900; turn 6; restart; turn 2; restart; settle");
        check(&plot, "1: live; 201: live; 401: live; 850: live; 900: live");
    }
    // A token lives for a day.
    check("new v8: load 900; turn 6; pass 2d; wait 1m", "1: live; 401: live; 850: live");
    check("new v8: load 900; turn 6; offline; pass 90d; online; wait 1m", "1: live; 850: live");
}

#[test]
fn what_lies_behind_two_thousand_records() {
    for tokens in ["tokenless", "shifting", "v8", "tokenless whole"] {
        let plot = format!("{tokens}: load 2300; sweep; revoke 2250; delete 2290; sweep");
        check(&plot, "2200: live; 2250: tombstone; 2290: tombstone");
    }
    let plot = "tokenless: load 2300; sweep; pass 5m; update-all; meanwhile at coql delete 9; sync";
    check(plot, "1: live; 9: tombstone; 2300: live");
    // Without the right to query, and with tokens, a full second is read by pages.
    let plot = "withhold ZohoCRM.coql.READ; load 2300; sweep; pass 5m; update-all; wait 20m";
    check(plot, "1: live; 2300: live");
}

#[test]
fn clocks_that_are_wrong() {
    // Where upstream does not tell its time, ours proves nothing.
    check("new untold: create 7; settle; edit 7; wait 20m; edit 7; wait 20m", "7: live");
    check("new untold future: create 7; settle; edit 7; wait 20m; edit 7; wait 20m", "7: live");
    // A catch-up begun while upstream's clock, or what told us of it, was two days ahead.
    let ahead = "jump 2d; sync; back 2d; create 7; pass 10m; edit 7; pass 40m; wait 20m";
    check(ahead, "7: live");
    check(&format!("pull: {ahead}"), "7: live");
}
