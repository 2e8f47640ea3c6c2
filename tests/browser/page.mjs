// The status page in a real browser, against the real daemon and a simulated upstream.
//
//   PLAYWRIGHT=DIR node tests/browser/page.mjs [SANDBOX [CRMIRROR]]
//
// DIR is where `npm install playwright-core` was run; CHROMIUM names the browser, SHOTS a directory
// for pictures. It starts a sandbox, whose changes are watched, and a second daemon that asks for a
// token and mirrors the same upstream, so that both its upstream and itself can be taken away. What
// cannot be brought about so (a denied channel, a full disk, a hostile record) is put into the
// daemon's own replies on their way to the page. Nothing here is timed: each wait ends when what is
// waited for is there, or after long enough to be sure that it never comes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { chromium } = createRequire(join(process.env.PLAYWRIGHT ?? '.', 'x.js'))('playwright-core');
const [sandboxProgram = 'target/release/examples/sandbox', program = 'target/release/crmirror'] = process.argv.slice(2);
const PATIENCE = 60_000;
const TOKEN = 'a-token-of-32-visible-characters';
const SIZES = { phone: [360, 740], kiosk: [800, 480], desktop: [1280, 800] };
const HOSTILE = `<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>"'&\u202e`;
// Without the system's services, which a container has not, and without a word to anybody.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const place = mkdtempSync(join(tmpdir(), 'crmirror-browser-'));
const started = [];
let browser;

// The daemons: each is ended with the tests, whatever became of them.

