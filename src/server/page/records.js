// The records behind the status, and the way to them.

// Routes: #/ is the status, #/Leads its records, #/Leads/7 one record.

function at() {
  const [path, query] = location.hash.replace(/^#?\/?/, '').split('?');
  const [module, id] = path.split('/').map(part => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { module, id, query: new URLSearchParams(query) };
}
function show(view, title, ...crumbs) {
  for (const each of ['status', 'list', 'record', 'token']) $(each).hidden = each !== view;
  $('pill').hidden = view === 'token';
  $('crumbs').replaceChildren(...crumbs);
  document.title = `${title} · crmirror`;
}
function route(event) {
  const { module, id, query } = at();
  turn++;
  window.scrollTo(0, 0);
  if (!module) {
    show('status', 'Status');
    if (event) $('main').focus();
    if (model || dead) render();
  } else if (id) {
    show('record', `${module} ${id}`, '/ ', el('a', { href: `#/${encodeURIComponent(module)}` }, module));
    say($('record-title'), id);
    $('fields').replaceChildren();
    $('system').hidden = true;
    say($('raw'), '');
    record(module, id);
    $('record-title').focus();
  } else {
    show('list', module, `/ ${module}`);
    say($('list-title'), module);
    $('query').value = query.get('q') ?? '';
    list(module, query);
    if (!query.has('q')) $('list-title').focus();
  }
}
window.addEventListener('hashchange', route);
$('search').addEventListener('submit', event => {
  event.preventDefault();
  const text = $('query').value.trim();
  const base = `#/${encodeURIComponent(at().module)}`;
  if (/^\d{6,}$/.test(text)) location.hash = `${base}/${text}`;
  else location.hash = text ? `${base}?${new URLSearchParams({ q: text })}` : base;
});

// Digits that a number of JavaScript cannot hold are kept as text.
function parse(text) {
  return JSON.parse(text, (key, value, context) => {
    const digits = typeof value === 'number' && context?.source;
    return digits && digits !== String(value) ? digits : value;
  });
}
function freshness(said, reply, ...before) {
  const through = reply.headers.get('mirror-complete-through');
  said.classList.remove('wrong');
  said.replaceChildren(...before, ...(Date.parse(through) ? ['Complete through ', timeOf(through), '.'] : ['The first copy is not complete yet.']));
}
function wrong(said, text) {
  said.classList.add('wrong');
  say(said, text);
}

// Books is read in a shape of its own, which is brought into that of CRM here.

const isOfBooks = module => Boolean(model?.status.books?.modules.includes(module));
function fromBooks({ code, message, page_context: page, ...rest }) {
  if (code) return { message };
  const [found] = Object.values(rest);
  if (!page) return { data: [found] };
  const data = found.map(row => ({ id: row[page.sort_column], Modified_Time: row.last_modified_time, ...row }));
  return { data, info: { page: page.page, more_records: page.has_more_page } };
}
// The text of the record alone.
const inside = (module, body) => (isOfBooks(module)
  ? body.slice(body.indexOf('{', 1), body.lastIndexOf('}'))
  : body.slice(body.indexOf('[') + 1, body.lastIndexOf(']')));

// The records of a module, a page of them.

async function list(module, query) {
  const mine = turn;
  const said = $('list-said');
  const q = query.get('q');
  const wanted = new URLSearchParams({ per_page: PER_PAGE });
  if (q) wanted.set(q.startsWith('(') ? 'criteria' : 'word', q);
  for (const name of ['page', 'page_token']) if (query.has(name)) wanted.set(name, query.get(name));
  try {
    await ready;
    const books = isOfBooks(module);
    if (books && q) return wrong(said, 'Search is for the modules of CRM. An id leads to its record.');
    const reply = await ask(books ? `/books/v3/${module}?${wanted}` : `/crm/v2/${encodeURIComponent(module)}${q ? '/search' : ''}?${wanted}`);
    const text = await reply.text();
    if (mine !== turn) return;
    const { data = [], info = {}, message } = text ? (books ? fromBooks(parse(text)) : parse(text)) : {};
    table(module, data);
    turnPages(module, q, query, info);
    if (!reply.ok) return wrong(said, `Not possible: ${message}.`);
    const count = data.length ? `${many(data.length, 'record')}${info.more_records || info.page > 1 ? ' on this page' : ''}. ` : 'No records. ';
    freshness(said, reply, count);
  } catch {
    if (mine === turn) wrong(said, 'crmirror does not answer.');
  }
}
function table(module, data) {
  $('list-card').hidden = !data.length;
  const has = name => data.some(row => text(row[name]) !== '');
  const columns = COLUMNS.filter(name => has(name) && name !== titleField(data[0] ?? {})).slice(0, 3);
  const stamped = has('Modified_Time');
  const heads = ['Name', ...columns.map(plain), ...(stamped ? ['Modified'] : [])];
  $('list-head').replaceChildren(...(data.length ? [el('tr', {}, ...heads.map(name => el('th', { scope: 'col' }, name)))] : []));
  $('list-rows').replaceChildren(...data.map(row => {
    const name = el('a', { href: `#/${encodeURIComponent(module)}/${encodeURIComponent(row.id)}` }, text(row[titleField(row)]) || row.id);
    const cells = [name, ...columns.map(column => text(row[column])), ...(stamped ? [row.Modified_Time ? timeOf(row.Modified_Time) : ''] : [])];
    return el('tr', {}, ...cells.map(cell => el('td', {}, cell)));
  }));
}
function turnPages(module, q, query, info) {
  const to = more => `#/${encodeURIComponent(module)}${[...more.keys()].length ? `?${more}` : ''}`;
  const start = new URLSearchParams(q ? { q } : {});
  const links = [el('span')];
  if (query.has('page') || query.has('page_token')) links[0] = el('a', { href: to(start) }, 'First page');
  if (info.more_records) {
    const next = new URLSearchParams(start);
    if (info.next_page_token) next.set('page_token', info.next_page_token);
    else next.set('page', info.page + 1);
    links.push(el('a', { href: to(next) }, 'Next page'));
  }
  $('pages').replaceChildren(...links);
}
function titleField(row) {
  return TITLES.find(name => text(row[name])) ?? Object.keys(row).find(name => name.endsWith('Name') && text(row[name])) ?? 'id';
}
const plain = name => name.replaceAll('_', ' ').trim();
// A value in one line.
function text(value) {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value)) return value.map(text).join(', ');
  if (typeof value === 'object') return text(value.name ?? value.id ?? JSON.stringify(value));
  return typeof value === 'boolean' ? (value ? 'Yes' : 'No') : String(value);
}

