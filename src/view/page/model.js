"use strict";
// The fleet at any moment: functions of the page's data. Nothing in this file touches the page.

// What a node means for the others, the worst news first.
const CATEGORIES = ["silent", "down", "draining", "absent", "active"];

// The built-in states, for pages whose data has no table of states.
const STATES = {
  presetup: "absent",
  setup: "absent",
  initdone: "active",
  done: "active",
  running: "active",
  wedged: "down",
  draining: "draining",
  drained: "down",
  decommissioned: "absent",
};

// The most changes that an event of the data has.
const CHANGES = 20;

const HOUR = 3600;
const collator = new Intl.Collator("en", { numeric: true });

/** Prepares the page's data: the times of events in order, and each node's events. */
function fleetOf(data) {
  const events = data.history.events;
  const times = new Float64Array(events.length);
  const ofNode = data.nodes.map(() => []);
  let last = -Infinity;
  events.forEach((event, index) => {
    // The clocks of committers differ. The order of the list is right, so time never goes back here.
    last = Math.max(last, Math.min(event[0], data.at));
    times[index] = last;
    ofNode[event[1]]?.push(index);
  });
  const states = Object.assign(Object.create(null), data.states ?? STATES);
  const known = [data.history.from, data.history.begins].filter((time) => time !== null);
  const begins = known.length ? Math.min(data.at, Math.max(...known)) : null;
  return { data, events, times, ofNode, states, begins };
}

