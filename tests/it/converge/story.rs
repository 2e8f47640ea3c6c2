//! Random stories: a world drawn from a seed, and what happens in it, step by step.

use std::fmt::Write as _;
use std::time::Duration;

use crmirror::mirror::ledger::ScanKind;
use crmirror::mirror::planner::Input;
use crmirror::mirror::record::ModuleName;

use super::books;
use super::device::Time;
use super::people::{ANNOUNCED, Desk, Kind, People, SILENT};
use super::world::{Meddling, START, World};
use crate::scratch::Seed;
use crate::sim::{Aim, Fault, RetryAfter, Upstream};

/// Which roads from upstream to the mirror are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// All of them.
    EveryRoad,
    /// Callbacks; none is lost, and nobody looks after them once the module is bootstrapped.
    Callbacks,
    /// Catch-up and sweep; there is no channel.
    CatchUp,
    /// All of them, with entities of Books beside CRM's modules.
    Books,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Tells the story of a seed, to its end.
pub(super) fn tell(form: Form, seed: u64) {
    let _seed = Seed(seed);
    let mut story = Story::begin(form, seed);
    for _ in 0..story.steps {
        story.step();
    }
    story.end();
}

struct Story {
    form: Form,
    world: World,
    dice: fastrand::Rng,
    steps: usize,
    every: Duration,
    sweep_every: Duration,
    /// Whether this story has restarts: each makes every module catch up.
    restarts: bool,
}

impl Story {
    fn begin(form: Form, seed: u64) -> Story {
        // Neighbouring seeds are to be strangers to each other.
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let time = Time::starting(START);
        time.boot(Duration::from_secs(dice.u64(0..10_000_000)));
        time.set_wall(wall(&mut dice));
        let mut upstream = Upstream::new(time.upstream.clone());
        let version = ["v2", "v2", "v2", "v8", "v8", "v3"][dice.usize(0..6)];
        draw_knobs(&mut upstream, &mut dice, form);
        let crowd = dice.u8(0..36);
        let whole = crowd > 2 && dice.u8(0..6) == 0;
        let wide = version != "v2" && dice.u8(0..3) == 0;
        let mut desks = open_desks(&mut upstream, &mut dice, wide);
        let mut of_books = String::new();
        if form == Form::Books {
            let opened = books::open(&mut upstream, &mut dice);
            let is_announced = dice.u8(0..4) > 0;
            of_books = books::section(&opened, |_| is_announced);
            desks.extend(opened);
        }
        let shows_stamps_only = whole || wide;
        // Where a page shows nothing but stamps, only a refresh finds a formula's new value.
        let walled = version == "v2" && !upstream.knobs.page_tokens_in_v2;
        let refreshed = shows_stamps_only || walled || dice.u8(0..8) == 0;
        let refreshed = refreshed && form != Form::Callbacks;
        let kinds = kinds(form, &upstream);
        let (every, sweep_every) = match form {
            Form::Callbacks => (300 * DAY, 300 * DAY),
            Form::EveryRoad | Form::CatchUp | Form::Books => {
                (dice.u32(10..90) * MINUTE, dice.u32(4..14) * HOUR)
            }
        };
        let text = text(form, version, &desks, whole, refreshed, every, sweep_every) + &of_books;
        let mut people = People::new(seed, desks.clone(), kinds, 1 + dice.usize(2..40));
        for desk in &desks {
            let count = match crowd {
                // Each page is a call of ten thousand a day.
                0..4 if books::has(&desk.module) => match upstream.books.page_rows {
                    4 => dice.usize(30..60),
                    _ => dice.usize(190..450),
                },
                0 => dice.usize(1_900..2_500),
                1..4 => dice.usize(190..900),
                _ => dice.usize(0..30),
            };
            people.settle_in(&mut upstream, &desk.module, count);
        }
        let mut world = World::new(&text, upstream, people, time);
        world.diary.note(format!("{form:?} {text}"));
        let knobs = format!("{:?}", world.upstream().knobs);
        world.diary.note(knobs);
        let restarts = form != Form::Callbacks || dice.bool();
        let steps = dice.usize(20..80);
        world.is_honest = form != Form::Callbacks;
        let lag = world.upstream().knobs.lists_lag;
        world.grain += lag.as_secs() as i64;
        if form == Form::Callbacks {
            // What nobody will look after again is bootstrapped in peace.
            world.turns(usize::MAX);
        }
        *world.meddling.lock().unwrap() = Meddling {
            // Where each record is a call of its own, more would feed on themselves.
            changes: [0, 20, 100, 300][dice.usize(0..if whole { 2 } else { 4 })],
            callbacks: [0, 50, 300][dice.usize(0..3)],
            travel: [0, 5, 300, 2_000][dice.usize(0..4)],
            ..Meddling::default()
        };
        Story { form, world, dice, steps, every, sweep_every, restarts }
    }

