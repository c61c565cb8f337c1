// The table of nodes, and one node.

function columnsOfTable() {
  return [
    { key: "id", name: "Id" },
    ...fleet.data.columns.map((column) => ({ key: column, name: column[0].toUpperCase() + column.slice(1) })),
    { key: "heard", name: "Heartbeat" },
    { key: "changed", name: "Changed" },
  ];
}

/** When a node was last heard of, in words. */
function heardOf(row) {
  if (row.heard !== null) return timeOf(row.heard, ago(row.heard));
  return quiet(moment.past || row.freshness === "unknown" ? "not known" : "none");
}

function cell(row, key) {
  const unstated = () => make("span", { class: "quiet", title: "not stated" }, "–");
  switch (key) {
    case "id": {
      const open = (event) => openNode(row.id, event);
      return make(
        "button",
        {
          type: "button",
          class: "node",
          tabindex: -1,
          "data-key": `row ${row.id}`,
          "aria-expanded": String(row.id === view.node),
          onclick: open,
        },
        value(row.id, 60),
      );
    }
    case "state":
      return [stateOf(row), row.reason ? make("span", { class: "reason" }, value(row.reason, 60)) : null];
    case "heard":
      return heardOf(row);
    case "changed":
      return row.changed === null ? unstated() : timeOf(row.changed, ago(row.changed));
    default:
      return row.is[key] === null || row.is[key] === undefined ? unstated() : value(row.is[key], 60);
  }
}

/** Draws the table. Returns its rows and the filter. */
function drawTable() {
  const filter = filterOf(fleet, view.filter);
  const rows = sorted(moment.listed.filter(filter.passes), view.sort, view.descending);
  const columns = columnsOfTable();
  const isSame = Object.fromEntries(["stacktype", "deployment"].map((column) => [column, !several(column)]));
  const classOf = (key) => `c-${key}${isSame[key] ? " same" : ""}`;
  const heads = columns.map(({ key, name }) => {
    const isSorted = view.sort === key;
    const sort = () => show({ sort: key, descending: isSorted && !view.descending });
    return make(
      "th",
      {
        role: "columnheader",
        scope: "col",
        class: classOf(key),
        "aria-sort": isSorted ? (view.descending ? "descending" : "ascending") : null,
      },
      make(
        "button",
        { type: "button", class: "sort", "data-key": `sort ${key}`, onclick: sort },
        name,
        make(
          "span",
          { class: "arrow", "aria-hidden": "true" },
          isSorted ? (view.descending ? " ▾" : " ▴") : "",
        ),
      ),
    );
  });
  const shown = rows.slice(0, view.rows);
  const body = shown.map((row) =>
    make(
      "tr",
      { role: "row", class: row.id === view.node ? `${row.category} chosen` : row.category },
      columns.map(({ key, name }) =>
        make("td", { role: "cell", class: classOf(key), "data-name": name }, cell(row, key)),
      ),
    ),
  );
  const chosen = Math.max(
    0,
    shown.findIndex((row) => row.id === view.node),
  );
  body[chosen]?.querySelector("button").setAttribute("tabindex", "0");
  const hidden = rows.length - shown.length;
  put(
    "table",
    make(
      "table",
      { role: "table", class: "nodes", "aria-labelledby": "nodes-title", "aria-rowcount": rows.length + 1 },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, heads)),
      make("tbody", { role: "rowgroup" }, body),
    ),
    rows.length
      ? null
      : make(
          "p",
          { class: "empty" },
          moment.listed.length
            ? ["No node passes the filter. ", moreButton("clear", "Clear it", { filter: "" })]
            : `No node is on the list${moment.past ? " at that moment" : ""}.`,
        ),
    hidden > 0
      ? moreButton("rows more", `Show all ${plural(rows.length, "node")}`, { rows: Infinity })
      : null,
  );
  const count = filter.empty
    ? plural(rows.length, "node")
    : `${rows.length.toLocaleString("en")} of ${plural(moment.listed.length, "node")}`;
  byId("shown").textContent = harmless(
    count +
      (hidden > 0 ? `, the first ${shown.length} shown` : "") +
      (filter.unknown.length ? `; no node states ${filter.unknown.join(", ")}` : ""),
  );
  return { rows, filter };
}

// One node.

function drawDetails() {
  const aside = byId("details");
  const { node: id } = view;
  const row = moment.rows.find((one) => one.id === id);
  aside.hidden = id === null;
  if (id === null) return aside.replaceChildren();
  const head = [
    make(
      "button",
      { type: "button", class: "close", "aria-label": "Close", "data-key": "close", onclick: closeNode },
      "✕",
    ),
    make("h2", { tabindex: -1 }, value(id, 80)),
  ];
  if (!row) return put("details", head, make("p", null, "This page knows no such node."));
  const fact = (name, ...words) => [make("dt", null, name), make("dd", null, words)];
  const stated = (text) => (text === null || text === undefined ? quiet("not stated") : value(text, 400));
  const own = fleet.ofNode[row.index].filter((index) => index < moment.count).reverse();
  put(
    "details",
    head,
    make("p", null, stateOf(row), row.reason ? [": ", value(row.reason, 200)] : null),
    note(`At ${utc(moment.time)} UTC`, row.listed ? "" : ", not on the list. It stated last:"),
    make(
      "dl",
      null,
      fleet.data.columns.map((column) => fact(column, stated(row.is[column]))),
      fact("heartbeat", row.heard === null ? heardOf(row) : [heardOf(row), quiet(`, ${utc(row.heard)} UTC`)]),
      factsOf(fleet, row).map(([name, text]) => fact(value(name, 60), value(text, 400))),
    ),
    row.incomplete
      ? note("Other facts of that time may be missing: a change had more than this page keeps.")
      : null,
    make("h3", null, "History"),
    own.length ? make("ol", { class: "history" }, own.slice(0, 50).map(historyLine)) : note(noChanges()),
    own.length > 50 ? note(`The last 50 of ${own.length} changes.`) : null,
  );
}

function historyLine(index) {
  const event = fleet.events[index];
  const [, , kind, commit, changes] = event;
  const time = fleet.times[index];
  const isWhole = ["joined", "there", "left"].includes(kind) || !changes.length;
  return make(
    "li",
    null,
    timeOf(time, `${utc(time)} UTC`),
    quiet(` ${ago(time)}`, commit ? [", commit ", make("code", null, commit)] : null),
    isWhole
      ? make("div", null, value(happened(event), 200))
      : changes.map(([name, old, now]) =>
          make(
            "div",
            null,
            value(name, 60),
            " ",
            value(old ?? "nothing", 100),
            " → ",
            value(now ?? "nothing", 100),
          ),
        ),
  );
}