/** How many of the sorted `times` are at or before `time`. */
function countUntil(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a state means for the others. */
function availability(fleet, state) {
  return state === null || state === undefined ? "active" : (fleet.states[state] ?? "absent");
}

function categoryNow(fleet, node) {
  if (!node.listed) return "gone";
  if (node.freshness === "silent") return "silent";
  if (node.counted) return "active";
  const stated = availability(fleet, node.is.state);
  return stated === "active" ? "absent" : stated;
}

/** Takes one event back from a node's facts. */
function undo(row, event, columns) {
  const [, , kind, , changes] = event;
  if (kind === "left") row.listed = true;
  if (kind === "joined" || kind === "there") row.listed = false;
  if (changes.length >= CHANGES) row.incomplete = true;
  for (const [fact, old] of changes) {
    if (columns.includes(fact)) row.is[fact] = old;
    else (row.undone ??= new Map()).set(fact, old);
  }
}

function rowOf(node, index) {
  return { index, id: node.id, listed: node.listed, is: { ...node.is }, undone: null, incomplete: false };
}

/** All nodes at a moment, from the present backwards. Heartbeats are known for the present only. */
function momentOf(fleet, time) {
  const { data, events } = fleet;
  const past = time < data.at;
  const count = past ? countUntil(fleet.times, time) : events.length;
  const rows = data.nodes.map(rowOf);
  for (let index = events.length - 1; index >= count; index--) {
    const row = rows[events[index][1]];
    if (row) undo(row, events[index], data.columns);
  }
  for (const row of rows) {
    const node = data.nodes[row.index];
    row.changed = null;
    const own = fleet.ofNode[row.index];
    for (let last = own.length - 1; last >= 0 && row.changed === null; last--) {
      if (own[last] < count && events[own[last]][2] !== "there") row.changed = fleet.times[own[last]];
    }
    row.heard = past ? null : node.heard;
    row.freshness = past ? "not known for the past" : node.freshness;
    row.reason = past ? null : node.reason;
    row.category = past
      ? row.listed
        ? availability(fleet, row.is.state)
        : "gone"
      : categoryNow(fleet, node);
  }
  return { time: past ? time : data.at, past, count, rows, listed: rows.filter((row) => row.listed) };
}

/** The facts of a node beside the columns, at a moment. */
function factsOf(fleet, row) {
  const facts = new Map(fleet.data.nodes[row.index].facts);
  for (const [fact, old] of row.undone ?? []) {
    if (old === null) facts.delete(fact);
    else facts.set(fact, old);
  }
  return [...facts].sort((one, other) => (one[0] < other[0] ? -1 : 1));
}

/** A node's states over time: spans, newest first, not before `begins`; and its other changes. */
function laneOf(fleet, index) {
  const { data, times, events } = fleet;
  const node = data.nodes[index];
  const row = rowOf(node, index);
  const spans = [];
  const marks = [];
  let end = data.at;
  const add = (from, to, category) => {
    const last = spans.at(-1);
    if (last && last.category === category && last.state === row.is.state && last.from === to)
      last.from = from;
    else if (category !== "gone") spans.push({ from, to, category, state: row.is.state ?? null });
  };
  const category = () => (row.listed ? availability(fleet, row.is.state) : "gone");
  if (!data.past && node.listed && node.freshness === "silent" && node.heard !== null) {
    end = Math.min(data.at, Math.max(node.heard, fleet.begins ?? node.heard));
    add(end, data.at, "silent");
  }
  const own = fleet.ofNode[index];
  let now = !data.past && node.listed && node.freshness !== "silent" ? categoryNow(fleet, node) : null;
  for (let at = own.length - 1; at >= 0; at--) {
    const event = events[own[at]];
    const time = times[own[at]];
    if (time < end) add(time, end, now ?? category());
    end = Math.min(end, time);
    now = null;
    marks.push({ time, kind: event[2] });
    undo(row, event, data.columns);
  }
  const first = fleet.begins ?? data.at;
  if (row.listed && first < end) add(first, end, now ?? category());
  return { spans, marks };
}

/** The part, with its installation where the list has several. */
function groupKey(is) {
  return JSON.stringify([is.stacktype ?? null, is.deployment ?? null, is.part ?? null]);
}

/** Counts by part and state. Silent nodes are counted apart from their state. */
function countsOf(fleet, moment) {
  const columns = new Map();
  const groups = new Map();
  for (const row of moment.listed) {
    const silent = row.category === "silent";
    const state = silent ? "silent" : (row.is.state ?? "no state");
    const column = JSON.stringify([row.category, state]);
    if (!columns.has(column)) columns.set(column, { key: column, category: row.category, state, silent });
    const key = groupKey(row.is);
    if (!groups.has(key)) {
      groups.set(key, { key, is: row.is, total: 0, active: 0, cells: new Map(), rows: [] });
    }
    const group = groups.get(key);
    group.total += 1;
    group.active += row.category === "active" ? 1 : 0;
    group.cells.set(column, (group.cells.get(column) ?? 0) + 1);
    group.rows.push(row);
  }
  const order = (column) => ["active", "draining", "down", "absent", "silent"].indexOf(column.category);
  const shown = [...columns.values()].sort(
    (one, other) => order(one) - order(other) || collator.compare(one.state, other.state),
  );
  const sorted = [...groups.values()].sort((one, other) =>
    ["stacktype", "deployment", "part"].reduce(
      (so, column) => so || compare(one.is[column], other.is[column]),
      0,
    ),
  );
  return { columns: shown, groups: sorted };
}

/** Orders values as people do; those that are not stated come last. */
function compare(one, other) {
  const empty = (value) => value === null || value === undefined;
  if (empty(one) || empty(other)) return empty(one) - empty(other);
  if (typeof one === "number") return one - other;
  return collator.compare(one, other) || (one < other ? -1 : one > other ? 1 : 0);
}

/** A glob as a test of a whole text; without `*` and `?` it is the text itself. Case does not matter. */
function glob(pattern, whole) {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, ".*")
    .replace(/\?/g, ".");
  return new RegExp(whole ? `^${escaped}$` : escaped, "isu");
}

/** The words of a filter: `web 'two words' part:app* state:active`. */
function wordsOf(text) {
  const words = text.slice(0, 500).match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  return words
    .map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, (_, one, other) => one ?? other))
    .filter(Boolean);
}

/** A filter from its text: whether a row passes, and which facts it names that no node states. */
function filterOf(fleet, text) {
  const { data } = fleet;
  fleet.facts ??= new Set(data.nodes.flatMap((node) => node.facts.map(([fact]) => fact)));
  const unknown = [];
  const tests = wordsOf(text).map((word) => {
    const colon = word.indexOf(":");
    const name = word.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = word.slice(colon + 1);
    const fact = [...fleet.facts].find((fact) => fact.toLowerCase() === name);
    if (name === "state") {
      const test = glob(value, true);
      return (row) => test.test(row.is.state ?? "") || test.test(row.category);
    }
    if (data.columns.includes(name)) {
      const test = glob(value, true);
      return (row) => test.test(row.is[name] ?? "");
    }
    if (name === "id") {
      const test = glob(value, true);
      return (row) => test.test(row.id);
    }
    if (fact !== undefined) {
      const test = glob(value, true);
      return (row) => factsOf(fleet, row).some(([name, text]) => name === fact && test.test(text));
    }
    // An address of IPv6 and a time have colons, too.
    if (/^[a-z][\w-]*$/.test(name) && value !== "" && !value.startsWith(":")) unknown.push(name);
    const test = glob(word, false);
    return (row) =>
      test.test(row.id) ||
      test.test(row.category) ||
      data.columns.some((column) => test.test(row.is[column] ?? ""));
  });
  return { passes: (row) => tests.every((test) => test(row)), unknown, empty: tests.length === 0 };
}

