'use strict';
// The status page of crmirror, and the records behind it. It asks the local interface that served
// it, and nobody else. What it shows of a record is hostile input: it becomes text, never markup.

const LOOK_EVERY = 5_000; // milliseconds between two looks at /status
const ANSWER_LIMIT = 10_000; // a reply that takes longer does not come
const SILENCE_LIMIT = 50_000; // the feed says something every 20 seconds
const FEED_PAUSE = 2_000; // before the feed is asked for again
const NO_FEED_PAUSE = 60_000; // the same, when the daemon has none
const CHANGES_SHOWN = 8;
const PER_PAGE = 50;
const TITLES = ['Full_Name', 'Deal_Name', 'Account_Name', 'Product_Name', 'Subject', 'Name', 'Last_Name', 'contact_name', 'item_name', 'invoice_number', 'reference_number'];
const COLUMNS = ['Company', 'Stage', 'Email', 'Phone', 'Amount', 'Account_Name', 'Lead_Status', 'Status', 'City', 'customer_name', 'vendor_name', 'status', 'total'];

const $ = id => document.getElementById(id);
const number = value => Number(value).toLocaleString();
const pause = time => new Promise(done => setTimeout(done, time));

let token = sessionStorage.getItem('token');
let model = null; // the last status, and when it came
let dead = null; // since when nobody answers
let away = null; // since when upstream is away, if it went while we looked
let seen = null; // the sequence up to which the feed was read
let replayed = 0; // up to here a change is no news
let turn = 0; // counts routes, so that a late reply is not shown in the wrong place
let withRecords = '&include=record';

// Nodes are made in these few ways and in no other.

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', '#i-' + name);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
// New content, unless what it is made of is the same as before.
function fill(node, from, make) {
  const key = JSON.stringify(from);
  if (node.dataset.from === key) return;
  node.dataset.from = key;
  node.replaceChildren(...make());
}
// Texts, and times as { iso }.
function tell(node, ...parts) {
  fill(node, parts, () => parts.map(part => (part.iso ? timeOf(part.iso) : part)));
}

// Times go by upstream's clock where it is known, since the device's may be decades off.

function now() {
  const told = Date.parse(model?.status.upstream.time);
  return Number.isNaN(told) ? Date.now() : told + performance.now() - model.at;
}
function span(seconds) {
  const units = [[86_400, 'day'], [3_600, 'hour'], [60, 'minute'], [1, 'second']];
  const [size, unit] = units.find(([size]) => seconds >= size * (size > 60 ? 2 : 1)) ?? units[3];
  const count = Math.floor(seconds / size);
  return `${number(count)} ${unit}${count === 1 ? '' : 's'}`;
}
function ago(iso) {
  const seconds = Math.round((now() - Date.parse(iso)) / 1000);
  if (Math.abs(seconds) < 10) return 'just now';
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}
function exact(iso) {
  const date = new Date(iso);
  const here = date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  return `${here}\n${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
function clock(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date(now()).toDateString();
  return date.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
}
function timeOf(iso, words) {
  if (Number.isNaN(Date.parse(iso))) return document.createTextNode(text(iso));
  const attributes = { datetime: iso, tabindex: 0, 'data-exact': exact(iso), 'aria-description': exact(iso) };
  if (words === undefined) attributes['data-ago'] = '';
  return el('time', attributes, words ?? ago(iso));
}
setInterval(() => {
  for (const node of document.querySelectorAll('time[data-ago]')) say(node, ago(node.dateTime));
  if (dead) say($('todo'), deadWords());
}, 1_000);

// Every question goes through here, so that each shows the token.

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const signal = options.signal ?? AbortSignal.timeout(ANSWER_LIMIT);
  const reply = await fetch(path, { cache: 'no-store', signal, headers });
  if (reply.status === 401) {
    wantToken();
    throw new Error('the token is wanted');
  }
  return reply;
}
async function messageOf(reply) {
  try {
    return (await reply.json()).message;
  } catch {
    return `the daemon answers ${reply.status}`;
  }
}

function wantToken() {
  if (!$('token').hidden) return;
  say($('token-said'), token ? 'That is not the token of this device.' : '');
  token = null;
  sessionStorage.removeItem('token');
  show('token', 'Token');
  $('token-field').focus();
}
$('token-form').addEventListener('submit', event => {
  event.preventDefault();
  token = $('token-field').value.trim();
  // A header takes visible ASCII only, as the token's file does.
  if (!/^[!-~]+$/.test(token)) return say($('token-said'), 'A token has no spaces and no accents.');
  sessionStorage.setItem('token', token);
  $('token-field').value = '';
  $('token').hidden = true;
  look().then(() => $('token').hidden && route());
});

let asked = 0;
async function look() {
  const mine = ++asked;
  if (!$('token').hidden) return;
  try {
    const [reply, health] = await Promise.all([ask('/status'), ask('/healthz')]);
    if (!reply.ok) throw new Error(String(reply.status));
    const status = await reply.json();
    const ill = health.ok ? null : await messageOf(health);
    if (mine !== asked) return;
    const was = model?.status.upstream.state;
    dead = null;
    model = { status, ill, at: performance.now() };
    if (status.upstream.state !== 'offline') away = null;
    else if (was && was !== 'offline') away = new Date(now()).toISOString();
    if (seen === null || seen > status.sequence) begin(status.sequence);
  } catch {
    if (mine !== asked || !$('token').hidden) return;
    dead ??= Date.now();
  }
  render();
}
let soon = null;
function lookSoon() {
  soon ??= setTimeout(() => { soon = null; look(); }, 300);
}
