// The moment that is shown, and the timeline.

const WINDOWS = [
  ["1 h", 3600],
  ["6 h", 21600],
  ["24 h", 86400],
  ["7 days", 604800],
  ["30 days", 2592000],
  ["1 year", 31536000],
];

/** The window of the timeline: never before the known history, and never without the moment. */
function frameOf() {
  const { data, begins, times } = fleet;
  const first = begins ?? data.at - HOUR;
  const whole = data.at - first;
  const lengths = WINDOWS.map(([, seconds]) => seconds);
  // By default, the shortest that shows the last forty changes.
  const recent = times.length ? data.at - times[Math.max(0, times.length - 40)] : whole;
  let length = view.window ?? lengths.find((seconds) => seconds >= Math.min(whole, recent)) ?? whole;
  while (moment.time < data.at - length && length < whole) {
    length = lengths.find((seconds) => seconds > length) ?? whole;
  }
  put(
    "window",
    WINDOWS.filter(([, seconds]) => seconds < whole).map(([name, seconds]) =>
      make("option", { value: seconds }, name),
    ),
    make("option", { value: whole }, `all (${span(whole)})`),
  );
  byId("window").value = String(Math.min(length, whole));
  return { from: Math.max(first, data.at - length), to: Math.max(data.at, first + 1) };
}

function drawDock() {
  const { data, begins } = fleet;
  const isKnown = hasPast();
  const past = moment.past ? span(data.at - moment.time) : null;
  put(
    "when",
    make(
      "span",
      { class: moment.past ? "badge" : "badge now" },
      moment.past ? "past" : data.past ? "as of" : "now",
    ),
    " ",
    make("b", null, `${utc(moment.time)} UTC`),
    past ? quiet(` ${past} before`, make("span", { class: "long" }, " this page was made")) : null,
  );
  document.body.classList.toggle("past", moment.past);
  const slider = byId("slider");
  slider.disabled = byId("window").disabled = !isKnown;
  byId("later").disabled = byId("now").disabled = !moment.past;
  byId("earlier").disabled = !isKnown || moment.time <= begins;
  byId("hour").disabled = !isKnown || moment.time - HOUR < begins;
  slider.min = frame.from;
  slider.max = frame.to;
  slider.value = moment.time;
  const [last] = moment.past ? lastChanges(1) : [];
  const event = last ? `; ${data.nodes[last.event[1]].id} ${happened(last.event)}` : "";
  slider.setAttribute(
    "aria-valuetext",
    harmless(`${utc(moment.time)} UTC, ${past ? `${past} before` : "now"}${event}`),
  );
  byId("dock").classList.toggle("unknown", !isKnown);
  put("density", isKnown ? density(fleet, frame) : note("Nothing before this moment is known."));
  put(
    "axis",
    isKnown
      ? ticks(frame, byId("axis").clientWidth < 500 ? 3 : 7).map(({ left, text }) => {
          const mark = make("span", null, text);
          mark.style.left = `${left}%`;
          return mark;
        })
      : null,
  );
  const style = document.documentElement.style;
  style.setProperty("--moment", `${place(frame, moment.time)}%`);
  style.setProperty("--at", place(frame, moment.time) / 100);
}

// The timeline.

/** Where a time is in the window, in percent. */
function place(frame, time) {
  return (
    ((Math.min(Math.max(time, frame.from), frame.to) - frame.from) / Math.max(1, frame.to - frame.from)) * 100
  );
}

/** One node's states over the window. What is too small to see is drawn once. */
function laneBars(lane, frame) {
  const bars = [];
  let before = Infinity;
  for (const one of lane.spans) {
    if (one.to < frame.from || one.from > frame.to) continue;
    const [left, right] = [place(frame, one.from), place(frame, one.to)];
    if (right - left < 0.1 && before - left < 0.1) continue;
    before = left;
    const bar = make("i", {
      class: `bar ${one.category}`,
      title: `${one.category === "silent" ? "silent" : (one.state ?? "no state")}: ${utc(one.from)} to ${utc(one.to)} UTC`,
    });
    bar.style.left = `${left}%`;
    bar.style.width = `${right - left}%`;
    bars.push(bar);
  }
  before = Infinity;
  for (const { time, kind } of lane.marks) {
    if (kind !== "facts" || time < frame.from) continue;
    const left = place(frame, time);
    if (before - left < 0.5) continue;
    before = left;
    const tick = make("i", { class: "tick", title: `facts changed: ${utc(time)} UTC` });
    tick.style.left = `${left}%`;
    bars.push(tick);
  }
  return bars;
}

/** How many changes happened when, as a small picture. */
function density(fleet, frame, bins = 120) {
  const counts = new Array(bins).fill(0);
  for (let index = fleet.times.length - 1; index >= 0 && fleet.times[index] >= frame.from; index--) {
    if (fleet.events[index][2] === "there") continue;
    counts[Math.min(bins - 1, Math.floor((place(frame, fleet.times[index]) / 100) * bins))] += 1;
  }
  const most = Math.sqrt(Math.max(1, ...counts));
  const bars = counts.map(
    (count, index) =>
      count &&
      draw("rect", {
        x: index + 0.1,
        width: 0.8,
        y: 20 - (Math.sqrt(count) / most) * 20,
        height: (Math.sqrt(count) / most) * 20,
      }),
  );
  return draw("svg", { viewBox: `0 0 ${bins} 20`, preserveAspectRatio: "none" }, bars.filter(Boolean));
}