    fn step(&mut self) {
        match self.dice.u8(0..100) {
            0..34 => self.world.act(),
            34..54 => self.post(),
            54..76 => {
                let most = 1 + self.dice.usize(0..20);
                self.world.turns(most);
            }
            76..85 => self.wait(),
            85..91 => self.fault(),
            91..93 => self.world.calm_faults(),
            93..96 => self.restart(),
            96 => self.clocks(),
            97 => self.crowd(),
            98 => self.ask(),
            _ => self.channel(),
        }
        self.world.collect_callbacks();
    }

    /// Something happens to callbacks on their way.
    fn post(&mut self) {
        self.world.collect_callbacks();
        for _ in 0..1 + self.dice.usize(0..4) {
            if self.world.post.is_empty() {
                return;
            }
            let at = self.dice.usize(0..self.world.post.len());
            match self.dice.u8(0..10) {
                0..3 if self.form != Form::Callbacks => self.world.lose(at),
                3 => self.world.forge(at, &mut self.dice),
                0..5 => drop(self.world.deliver(at, true)),
                _ => self.deliver(at),
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        let status = self.world.deliver(at, false);
        if self.form == Form::Callbacks && status != Some(200) {
            let found = vec![format!("{status:?}")];
            self.world.fail_on("a callback in time is refused", &found);
        }
    }

    fn deliver_all(&mut self) {
        self.world.collect_callbacks();
        while !self.world.post.is_empty() {
            let at = self.dice.usize(0..self.world.post.len());
            self.deliver(at);
        }
    }

    fn wait(&mut self) {
        let span = match self.dice.u8(0..20) {
            0..8 => Duration::from_millis(self.dice.u64(0..3_000)),
            8..13 => Duration::from_secs(self.dice.u64(0..1_200)),
            13..17 => Duration::from_secs(self.dice.u64(0..30_000)),
            17..19 => Duration::from_secs(self.dice.u64(0..400_000)),
            _ if self.dice.u8(0..4) == 0 => 90 * DAY,
            _ => 25 * HOUR,
        };
        self.world.diary.note(format!("wait {span:?}"));
        match self.form {
            // The agent lives meanwhile: a channel that ends unrenewed loses callbacks.
            Form::Callbacks => {
                self.world.calm_faults();
                let mut left = span.min(3 * DAY);
                while !left.is_zero() {
                    self.deliver_all();
                    // Later than this its token may have ended.
                    let some = left.min(6 * HOUR);
                    self.world.live(some);
                    left -= some;
                }
                self.deliver_all();
            }
            Form::EveryRoad | Form::CatchUp | Form::Books
                if self.dice.bool() && span < 4 * HOUR =>
            {
                self.world.live(span);
            }
            Form::EveryRoad | Form::CatchUp | Form::Books => self.world.time.pass(span),
        }
    }

    fn fault(&mut self) {
        let modules = self.modules();
        let module = &modules[self.dice.usize(0..modules.len())];
        let count = 1 + self.dice.u32(0..4);
        let ids = self.world.upstream().ids(module);
        let (kind, per_mille) = (self.dice.u8(0..12), self.dice.u32(20..500));
        let seed = self.dice.u64(..);
        self.world.diary.note(format!("fault {kind} {count} {per_mille}"));
        let door = if books::has(module) { "/books" } else { "/crm" };
        let path = Aim::path(door);
        let denied = (!ids.is_empty()).then(|| ids[self.dice.usize(0..ids.len())]);
        let mut upstream = self.world.upstream.lock().unwrap();
        match kind {
            0..5 => upstream.faults.at_random(seed, per_mille),
            5 => upstream.faults.script(count, path, Fault::TimeOutAfter),
            6 => upstream.faults.script(count, path, Fault::Truncated),
            7 => {
                let forever = Fault::Throttled(RetryAfter::Seconds(u64::MAX));
                upstream.faults.script(count, path, forever);
            }
            8 => upstream.accounts.expire_access(),
            9 => upstream.accounts.deny_next(count),
            10 if books::has(module) => {
                let codes = [14, 44, 45, 57, 1070, 1000];
                upstream.books.refusals = (count, codes[seed as usize % codes.len()]);
            }
            10 => upstream.faults.offline(true),
            _ => {
                if let Some(id) = denied {
                    upstream.faults.deny(module, Some(id));
                    self.world.denied.insert((module.clone(), id));
                }
            }
        }
    }

    fn restart(&mut self) {
        if !self.restarts {
            return;
        }
        self.world.stop();
        match self.dice.u8(0..3) {
            0 => {
                let shows = Duration::from_millis(self.dice.u64(0..100_000));
                self.world.time.boot(shows);
                self.world.time.set_wall(wall(&mut self.dice));
                self.world.diary.note("boot".to_owned());
            }
            _ => self.world.diary.note("restart".to_owned()),
        }
    }

    fn clocks(&mut self) {
        let unix = wall(&mut self.dice);
        self.world.time.set_wall(unix);
        self.world.diary.note(format!("the wall clock shows {unix}"));
        let is_simple = {
            let knobs = &self.world.upstream().knobs;
            knobs.date_header && knobs.lists_lag.is_zero()
        };
        if self.form != Form::Callbacks && is_simple && self.dice.u8(0..6) == 0 {
            let jump = self.dice.i64(-40_000..40_000);
            self.world.is_honest = false;
            self.world.time.jump_upstream(jump);
            self.world.diary.note(format!("upstream's clock jumps by {jump} s"));
        }
    }

    /// Something that does not fit on a page.
    fn crowd(&mut self) {
        let modules = self.modules();
        let module = &modules[self.dice.usize(0..modules.len())];
        let (kind, count) = (self.dice.u8(0..10), self.dice.usize(150..700));
        let whole = self.world.config.modules.iter().any(|module| module.whole_records);
        let wide = self.world.people.lock().unwrap().desks[0].fields.len() > 50;
        let count = match kind {
            // Each record is a call of its own there, or three.
            _ if whole || wide || books::has(module) => count / 10,
            0 => 2_500,
            _ => count,
        };
        let mut people = self.world.people.lock().unwrap();
        let mut upstream = self.world.upstream.lock().unwrap();
        let line = match kind {
            0..4 => people.mass_create(&mut upstream, module, count),
            4..7 => people.update_all(&mut upstream, module),
            _ => people.delete_most(&mut upstream, module),
        };
        self.world.diary.note(line);
    }

    fn ask(&mut self) {
        if self.form == Form::Callbacks {
            return;
        }
        let modules = self.modules();
        let module = &modules[self.dice.usize(0..modules.len())];
        let module = self.dice.bool().then(|| ModuleName::parse(module).unwrap());
        let kinds = [ScanKind::CatchUp, ScanKind::Sweep, ScanKind::Refresh];
        let kind = kinds[self.dice.usize(0..3)];
        self.world.diary.note(format!("sync {module:?} {kind:?}"));
        self.world.hear(Input::SyncAsked { module, kind });
    }

    fn channel(&mut self) {
        if !matches!(self.form, Form::EveryRoad | Form::Books) {
            return;
        }
        if self.dice.bool() {
            self.world.hear(Input::RenewalAsked);
            return;
        }
        let mut upstream = self.world.upstream();
        for id in upstream.live_channels() {
            upstream.drop_channel(&id);
        }
        drop(upstream);
        self.world.diary.note("the channel is gone".to_owned());
    }

    /// Quiet. Then everything is as it is upstream.
    fn end(mut self) {
        self.world.diary.note("quiet".to_owned());
        self.world.calm();
        match self.form {
            Form::Callbacks => self.deliver_all(),
            Form::EveryRoad | Form::CatchUp | Form::Books => self.world.post.clear(),
        }
        let (quiet, behind) = match self.form {
            Form::Callbacks => (HOUR, None),
            Form::EveryRoad | Form::CatchUp | Form::Books => {
                (self.sweep_every + self.every + 2 * HOUR, Some(self.every + 5 * MINUTE))
            }
        };
        self.world.live(quiet);
        // An upstream that does not tell its time shows how far it is only by its stamps.
        let is_told = self.world.upstream().knobs.date_header;
        let behind = behind.map(|behind| if is_told { behind } else { 30_000 * DAY });
        let found = self.world.differences(behind);
        self.world.fail_on("the mirror differs from upstream", &found);
    }

    fn modules(&self) -> Vec<String> {
        self.world.people.lock().unwrap().desks.iter().map(|desk| desk.module.clone()).collect()
    }
}

/// What a device without a clock battery may take the date to be.
fn wall(dice: &mut fastrand::Rng) -> i64 {
    let right = START.unix();
    [0, right, right - 86_400, right + 86_400, i64::from(i32::MAX) + 5][dice.usize(0..5)]
}

fn draw_knobs(upstream: &mut Upstream, dice: &mut fastrand::Rng, form: Form) {
    let knobs = &mut upstream.knobs;
    knobs.offset_minutes = [330, 0, -660][dice.usize(0..3)];
    knobs.page_tokens_in_v2 = dice.bool();
    knobs.page_tokens_shift = dice.u8(0..3) == 0;
    knobs.modified_since_exclusive = dice.bool();
    knobs.restore_moves_modified = dice.bool();
    knobs.restore_notifies = dice.bool();
    knobs.post_on_live_refused = dice.bool();
    knobs.old_token_reply = dice.bool();
    knobs.ids_per_callback = [1, 3, 100][dice.usize(0..3)];
    if form != Form::Callbacks {
        if dice.u8(0..4) == 0 {
            knobs.lists_lag = Duration::from_secs(dice.u64(1..120));
        }
        knobs.date_header = dice.u8(0..12) > 0;
        knobs.throttle_tokens = dice.u8(0..4) == 0;
        let lives = [HOUR, 10 * HOUR, 3 * DAY];
        knobs.grant_at_most = dice.bool().then(|| lives[dice.usize(0..3)]);
    }
}

/// One or two modules; one of 120 fields when it is to be wide.
fn open_desks(upstream: &mut Upstream, dice: &mut fastrand::Rng, wide: bool) -> Vec<Desk> {
    let mut desks = Vec::new();
    let names: &[&str] = if dice.u8(0..3) == 0 { &["Leads", "Deals"] } else { &["Leads"] };
    for name in names {
        let width = if wide { 120 } else { 3 };
        let fields: Vec<String> = (0..width).map(|n| format!("Field_{n:03}")).collect();
        let fields_of: Vec<&str> = fields.iter().map(String::as_str).collect();
        upstream.model.add(name).with_fields(&fields_of);
        upstream.model.add(name).has_modified_time = *name == "Leads" || dice.bool();
        desks.push(Desk { module: (*name).to_owned(), fields });
    }
    desks
}

/// What happens in a story.
fn kinds(form: Form, upstream: &Upstream) -> Vec<Kind> {
    // Edits are what happens most.
    let mut kinds = ANNOUNCED.to_vec();
    kinds.extend([Kind::Edit; 4]);
    kinds.extend([Kind::Create, Kind::Delete]);
    match form {
        Form::Callbacks if upstream.knobs.restore_notifies => kinds.push(Kind::Restore),
        Form::Callbacks => {}
        Form::EveryRoad | Form::CatchUp | Form::Books => kinds.extend(SILENT),
    }
    kinds
}

fn text(
    form: Form,
    version: &str,
    desks: &[Desk],
    whole: bool,
    refreshed: bool,
    every: Duration,
    sweep_every: Duration,
) -> String {
    let (every, sweep_every) = (every.as_secs(), sweep_every.as_secs());
    let mut text = format!(
        "[upstream]\naccounts = \"https://accounts.zoho.com\"\n\
         api = \"https://www.zohoapis.com\"\napi_version = \"{version}\"\n\
         [catch_up]\nevery = \"{every}s\"\nsweep_every = \"{sweep_every}s\"\n\
         credits_per_day = 10000000\n"
    );
    if form != Form::CatchUp {
        text += "[channel]\nnotify_url = \"https://kiosk-7.example.com/callback/4f1c9a\"\n\
                 id = \"1000000068001\"\n";
    }
    for desk in desks.iter().filter(|desk| !books::has(&desk.module)) {
        let module = &desk.module;
        let _ = write!(text, "[[module]]\nname = \"{module}\"\nwhole_records = {whole}\n");
        if refreshed {
            let _ = writeln!(text, "refresh_every = \"{sweep_every}s\"");
        }
    }
    text
}