// One record.

async function record(module, id) {
  const mine = turn;
  const said = $('record-said');
  try {
    await ready;
    const books = isOfBooks(module);
    const reply = await ask(`/${books ? 'books/v3' : 'crm/v2'}/${encodeURIComponent(module)}/${encodeURIComponent(id)}`);
    const body = await reply.text();
    if (mine !== turn) return;
    const { data = [], message } = body ? (books ? fromBooks(parse(body)) : parse(body)) : {};
    const [row] = data;
    $('fields-card').hidden = !row || !$('raw').hidden;
    if (!row) return wrong(said, reply.ok ? 'Not here: it was deleted, or never was.' : `Not possible: ${message}.`);
    freshness(said, reply, `${module} ${id}. `);
    const title = text(row[titleField(row)]);
    say($('record-title'), title);
    document.title = `${title} · crmirror`;
    const entries = Object.entries(row);
    const system = ([name]) => name.startsWith('$');
    $('fields').replaceChildren(...entries.filter(entry => !system(entry)).map(fieldRow));
    $('system-fields').replaceChildren(...entries.filter(system).map(fieldRow));
    $('system').hidden = !entries.some(system);
    say($('raw'), pretty(inside(module, body)));
  } catch {
    if (mine === turn) wrong(said, 'crmirror does not answer.');
  }
}
function fieldRow([name, value]) {
  return el('tr', {}, el('th', { scope: 'row', title: name }, plain(name)), el('td', {}, field(name, value)));
}
function field(name, value) {
  if (text(value) === '') return el('span', { class: 'soft' }, '—');
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT[\d:]+([+-]\d\d:\d\d|Z)$/.test(value)) return timeOf(value, clock(value));
  if (typeof value !== 'object') return text(value);
  const module = value.id && mirrored(name, value);
  if (module) return el('a', { href: `#/${module}/${encodeURIComponent(value.id)}` }, text(value));
  if (value.name || (Array.isArray(value) && value.every(each => typeof each !== 'object'))) return text(value);
  return el('code', {}, JSON.stringify(value, null, 2));
}
// The mirrored module that a lookup leads to: named by itself, or by its field (Account_Name).
function mirrored(name, value) {
  const known = Object.keys(model?.status.modules ?? {});
  const named = typeof value.module === 'object' ? value.module?.api_name : value.module;
  if (named) return known.find(module => module === named);
  const words = name.split('_');
  return known.find(module => words.includes(module.replace(/ies$/, 'y').replace(/s$/, '')));
}
// The record's own text, digit by digit, a line for each value.
function pretty(json) {
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  return json.replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|\s+/g, part => {
    if (part === '{' || part === '[') return part + (depth++, line());
    if (part === '}' || part === ']') return (depth--, line()) + part;
    if (part === ',') return part + line();
    if (part === ':') return ': ';
    return part.trim() || (part[0] === '"' ? part : '');
  });
}
function showAs(raw) {
  $('raw').hidden = !raw;
  $('fields-card').hidden = raw;
  $('as-raw').setAttribute('aria-pressed', String(raw));
  $('as-fields').setAttribute('aria-pressed', String(!raw));
}
$('as-raw').addEventListener('click', () => showAs(true));
$('as-fields').addEventListener('click', () => showAs(false));

const ready = look();
route();
ready.then(() => {
  setInterval(look, LOOK_EVERY);
  follow();
});
