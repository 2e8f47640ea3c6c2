// How things stand, judged and shown.

// What a person has to know, the worst first, each with what to do about it. Nothing else on this
// page judges.

function judge({ status, ill }) {
  const { upstream, channel, inbox, store, credits, modules } = status;
  const found = [];
  const add = (level, word, headline, todo) => found.push({ level, word, headline, todo });
  const why = upstream.last_error ? `Last error: ${upstream.last_error}. ` : '';
  if (store.low) {
    add('bad', 'Needs you', 'The disk is full: new callbacks are turned away.',
      `${bytes(store.free_bytes)} are free. Free some space on the device; it goes on by itself.`);
  } else if (ill) {
    add('bad', 'Needs you', `The daemon is not well: ${ill}.`, 'Restart it: systemctl restart crmirror. If it comes back, look at the disk.');
  }
  if (upstream.state === 'denied') {
    add('bad', 'Needs you', 'Zoho denies this device access. The copy is served, and grows old.',
      `${why}Log in again on the device: crmirror login --code CODE`);
  }
  if (channel.state === 'denied') {
    add('bad', 'Needs you', 'Zoho denies the channel: changes come late, by catch-up only.',
      `${why}See that notify_url is right and the login has the scope ZohoCRM.notifications.ALL.`);
  }
  if (inbox.quarantined > 0) {
    add('warn', 'Needs you', `${many(inbox.quarantined, 'record')} could not be fetched and ${inbox.quarantined === 1 ? 'was' : 'were'} set aside.`,
      'The log says which and why: journalctl -u crmirror. An edit in Zoho has it tried again.');
  }
  if (credits.waiting_for_credits) {
    add('warn', 'Needs you', `The API credits of the day are spent: ${credits.waiting_for_credits} waits.`,
      `${number(credits.spent_today)} of ${number(credits.ceiling)} are spent. Wait, or raise catch_up.credits_per_day.`);
  }
  if (store.unreadable > 0) {
    add('warn', 'Needs you', `${many(store.unreadable, 'stored value')} could not be read.`,
      'A sweep fetches them again. If it happens again, the disk or card wears out: replace it.');
  }
  neighbours(status, add);
  const gone = removed(status);
  const missing = Object.keys(modules).filter(name => !modules[name].complete_through);
  const through = oldest(modules);
  if (upstream.state === 'offline' && !(status.uptime_seconds < 30 && !upstream.last_error)) {
    const since = away ? ` since ${clock(away)}` : '';
    const copy = missing.length ? 'Reads go on from what is here.' : `Reads go on from the copy, complete through ${clock(through)}.`;
    add('away', 'Offline', `Zoho is out of reach${since}. ${copy}`,
      `${why}Nothing is lost: what is missed is caught up with. If it lasts, look at the network.`);
  } else if (missing.length && !gone) {
    const rows = missing.reduce((sum, name) => sum + (modules[name].scan?.rows ?? modules[name].records), 0);
    add('info', 'Filling', `The first copy is on its way: ${missing.join(', ')}.`, `${many(rows, 'record')} so far. Nothing to do but wait.`);
  }
  if (channel.state === 'absent' && upstream.state === 'online' && !missing.length && !gone) {
    add('info', 'Waiting', 'The channel is not open yet: until it is, changes come by catch-up.', `${why}It is opened again by itself. If it stays so: crmirror doctor`);
  }
  if (channel.state === 'none' && channel.id && !gone) {
    add('warn', 'Needs you', 'The channel was closed by command: changes come late, by catch-up only.', 'Open it again: crmirror channel renew');
  }
  if (!found.length) {
    const count = Object.values(modules).reduce((sum, module) => sum + module.records, 0);
    const last = upstream.last_error ? `Not mended yet: ${upstream.last_error}.` : '';
    add('good', 'All well', `Everything is here, complete through ${through ? clock(through) : 'now'}.`,
      `${many(count, 'record')}. ${last || (channel.state === 'open' ? 'Zoho tells of each change as it happens.' : 'Changes are looked for at each catch-up.')}`);
  }
  return found;
}
// What stands beside CRM: the extension, Books, calls to functions.
const removed = ({ platform }) => Boolean(platform) && platform.state !== 'installed';
function neighbours(status, add) {
  const { books, platform, outbox, upstream } = status;
  if (removed(status)) {
    const words = { uninstalled: 'nothing is fetched, and the copy grows old', wiping: 'everything is being erased', wiped: 'everything was erased' };
    add('warn', 'Removed', `The extension was removed: ${words[platform.state]}.`,
      'It goes on when the extension is installed or authorised again.');
  }
  if (books?.last_error) {
    add('warn', 'Needs you', 'Zoho Books does not give what is asked for. CRM goes on.', `Books: ${books.last_error}. On the device: crmirror doctor`);
  } else if (books?.waiting_for_calls) {
    add('warn', 'Needs you', 'The calls of Zoho Books of the day are made: it waits.', `${number(books.calls_today)} of ${number(books.ceiling)} are made. Wait, or raise books.calls_per_day.`);
  }
  const denied = Object.entries(books?.webhooks ?? {}).filter(([, webhook]) => webhook.state === 'denied').map(([name]) => name);
  if (denied.length) {
    add('warn', 'Needs you', `Zoho Books denies ${denied.length === 1 ? 'the webhook' : 'the webhooks'} ${denied.join(', ')}: its changes come late, by catch-up only.`, 'The log says why: journalctl -u crmirror');
  }
  if (outbox?.failed > 0) {
    add('warn', 'Needs you', `${many(outbox.failed, 'call')} to functions failed.`, 'Why: crmirror outbox list --state failed. Mend the function, then: crmirror outbox retry ID');
  }
  if (outbox?.waiting_for_credits) {
    add('warn', 'Needs you', `The runs of functions of the day are made: ${many(outbox.waiting, 'call')} to functions wait${outbox.waiting === 1 ? 's' : ''}.`, 'Wait, or raise outbox.calls_per_day.');
  } else if (outbox?.trouble && outbox.waiting && upstream.state === 'online') {
    add('warn', 'Waiting', `${many(outbox.waiting, 'call')} to functions wait${outbox.waiting === 1 ? 's' : ''}.`, `${outbox.trouble}. Once that is mended they are made by themselves.`);
  }
}
const many = (count, what) => `${number(count)} ${what}${count === 1 ? '' : 's'}`;
function oldest(modules) {
  const times = Object.values(modules).map(module => module.complete_through).filter(Boolean);
  return times.sort((a, b) => Date.parse(a) - Date.parse(b))[0];
}
function bytes(count) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; count >= 1024 && unit < 4; unit++) count /= 1024;
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count).toLocaleString()} ${units[unit]}`;
}

// How things stand. Nodes stay, and only their content changes: nothing jumps under a finger.

function deadWords() {
  const last = model ? ` Below is how things stood ${span((performance.now() - model.at) / 1000)} ago.` : '';
  return `Trying again all the time.${last} On the device: systemctl status crmirror`;
}
function render() {
  const found = dead
    ? [{ level: 'bad', word: 'No answer', headline: 'crmirror does not answer.', todo: deadWords() }]
    : judge(model);
  const [first, ...others] = found;
  document.body.dataset.level = first.level;
  document.body.classList.toggle('dead', Boolean(dead));
  for (const use of [$('mark'), $('pill').querySelector('use')]) use.setAttribute('href', `#i-${first.level}`);
  say($('pill').querySelector('span'), first.word);
  say($('word'), first.word);
  say($('headline'), first.headline);
  say($('todo'), first.todo);
  $('more').hidden = !others.length;
  fill($('more'), others, () => others.map(({ level, headline, todo }) =>
    el('li', {}, icon(level), el('span', {}, el('b', {}, headline), ` ${todo}`))));
  if (!model) return;
  facts(model.status);
  modules(model.status);
  document.title = $('status').hidden ? document.title : `${first.word} · crmirror`;
}