/** Sorts rows by a column; equal ones by part and then by id. */
function sorted(rows, column, descending) {
  const value = (row) => {
    if (column === "id") return row.id;
    if (column === "heard" || column === "changed") return row[column] === null ? null : -row[column];
    if (column === "state")
      return row.listed ? `${CATEGORIES.indexOf(row.category)} ${row.is.state ?? ""}` : null;
    return row.is[column] ?? null;
  };
  const keyed = rows.map((row) => ({ row, key: value(row) }));
  const sign = descending ? -1 : 1;
  keyed.sort((one, other) => {
    const missing = (one.key === null) - (other.key === null);
    return (
      missing ||
      sign * compare(one.key, other.key) ||
      compare(one.row.is.part, other.row.is.part) ||
      compare(one.row.id, other.row.id)
    );
  });
  return keyed.map(({ row }) => row);
}

/** Nodes of which somebody should know: silent, wedged, or left within the last hour. */
function missingAt(fleet, moment) {
  const found = [];
  for (const row of moment.rows) {
    const own = fleet.ofNode[row.index].filter((index) => index < moment.count);
    const last = own.at(-1);
    if (row.listed && row.category === "silent") {
      found.push({ row, why: "silent", since: row.heard });
    } else if (row.listed && row.is.state === "wedged") {
      const event = own.findLast((index) => fleet.events[index][4].some(([fact]) => fact === "state"));
      const known = event !== undefined && fleet.events[event][2] !== "there";
      found.push({ row, why: "wedged", since: known ? fleet.times[event] : null });
    } else if (
      !row.listed &&
      last !== undefined &&
      fleet.events[last][2] === "left" &&
      moment.time - fleet.times[last] <= HOUR
    ) {
      found.push({ row, why: "left", since: fleet.times[last] });
    }
  }
  const order = ["silent", "wedged", "left"];
  return found.sort(
    (one, other) =>
      order.indexOf(one.why) - order.indexOf(other.why) ||
      compare(one.since, other.since) ||
      compare(one.row.id, other.row.id),
  );
}

// Words.

/** Text without characters that change how the text around them is read. */
function harmless(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu,
    (character) => `\\u{${character.codePointAt(0).toString(16)}}`,
  );
}

function plural(count, one, many) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : (many ?? `${one}s`)}`;
}

/** A stretch of time in words. */
function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * HOUR) {
    const minutes = Math.floor((whole % HOUR) / 60);
    return whole < 6 * HOUR && minutes
      ? `${Math.floor(whole / HOUR)} h ${minutes} min`
      : `${Math.floor(whole / HOUR)} h`;
  }
  return plural(Math.floor(whole / 86400), "day");
}

/** A time in UTC: `2026-09-21 13:20:05`. */
function utc(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime())
    ? "an unreadable time"
    : date.toISOString().slice(0, 19).replace("T", " ");
}

/** An event in words, without the node's name. */
function happened(event) {
  const [, , kind, , changes] = event;
  const shown = (value) =>
    value === null ? "nothing" : value.length > 40 ? `${value.slice(0, 39)}…` : value;
  const of = (name) => changes.find(([fact]) => fact === name);
  const part = (side) => (of("part")?.[side] ? ` (${shown(of("part")[side])})` : "");
  switch (kind) {
    case "joined":
      return `joined${part(2)}`;
    case "there":
      return `was on the list already${part(2)}`;
    case "left":
      return `left${part(1)}`;
    default: {
      const words = changes.map(([fact, old, now]) => `${fact} ${shown(old)} → ${shown(now)}`);
      return words.length
        ? words.slice(0, 3).join(", ") + (words.length > 3 ? `, and ${words.length - 3} more` : "")
        : "record rewritten";
    }
  }
}
