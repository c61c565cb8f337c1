// What keys, buttons, the address and a newer page do.

let raw = byId("fleet").textContent; // the data as text, to see whether a newer page differs
let newer = null; // the data of a newer page that waits for the reader
let opener = null; // what had the focus when the details opened

/** The address of the view, with some changes. */
function hashOf(changes) {
  const { filter, sort, descending, at, node, window } = { ...view, ...changes };
  const words = new URLSearchParams();
  if (filter) words.set("filter", filter);
  if (sort !== "part" || descending) words.set("sort", `${descending ? "-" : ""}${sort}`);
  if (at !== null) words.set("at", String(at));
  if (window !== null) words.set("window", String(window));
  if (node !== null) words.set("node", node);
  return `#${words}`;
}

function readHash() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return;
  const words = new URLSearchParams(hash);
  const number = (name) => (/^\d{1,12}$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  const sort = words.get("sort") ?? "part";
  const column = sort.replace(/^-/, "");
  const isColumn = columnsOfTable().some(({ key }) => key === column);
  Object.assign(view, {
    filter: words.get("filter") ?? "",
    sort: isColumn ? column : "part",
    descending: isColumn && sort.startsWith("-"),
    at: number("at"),
    window: number("window"),
    node: words.get("node"),
  });
  byId("filter").value = view.filter;
}

let writing;
function writeHash() {
  clearTimeout(writing);
  // Browsers refuse an address that changes many times a second.
  writing = setTimeout(() => {
    const hash = hashOf({});
    history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
  }, 250);
}

/** Draws everything, and leaves the focus where it was. */
function redraw() {
  const focus = document.activeElement?.dataset?.key;
  const { data, begins } = fleet;
  if (view.at !== null) view.at = Math.max(view.at, begins ?? data.at);
  if (view.at !== null && view.at >= data.at) view.at = null;
  moment = momentOf(fleet, view.at ?? data.at);
  frame = frameOf();
  const counts = countsOf(fleet, moment);
  // First, because it changes the room that the others have.
  document.body.classList.toggle("open", view.node !== null);
  drawHead();
  drawMissing();
  drawCounts(counts);
  drawWiring(counts);
  drawChanges();
  drawDock();
  drawLanes(drawTable());
  drawDetails();
  if (focus && document.activeElement?.dataset?.key !== focus) keyed(focus)?.focus({ preventScroll: true });
}

const keyed = (key) => [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);

/** Changes the view, and draws it. */
function show(changes) {
  Object.assign(view, changes);
  if (byId("filter").value !== view.filter) byId("filter").value = view.filter;
  writeHash();
  redraw();
}

let isWaiting = false;

/** The same with the next frame, however many changes come until then. */
function soon(changes) {
  Object.assign(view, changes);
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    show({});
  });
}

// One node.

function openNode(id, event) {
  if (view.node === id) return closeNode();
  opener = event.currentTarget.dataset.key;
  show({ node: id });
  byId("details").querySelector("h2").focus();
}

function closeNode() {
  show({ node: null });
  (keyed(opener) ?? byId("filter")).focus();
}

// The moment.

/** Goes some changes on or back; at the end it is the present, at the beginning the first known moment. */
function step(count) {
  const { times, data } = fleet;
  const begins = fleet.begins ?? data.at;
  let at = moment.time;
  for (let left = Math.abs(count); left > 0; left--) {
    const earlier = times[countUntil(times, at - 1) - 1];
    at = count < 0 ? Math.max(earlier ?? begins, begins) : (times[countUntil(times, at)] ?? data.at);
  }
  show({ at });
}

function onSliderKey(event) {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in steps) step(steps[event.key]);
  else if (event.key === "Home") show({ at: frame.from });
  else if (event.key === "End") show({ at: null });
  else return;
  event.preventDefault();
}

function onTableKey(event) {
  const buttons = [...byId("table").querySelectorAll("tbody button.node")];
  const here = buttons.indexOf(document.activeElement);
  const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (here < 0 || there === undefined || !buttons[there]) return;
  event.preventDefault();
  buttons.forEach((button) => {
    button.tabIndex = -1;
  });
  buttons[there].tabIndex = 0;
  buttons[there].focus();
}

function onKey(event) {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
  if (event.key === "Escape" && view.node !== null) closeNode();
  else if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) byId("filter").focus();
  else return;
  event.preventDefault();
}

function listen() {
  const on = (id, type, act) => byId(id).addEventListener(type, act);
  on("slider", "input", () => soon({ at: Number(byId("slider").value) }));
  on("slider", "keydown", onSliderKey);
  on("earlier", "click", () => step(-1));
  on("later", "click", () => step(1));
  on("hour", "click", () => show({ at: moment.time - HOUR }));
  on("now", "click", () => show({ at: null }));
  on("newer", "click", () => take(newer));
  on("window", "change", () => {
    const window = Number(byId("window").value);
    show({ window, at: view.at !== null && view.at < fleet.data.at - window ? null : view.at });
  });
  on("filter", "input", () => soon({ filter: byId("filter").value, rows: ROWS }));
  on("lanes", "scroll", () => scrollLanes());
  on("table", "keydown", onTableKey);
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => {
    readHash();
    redraw();
  });
  addEventListener("resize", () => soon({}));
  addEventListener("beforeprint", () => scrollLanes(60));
  addEventListener("afterprint", () => scrollLanes());
}

// A newer page.

/** Shows another page's data in place. Filter, order, node and window stay. */
function take(text) {
  raw = text;
  newer = null;
  fleet = fleetOf(JSON.parse(raw));
  lanes = new Map();
  byId("newer").hidden = true;
  drawAbout();
  show({ at: null });
}

async function look() {
  let problem = "";
  try {
    const response = await fetch(location.href.replace(/#.*/s, ""), { cache: "no-cache" });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const other = new DOMParser().parseFromString(await response.text(), "text/html");
    const code = (page) =>
      [...page.querySelectorAll("style, script:not([type])")].map((one) => one.textContent);
    const text = other.getElementById("fleet")?.textContent ?? "";
    JSON.parse(text);
    // Another version of presence made it, with another script or style. The address keeps the view.
    if (code(other).join() !== code(document).join()) return location.reload();
    newer = text === raw ? null : text;
  } catch (error) {
    problem = `No newer page could be read: ${error.message}. `;
  }
  if (newer !== null && view.at === null && document.activeElement !== byId("filter")) take(newer);
  byId("newer").hidden = newer === null;
  byId("stale").textContent = harmless(problem);
  wait();
}

function wait() {
  const { reload } = fleet.data;
  if (reload > 0 && /^https?:$/.test(location.protocol)) setTimeout(look, Math.max(1, reload) * 1000);
}

function drawAbout() {
  const { presence, commit, at, reload } = fleet.data;
  put(
    "about",
    make("p", { id: "stale", role: "status" }),
    make(
      "p",
      null,
      `Made by presence ${presence}`,
      commit ? [" from commit ", make("code", null, commit.slice(0, 12))] : null,
      `. Times are in UTC, and ages are before ${utc(at)}.`,
      reload ? ` Over http, this page looks for a newer one every ${reload} s.` : "",
    ),
  );
}

fleet = fleetOf(JSON.parse(raw));
readHash();
drawAbout();
drawLegend();
listen();
redraw();
performance.mark("interactive");
wait();
