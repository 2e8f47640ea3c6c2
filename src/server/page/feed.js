// The feed of changes: the last few are replayed at the start, the others come as they happen.

function begin(sequence) {
  if (seen !== null) $('changes').replaceChildren();
  seen = Math.max(0, sequence - CHANGES_SHOWN);
  replayed = sequence;
}
function live(words) {
  say($('live'), words);
}
async function follow() {
  for (;;) {
    let rest = FEED_PAUSE;
    if (seen !== null && !dead && $('token').hidden) {
      try {
        rest = await listen();
      } catch {
        live(dead ? 'no answer' : 'connecting');
      }
    }
    await pause(rest);
  }
}
async function listen() {
  const stop = new AbortController();
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => stop.abort(), SILENCE_LIMIT);
  };
  heard();
  try {
    // Not by EventSource: it can neither show a token nor say why it was turned away.
    const reply = await ask(`/changes?since=${seen}${withRecords}`, { headers: { Accept: 'text/event-stream' }, signal: stop.signal });
    if (reply.status === 410) {
      seen = (await reply.json()).details.oldest;
      return 0;
    }
    if (reply.status === 400 && withRecords) {
      withRecords = '';
      return 0;
    }
    if (!reply.ok || !reply.headers.get('content-type')?.startsWith('text/event-stream')) {
      live(`looked at every ${LOOK_EVERY / 1000} s`);
      changesUnknown();
      return NO_FEED_PAUSE;
    }
    live('live');
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ;) {
      const { value, done } = await reader.read();
      if (done) return FEED_PAUSE;
      heard();
      const parts = (text + value).replaceAll('\r\n', '\n').split('\n\n');
      text = parts.pop();
      parts.forEach(take);
    }
  } finally {
    clearTimeout(silence);
    stop.abort();
  }
}
function take(message) {
  const data = message.split('\n').filter(line => line.startsWith('data:')).map(line => line.slice(5)).join('\n');
  if (!data) return;
  const change = parse(data);
  if (!(change.sequence > seen)) return;
  seen = change.sequence;
  const gone = change.kind === 'delete';
  const name = change.record && text(change.record[titleField(change.record)]);
  // What the platform tells of the extension is no record that could be looked at.
  const link = change.module === '$platform' ? el('span', {}, `${change.record?.event ?? 'an event'} (the extension)`) : linkTo(change, gone, name);
  const item = el('li', {}, icon(gone ? 'gone' : 'edit'), link, timeOf(change.time));
  if (change.sequence > replayed) item.classList.add('new');
  // The others stay as they are: one of them may have the focus.
  const list = $('changes');
  list.querySelector('.none')?.remove();
  list.prepend(item);
  while (list.childElementCount > CHANGES_SHOWN) list.lastElementChild.remove();
  lookSoon();
  const { module, id } = at();
  if (change.sequence > replayed && module === change.module && id === change.id) record(module, id);
}
function linkTo(change, gone, name) {
  // On a narrow screen the icon says "changed", and the name has the room.
  const word = el('span', gone ? {} : { class: 'hush' }, gone ? 'Deleted: ' : 'Changed: ');
  return el('a', { href: `#/${change.module}/${change.id}`, title: change.id }, word, `${name || '…' + change.id.slice(-6)} (${change.module})`);
}
function changesUnknown() {
  const words = 'There is no feed of changes here. The numbers on this page are looked at every few seconds.';
  fill($('changes'), words, () => [el('li', { class: 'none' }, words)]);
}