function facts(status) {
  const { upstream, channel, inbox, callbacks, credits, store, modules } = status;
  const missed = Object.values(modules).reduce((sum, module) => sum + module.missed_callbacks, 0);
  const proved = oldest(modules);
  const whose = Object.keys(modules).find(name => modules[name].complete_through === proved);
  const words = { online: 'Reachable', offline: 'Out of reach', denied: 'Denies access' };
  const channels = { open: 'Open', absent: 'Not open', denied: 'Denied', none: channel.id ? 'Closed' : 'Not used' };
  fact('Zoho', words[upstream.state], [upstream.last_error ? 'see above' : 'no error'], upstream.state !== 'online');
  fact('Channel', channels[channel.state], channel.expires ? ['expires ', { iso: channel.expires }] : [''], ['absent', 'denied'].includes(channel.state));
  fact('Proved complete', proved ? { iso: proved } : 'Not yet', [whose && Object.keys(modules).length > 1 ? `${whose}, the oldest` : ''], false);
  fact('Inbox', inbox.waiting ? `${number(inbox.waiting)} waiting` : 'Empty',
    [inbox.quarantined ? `${number(inbox.quarantined)} set aside` : inbox.waiting ? `the oldest for ${span(inbox.oldest_seconds)}` : 'nothing set aside'], inbox.quarantined > 0);
  fact('Callbacks', number(callbacks.accepted), [`${number(callbacks.refused)} refused, ${number(missed)} missed`], false);
  fact('API credits', `${number(credits.spent_today)} of ${number(credits.ceiling)}`, ['in 24 hours'], Boolean(credits.waiting_for_credits));
  fact('Disk', store.free_bytes > 2 ** 60 ? 'Not known' : `${bytes(store.free_bytes)} free`, [store.low ? 'too full to write' : 'enough'], store.low);
  fact('Running for', span(status.uptime_seconds), [`version ${status.version}`], false);
  besides(status);
  say($('foot'), `${number(status.sequence)} changes so far · times are this screen’s; point at one for the exact moment`);
}
// What is there only where it is configured.
function besides({ outbox, books, platform }) {
  if (outbox) {
    const { waiting, oldest_seconds, failed, sent, trouble } = outbox;
    fact('Outbox', waiting ? `${number(waiting)} waiting` : 'Empty',
      [failed ? `${number(failed)} failed` : waiting ? `the oldest for ${span(oldest_seconds)}` : `${number(sent)} sent`], failed > 0 || Boolean(trouble && waiting));
  }
  if (books) {
    fact('Books', `${number(books.calls_today)} of ${number(books.ceiling)}`, [books.last_error ? 'see above' : 'calls in 24 hours'], Boolean(books.last_error || books.waiting_for_calls));
  }
  if (books?.webhooks) {
    const { webhooks, histories, last_callback } = books;
    const states = Object.values(webhooks).map(({ state }) => state);
    const ready = states.filter(state => state === 'ready').length;
    const again = `${number(histories.resent)} sent again`;
    fact('Webhooks', ready === states.length ? 'Ready' : `${number(ready)} of ${number(states.length)} ready`,
      last_callback ? [`${again}, heard `, { iso: last_callback }] : [again], states.includes('denied'));
  }
  if (platform) {
    const { state, last_event, last_event_time } = platform;
    const words = { installed: last_event ? 'Installed' : 'Not heard of', uninstalled: 'Removed', wiping: 'Being erased', wiped: 'Erased' };
    fact('Extension', words[state], last_event ? [`${last_event} `, { iso: last_event_time }] : ['no event yet'], state !== 'installed');
  }
}
const shown = new Map();
function fact(title, value, note, wrong) {
  if (!shown.has(title)) {
    const nodes = [el('dt'), el('dd'), el('dd')];
    shown.set(title, nodes);
    $('facts').append(el('div', {}, ...nodes));
  }
  const [head, first, second] = shown.get(title);
  fill(head, wrong, () => (wrong ? [title, icon('warn')] : [title]));
  tell(first, value);
  tell(second, ...note);
}

// The places are taken from the first moment on.
for (const title of ['Zoho', 'Channel', 'Proved complete', 'Inbox', 'Callbacks', 'API credits', 'Disk', 'Running for']) fact(title, '…', [''], false);

const rows = new Map();
function modules({ modules }) {
  if (!rows.size) $('modules').replaceChildren();
  for (const [name, module] of Object.entries(modules)) {
    if (!rows.has(name)) {
      const cells = [el('td', {}, el('a', { href: `#/${name}` }, name), el('small')), el('td', { class: 'n' }), el('td'), el('td')];
      rows.set(name, cells);
      $('modules').append(el('tr', {}, ...cells));
    }
    const [head, count, through, sweep] = rows.get(name);
    const { scan } = module;
    const kinds = { catch_up: 'catching up', sweep: 'sweeping', refresh: 'refreshing' };
    say(head.lastChild, scan ? `${kinds[scan.kind] ?? scan.kind}: ${number(scan.rows)} rows` : '');
    say(count, number(module.records));
    tell(through, module.complete_through ? { iso: module.complete_through } : 'not yet');
    tell(sweep, module.last_sweep ? { iso: module.last_sweep } : 'not yet');
  }
}