/** The marks of the time axis: round times, as many as have room. */
function ticks(frame, most) {
  const steps = [
    60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000,
    31536000,
  ];
  const length = frame.to - frame.from;
  const step = steps.find((one) => length / one <= most) ?? Math.ceil(length / most / 31536000) * 31536000;
  const found = [];
  for (
    let time = Math.ceil(frame.from / step) * step;
    time <= frame.to && found.length <= most;
    time += step
  ) {
    const text = utc(time);
    found.push({
      left: place(frame, time),
      text: step >= 86400 ? text.slice(0, 10) : time % 86400 === 0 ? text.slice(5, 10) : text.slice(11, 16),
    });
  }
  return found;
}

function laneAt(index) {
  if (!lanes.has(index)) lanes.set(index, laneOf(fleet, index));
  return lanes.get(index);
}

let laneItems = [];

/** Draws the lanes of the table's nodes, in its order, and those of nodes that left within the window. */
function drawLanes({ rows, filter }) {
  const gone = moment.rows.filter(
    (row) => !row.listed && filter.passes(row) && laneAt(row.index).spans.some((one) => one.to >= frame.from),
  );
  const isGrouped = view.sort === "part" && !view.descending;
  let part;
  const shown = hasPast() ? [...rows, ...gone] : [];
  laneItems = sorted(shown, view.sort, view.descending).flatMap((row) => {
    const own = row.is.part ?? "no part";
    if (!isGrouped || own === part) return [{ row }];
    part = own;
    return [{ part }, { row }];
  });
  byId("legend").hidden = !laneItems.length;
  scrollLanes();
  const { history, stores } = fleet.data;
  const words = [
    "A gap is known only from a silent node's last heartbeat until now: heartbeats leave no history.",
  ];
  if (history.cut)
    words.push(`Older changes were left out of this page; it begins at ${utc(fleet.begins)} UTC.`);
  else if (history.begins !== null) words.push(`The known history begins at ${utc(history.begins)} UTC.`);
  for (const store of stores) {
    if (store.history === "none") words.push(`${store.store.slice(0, 200)} keeps no history.`);
    if (store.note) words.push(`${store.store.slice(0, 200)}: ${store.note.slice(0, 400)}`);
  }
  byId("lanes-note").textContent = harmless(words.join(" "));
}

/** Draws the lanes that can be seen; on paper, the first `most`. */
function scrollLanes(most) {
  const host = byId("lanes");
  const height = host.clientWidth < 560 ? 34 : 24;
  const first = most ? 0 : Math.max(0, Math.floor(host.scrollTop / height) - 4);
  const last = most ?? first + Math.ceil((host.clientHeight || 400) / height) + 8;
  const lines = laneItems.slice(first, last).map(({ part, row }, index) => {
    const line = row ? laneLine(row) : make("div", { class: "lane head" }, value(part, 40));
    line.style.top = `${(first + index) * height}px`;
    line.style.height = `${height}px`;
    return line;
  });
  const all = make(
    "div",
    { class: "lines" },
    laneItems.length
      ? lines
      : make(
          "p",
          { class: "empty" },
          hasPast() ? "No node passes the filter in this window." : "Nothing before this moment is known.",
        ),
  );
  all.style.height = `${laneItems.length ? Math.min(laneItems.length, most ?? Infinity) * height : 48}px`;
  const top = host.scrollTop;
  host.replaceChildren(all);
  host.scrollTop = top;
}

function laneLine(row) {
  const lane = laneAt(row.index);
  const words = lane.spans
    .slice(0, 4)
    .map(
      (one) => `${one.category === "silent" ? "silent" : (one.state ?? "no state")} from ${utc(one.from)}`,
    );
  const open = (event) => openNode(row.id, event);
  return make(
    "div",
    { class: `lane ${row.category}${row.id === view.node ? " chosen" : ""}` },
    make(
      "button",
      { type: "button", class: "node", tabindex: -1, "data-key": `lane ${row.id}`, onclick: open },
      value(row.id, 40),
    ),
    make(
      "div",
      { class: "bars", role: "img", "aria-label": words.join(", ") || "not on the list" },
      laneBars(lane, frame),
    ),
  );
}

function drawLegend() {
  const words = {
    active: "active",
    draining: "draining",
    down: "down (wedged, drained)",
    absent: "absent (in setup, or unknown)",
    silent: "silent: no heartbeat",
    gone: "not on the list",
  };
  put(
    "legend",
    Object.entries(words).map(([category, text]) =>
      make("span", null, make("i", { class: `bar ${category}` }), shape(category), ` ${text}`),
    ),
    make("span", null, make("i", { class: "tick" }), " facts changed"),
  );
}