function start(command, ...args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { child, printed: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (run.printed += data));
  run.ended = new Promise(done => child.on('exit', done));
  started.push(run);
  return run;
}
async function until(what, look) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await new Promise(done => setTimeout(done, 100))) {
    const seen = await look();
    if (seen) return seen;
  }
  throw new Error(`it never came to this: ${what}`);
}
async function freePort() {
  const server = createServer();
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise(done => server.close(done));
  return port;
}
async function startSandbox() {
  const run = start(sandboxProgram);
  const printed = title => run.printed.match(new RegExp(`^ *${title} +(\\S+)`, 'm'))?.[1];
  await until('the sandbox is ready', () => printed('configuration'));
  return { run, local: printed('local interface'), configuration: printed('configuration') };
}
// A daemon that asks for a token and has no channel, with the sandbox's upstream and credentials.
async function startGuarded(sandbox) {
  const text = readFileSync(sandbox.configuration, 'utf8');
  const upstream = text.match(/^\[upstream\][^[]*/m)[0];
  const from = join(sandbox.configuration, '..');
  const port = await freePort();
  const file = (name, content) => writeFileSync(join(place, name), content, { mode: 0o600 });
  file('credentials.json', readFileSync(join(from, 'credentials.json')));
  file('token', TOKEN);
  file('crmirror.toml', `${upstream.replace(/^credentials.*$/m, '')}
credentials = "${join(place, 'credentials.json')}"
[local]
listen = "127.0.0.1:${port}"
token_file = "${join(place, 'token')}"
[store]
path = "${join(place, 'store')}"
[[module]]
name = "Leads"
`);
  const local = `http://127.0.0.1:${port}`;
  const run = start(program, '--config', join(place, 'crmirror.toml'), 'run');
  const headers = { Authorization: `Bearer ${TOKEN}` };
  await until(`the second daemon has its copy\n${run.printed}`, () => fetch(`${local}/readyz`, { headers }).then(reply => reply.ok, () => false));
  return { run, local, headers };
}

// The page, in a tab of its own for each test.

// A tab at this address, which notes what it should not do.
async function open(local, { size = 'desktop', scheme = 'light', hash = '', before } = {}) {
  const [width, height] = SIZES[size];
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  const foreign = [];
  page.on('pageerror', error => complaints.push(String(error)));
  // That a reply was an error is the daemon's to decide, and the browser's to complain of.
  page.on('console', message => message.type() === 'error' && !/Failed to load resource/.test(message.text()) && complaints.push(message.text()));
  page.on('request', request => new URL(request.url()).protocol !== 'data:' && new URL(request.url()).origin !== local && foreign.push(request.url()));
  await before?.(page);
  await page.goto(`${local}/${hash}`);
  page.leave = async () => {
    assert.deepEqual(complaints, [], 'the page complains');
    assert.deepEqual(foreign, [], 'the page asks others');
    assert.equal(await page.evaluate(() => window.hurt), undefined, 'a record ran a script');
    await context.close();
  };
  return page;
}
const reads = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();
async function picture(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}
// Has the daemon's own reply changed on its way.
const altered = (pattern, change) => page =>
  page.route(pattern, async route => {
    const reply = await route.fetch();
    const json = await reply.json();
    change(json);
    await route.fulfill({ response: reply, json });
  });
const fits = page => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

// What is to hold.

const tests = {
  async 'it loads at three sizes, in light and dark, and shows the counts'({ sandbox }) {
    for (const size of Object.keys(SIZES)) {
      for (const scheme of ['light', 'dark']) {
        const page = await open(sandbox.local, { size, scheme });
        await reads(page, '#word', 'All well');
        const box = await page.locator('#headline').boundingBox();
        assert(box.y + box.height <= SIZES[size][1], `${size}: the headline is not in sight`);
        assert(await fits(page), `${size}: it is wider than the screen`);
        const { modules } = await (await fetch(`${sandbox.local}/status`)).json();
        assert.deepEqual(await page.locator('#modules a').allTextContents(), Object.keys(modules));
        const counts = await page.locator('#modules td.n').allTextContents();
        counts.forEach(count => assert(Number(count.replaceAll(/\D/g, '')) > 0, count));
        await picture(page, `well-${size}-${scheme}`);
        await page.leave();
      }
    }
  },

  async 'it sees changes as they come'({ sandbox }) {
    const page = await open(sandbox.local);
    const hasFeed = (await fetch(`${sandbox.local}/changes?limit=1`)).ok;
    await reads(page, '#live', hasFeed ? 'live' : 'every 5 s');
    // Nothing jumps under a finger; the list of changes is there to move.
    await page.evaluate(() => {
      window.jumped = [];
      const isElsewhere = ({ node }) => node && !(node.nodeType === 1 ? node : node.parentElement)?.closest('#changes');
      const look = entries => entries.getEntries().forEach(entry => entry.sources.filter(isElsewhere).forEach(source => window.jumped.push(source.node.nodeName)));
      new PerformanceObserver(look).observe({ type: 'layout-shift' });
    });
    const before = await page.locator('#foot').textContent();
    await until('the number of changes rises', async () => (await page.locator('#foot').textContent()) !== before);
    if (hasFeed) await page.locator('#changes li.new a').first().waitFor();
    assert.deepEqual(await page.evaluate(() => window.jumped), []);
    await page.leave();
    return hasFeed ? 'by the feed' : 'without a feed';
  },

  async 'a feed is read event by event, and its records are text'({ sandbox }) {
    const { sequence } = await (await fetch(`${sandbox.local}/status`)).json();
    const change = (number, kind, record) =>
      `id: ${number}\nevent: change\ndata: ${JSON.stringify({ sequence: number, module: 'Leads', id: '6756839000000000042', kind, time: '2026-01-02T03:04:05+00:00', record })}\n\n`;
    const page = await open(sandbox.local, {
      before: page =>
        page.route('**/changes?*', route => {
          const body = `retry: 2000\n\n${change(sequence - 1, 'delete')}: nothing new\n\n${change(sequence + 1_000, 'upsert', { id: '6756839000000000042', Last_Name: HOSTILE })}`;
          return route.fulfill({ contentType: 'text/event-stream', body });
        }),
    });
    await reads(page, '#changes li.new a', `Changed: ${HOSTILE} (Leads)`);
    await reads(page, '#changes li a', 'Deleted: …000042 (Leads)');
    assert.equal(await page.locator('#changes img, #changes script').count(), 0);
    await page.leave();
  },

  async 'one browses from the status to a record, by keyboard'({ sandbox }) {
    const page = await open(sandbox.local, { size: 'kiosk' });
    await page.locator('#modules a', { hasText: 'Deals' }).focus();
    await page.keyboard.press('Enter');
    await reads(page, '#list-said', 'records on this page');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'list-title');
    const [first] = await page.locator('#list-rows a').allTextContents();
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.getByRole('link', { name: 'First page' }).waitFor();
    assert.notEqual((await page.locator('#list-rows a').allTextContents())[0], first);
    await page.locator('#list-rows a').first().press('Enter');
    await page.locator('#fields tr').first().waitFor();
    const id = page.url().split('/').pop();
    const [kept] = (await (await fetch(`${sandbox.local}/crm/v2/Deals/${id}`)).json()).data;
    const shown = await page.locator('#fields').textContent();
    for (const field of ['Deal_Name', 'Stage']) assert(shown.includes(kept[field]), `${field}: ${shown}`);
    // A lookup leads on, to another module.
    await page.locator('#fields a').first().click();
    await page.waitForURL(/#\/Contacts\/\d+$/);
    await reads(page, '#record-said', 'Complete through');
    await page.getByRole('button', { name: 'Raw JSON' }).click();
    const raw = await page.locator('#raw').textContent();
    assert.equal(JSON.parse(raw).id, page.url().split('/').pop());
    await picture(page, 'raw-kiosk');
    // An id in the search box leads to its record.
    await page.goto(`${sandbox.local}/#/Deals`);
    await page.locator('#query').fill(id);
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`#/Deals/${id}$`));
    await page.leave();
  },

  async 'a record is text, whatever is in it, and digit by digit'({ sandbox }) {
    const id = '6756839000000000042';
    const body = `{"data":[{"id":"${id}","Last_Name":${JSON.stringify(HOSTILE)},"Big":12345678901234567890.10,"${HOSTILE.replaceAll('"', '')}":{"name":${JSON.stringify(HOSTILE)},"id":"javascript:window.hurt=1"},"Website":"javascript:window.hurt=1","Modified_Time":"no time","Created_Time":"2026-99-99T99:99:99+00:00","$x":[{"a":${JSON.stringify(HOSTILE)}}]}],"info":{"more_records":false}}`;
    const hostile = page => page.route('**/crm/v2/**', route => route.fulfill({ contentType: 'application/json', body }));
    for (const size of ['phone', 'desktop']) {
      const page = await open(sandbox.local, { size, hash: `#/Leads/${id}`, before: hostile });
      await reads(page, '#record-title', HOSTILE);
      await reads(page, '#fields', '12345678901234567890.10');
      await reads(page, '#fields', '2026-99-99T99:99:99+00:00');
      assert((await page.locator('#fields').textContent()).includes(HOSTILE));
      await page.getByRole('button', { name: 'Raw JSON' }).click();
      assert((await page.locator('#raw').textContent()).includes('"Big": 12345678901234567890.10'));
      await page.goto(`${sandbox.local}/#/Leads`);
      await reads(page, '#list-rows a', HOSTILE);
      assert.equal(await page.locator('main img, main script, a[href^="javascript:"]').count(), 0);
      assert(await fits(page), `${size}: it is wider than the screen`);
      await page.leave();
    }
  },

  async 'what needs a person is said in words, first of all'({ sandbox }) {
    const states = {
      denied: ['Needs you', 'Zoho denies this device access', 'crmirror login', status => (status.upstream.state = 'denied')],
      channel: ['Needs you', 'Zoho denies the channel', 'notify_url', status => (status.channel.state = 'denied')],
      quarantined: ['Needs you', '2 records could not be fetched', 'log', status => (status.inbox.quarantined = 2)],
      disk: ['Needs you', 'The disk is full', 'Free some space', status => (status.store.low = true)],
      credits: ['Needs you', 'credits of the day are spent', 'credits_per_day', status => (status.credits.waiting_for_credits = 'sweep')],
      books: ['Needs you', 'Zoho Books does not give', 'code 57', status => (status.books.last_error = 'Books answers status 401 code 57')],
      calls: ['Needs you', 'calls of Zoho Books of the day', 'calls_per_day', status => (status.books.waiting_for_calls = true)],
      webhook: ['Needs you', 'denies the webhook kiosk-invoices', 'log', status => (status.books.webhooks['kiosk-invoices'].state = 'denied')],
      failed: ['Needs you', '1 call to functions failed', 'outbox retry', status => (status.outbox.failed = 1)],
      runs: ['Needs you', 'runs of functions of the day are made: 2 calls', 'outbox.calls_per_day', status => Object.assign(status.outbox, { waiting: 2, waiting_for_credits: true })],
      waits: ['Waiting', '1 call to functions waits', 'the zapikey is refused', status => Object.assign(status.outbox, { waiting: 1, trouble: 'the zapikey is refused' })],
      filling: ['Filling', 'first copy is on its way: Leads', 'so far', status => (status.modules.Leads.complete_through = null)],
    };
    for (const [name, [word, headline, todo, change]] of Object.entries(states)) {
      const page = await open(sandbox.local, { size: 'kiosk', before: altered('**/status', change) });
      await reads(page, '#word', word);
      await reads(page, '#headline', headline);
      await reads(page, '#todo', todo);
      await reads(page, '#pill', word);
      await picture(page, name);
      await page.leave();
    }
  },

  async 'Books, the extension and the outbox are shown, at three sizes, in light and dark'({ sandbox }) {
    const fact = (page, title) => page.locator('#facts > div').filter({ has: page.locator('dt', { hasText: title }) });
    await fetch(`${sandbox.local}/outbox/kiosk_checkin`, { method: 'POST', body: new URLSearchParams({ guest: 'Zoe' }) });
    await until('the call is made', async () => (await (await fetch(`${sandbox.local}/status`)).json()).outbox.sent > 0);
    for (const size of Object.keys(SIZES)) {
      for (const scheme of ['light', 'dark']) {
        const page = await open(sandbox.local, { size, scheme });
        for (const [title, text] of [['Outbox', /Empty\s*\d+ sent/], ['Books', /\d of [\d,]+\s*calls in 24 hours/], ['Webhooks', /Ready\s*\d+ sent again/], ['Extension', 'Not heard of']]) {
          await fact(page, title).filter({ hasText: text }).waitFor();
        }
        assert(await fits(page), `${size}: it is wider than the screen`);
        await page.locator('#facts').screenshot(process.env.SHOTS ? { path: join(process.env.SHOTS, `beside-${size}-${scheme}.png`) } : {});
        await page.leave();
      }
    }
    // Removed: the channel is closed for that, and nobody is told to open it.
    const change = status => {
      Object.assign(status.platform, { state: 'wiped', last_event: 'onUninstall', last_event_time: status.upstream.time });
      status.channel.state = 'none';
      status.modules.Leads.complete_through = null;
    };
    const page = await open(sandbox.local, { size: 'phone', before: altered('**/status', change) });
    await reads(page, '#word', 'Removed');
    await reads(page, '#headline', 'everything was erased');
    await fact(page, 'Extension').filter({ hasText: /Erased\s*onUninstall just now/ }).waitFor();
    const hero = await page.locator('.hero').textContent();
    assert(!/channel renew|on its way/.test(hero), hero);
    await picture(page, 'removed');
    await page.leave();
  },

  async 'what the platform tells is in the feed, and leads nowhere'({ sandbox }) {
    const { sequence } = await (await fetch(`${sandbox.local}/status`)).json();
    const told = { sequence: sequence + 1, module: '$platform', id: '1', kind: 'upsert', time: '2026-01-02T03:04:05+00:00', record: { id: '1', event: 'onUpdate' } };
    const page = await open(sandbox.local, {
      before: page => page.route('**/changes?*', route => route.fulfill({ contentType: 'text/event-stream', body: `id: 1\nevent: change\ndata: ${JSON.stringify(told)}\n\n` })),
    });
    await reads(page, '#changes li', 'onUpdate (the extension)');
    assert.equal(await page.locator('#changes li a').count(), 0);
    await page.leave();
  },

  async 'it asks for the token, and shows it from then on'({ guarded }) {
    const page = await open(guarded.local, { size: 'kiosk' });
    await reads(page, '#token-title', 'asks who you are');
    await page.keyboard.type('not-the-token-of-it');
    await page.keyboard.press('Enter');
    await reads(page, '#token-said', 'not the token');
    await picture(page, 'token');
    await page.keyboard.type(TOKEN);
    await page.keyboard.press('Enter');
    await reads(page, '#word', 'All well');
    await page.reload();
    await reads(page, '#modules a', 'Leads');
    await page.leave();
  },

  // The last one: it takes away upstream, and then the daemon.
  async 'without upstream it says so, and without the daemon too'({ sandbox, guarded }) {
    const page = await open(guarded.local, { size: 'kiosk' });
    await page.locator('#token-field').fill(TOKEN);
    await page.keyboard.press('Enter');
    await reads(page, '#word', 'All well');
    sandbox.run.child.kill('SIGTERM');
    await sandbox.run.ended;
    await fetch(`${guarded.local}/sync`, { method: 'POST', headers: guarded.headers });
    await reads(page, '#word', 'Offline');
    await reads(page, '#headline', /out of reach since .*complete through/);
    await picture(page, 'offline');
    guarded.run.child.kill('SIGKILL');
    await reads(page, '#headline', 'crmirror does not answer');
    await reads(page, '#todo', 'Trying again');
    await picture(page, 'no-answer');
    const again = start(program, '--config', join(place, 'crmirror.toml'), 'run');
    await reads(page, '#word', 'Offline');
    assert.equal(await page.locator('body.dead').count(), 0, again.printed);
    await page.leave();
  },
};

let passed = 0;
let failed = 0;
try {
  const sandbox = await startSandbox();
  const guarded = await startGuarded(sandbox);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  for (const [name, test] of Object.entries(tests)) {
    try {
      const note = await test({ sandbox, guarded });
      console.log(`ok      ${name}${note ? ` (${note})` : ''}`);
      passed++;
    } catch (error) {
      console.log(`FAILED  ${name}\n${error.stack}`);
      failed++;
    }
  }
} catch (error) {
  console.log(`FAILED  ${error.stack}`);
  failed++;
} finally {
  await browser?.close();
  for (const run of started) run.child.kill('SIGKILL');
  rmSync(place, { recursive: true, force: true });
}
console.log(`   the page: ${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
