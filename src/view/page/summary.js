// The sections above the timeline: each function draws one, from the moment that is shown.

// The headline.

function drawHead() {
  const { data } = fleet;
  put(
    "source",
    make("b", null, "presence"),
    data.stores.map((store) => [" · ", value(store.store, 100)]).flat(),
    data.past ? " · the list as it was at " : " · read at ",
    timeOf(data.at, `${utc(data.at)} UTC`),
  );
  put(
    "headline",
    moment.past ? make("span", { class: "then" }, `${beforeMade(data.at - moment.time)}: `) : null,
    headline(),
  );
  const active = moment.listed.filter((row) => row.category === "active").length;
  const missing = missingAt(fleet, moment).length;
  const total = moment.listed.length;
  document.title = total
    ? `${missing ? `${missing} missing, ` : ""}${active} of ${total} nodes active`
    : "No nodes";
  put(
    "alerts",
    data.stores
      .filter((store) => store.problem !== null)
      .map((store) =>
        make(
          "p",
          { class: "alert" },
          shape("silent"),
          " ",
          value(store.store, 100),
          ": ",
          value(store.problem, 300),
        ),
      ),
    data.problems.length
      ? make(
          "details",
          { class: "alert" },
          make("summary", null, plural(data.problems.length, "problem"), " of the list"),
          make(
            "ul",
            null,
            data.problems.slice(0, 200).map((problem) => make("li", null, value(problem, 400))),
          ),
        )
      : null,
  );
}

function headline() {
  const { stores, nodes } = fleet.data;
  const of = (category) => moment.listed.filter((row) => row.category === category).length;
  const [total, active] = [moment.listed.length, of("active")];
  const rest = CATEGORIES.filter((category) => category !== "active" && of(category)).map(
    (category) => `${of(category)} ${category}`,
  );
  const words = [];
  if (!total)
    words.push(
      stores.length && stores.every((store) => store.problem !== null)
        ? "The list could not be read"
        : "No node is on the list",
    );
  else if (total === active)
    words.push(total === 1 ? "1 node, active" : `${plural(total, "node")}, all active`);
  else words.push(`${plural(total, "node")}, ${active.toLocaleString("en")} active`);
  if (rest.length) words.push(`; ${rest.join(", ")}`);
  const [last] = lastChanges(1);
  if (last) {
    const { id } = nodes[last.event[1]];
    const age = `${span(moment.time - last.time)} ${moment.past ? "earlier" : "before"}`;
    words.push(`; last change ${age}: `, value(id, 40), " ", value(happened(last.event), 100));
  }
  return words;
}

function drawMissing() {
  const all = missingAt(fleet, moment);
  const shapes = { silent: "silent", wedged: "down", left: "gone" };
  const words = ({ why, since }) => {
    if (why === "silent")
      return since === null ? "silent, no heartbeat known" : `silent for ${span(moment.time - since)}`;
    if (why === "left") return `left ${ago(since)}`;
    return since === null ? "wedged" : `wedged for ${span(moment.time - since)}`;
  };
  const items = all
    .slice(0, view.missing)
    .map((one) =>
      make(
        "li",
        null,
        shape(shapes[one.why]),
        make(
          "span",
          { title: one.since === null ? null : `since ${utc(one.since)} UTC` },
          nodeButton(one.row.index, "missing"),
          one.row.is.part ? [" (", value(one.row.is.part, 24), ")"] : null,
          ` ${words(one)}`,
          one.row.reason ? [": ", value(one.row.reason, 100)] : null,
        ),
      ),
    );
  const isEmpty = !moment.listed.length && !fleet.data.nodes.length;
  byId("missing").className = all.length ? "" : isEmpty ? "nobody" : "calm";
  put(
    "missing-body",
    all.length
      ? make("ul", null, items)
      : make(
          "p",
          { class: "fine" },
          shape(isEmpty ? "absent" : "active"),
          isEmpty ? " No node is known, so none is missing." : " No node is missing.",
        ),
    all.length > items.length
      ? moreButton("missing more", `Show all ${all.length}`, { missing: Infinity })
      : null,
    unheard() ? note(unheard()) : null,
  );
}

/** Why it is not known which nodes are silent. */
function unheard() {
  if (moment.past || fleet.data.past)
    return "Silent nodes are not known for the past: heartbeats leave no history.";
  const isJudged = moment.listed.some((row) => row.freshness !== "unknown");
  return isJudged || !moment.listed.length
    ? null
    : "Silent nodes are not known: no store of heartbeats answered.";
}

// The counts.

function drawCounts(counts) {
  if (!counts.groups.length) return put("counts", note("No nodes to count."));
  const columns = counts.columns.slice(0, 8);
  const rest = counts.columns.slice(8);
  const zero = () => make("span", { class: "zero" }, "·");
  const link = (count, filter, name) =>
    count
      ? make(
          "a",
          { href: hashOf({ filter }), "aria-label": `${count} ${name}`, "data-key": `count ${filter}` },
          count,
        )
      : zero();
  const word = (column) =>
    column.silent ? "state:silent" : column.state === "no state" ? "" : `state:${quoted(column.state)}`;
  const others = (group) => rest.reduce((sum, column) => sum + (group.cells.get(column.key) ?? 0), 0);
  const isSplit = isScoped();
  let scope = null;
  const rows = counts.groups.flatMap((group) => {
    const filter = filterFor(group.is);
    const name = group.is.part ?? "no part";
    const row = make(
      "tr",
      null,
      make("th", { scope: "row" }, group.is.part ? value(name, 24) : quiet(name)),
      columns.map((column) =>
        make(
          "td",
          { class: `number ${column.category}` },
          link(group.cells.get(column.key), `${filter} ${word(column)}`.trim(), `${name} ${column.state}`),
        ),
      ),
      rest.length ? make("td", { class: "number" }, others(group) || zero()) : null,
      make("td", { class: "number all" }, link(group.total, filter, name)),
    );
    const own = scopeOf(group.is);
    if (!isSplit || own === scope) return [row];
    scope = own;
    return [
      make(
        "tr",
        { class: "scope" },
        make(
          "th",
          { colspan: columns.length + 2 + (rest.length ? 1 : 0), scope: "rowgroup" },
          value(own || "no stacktype and deployment", 60),
        ),
      ),
      row,
    ];
  });
  const sum = (column) => counts.groups.reduce((all, group) => all + (group.cells.get(column.key) ?? 0), 0);
  put(
    "counts",
    make(
      "table",
      { class: "counts", "aria-labelledby": "counts-title" },
      make(
        "thead",
        null,
        make(
          "tr",
          null,
          make("th", { scope: "col" }, "Part"),
          columns.map((column) =>
            make(
              "th",
              { scope: "col", class: "number" },
              shape(column.category),
              make("br"),
              value(column.state, 16),
            ),
          ),
          rest.length ? make("th", { scope: "col", class: "number" }, "other") : null,
          make("th", { scope: "col", class: "number" }, "all"),
        ),
      ),
      make("tbody", null, rows),
      make(
        "tfoot",
        null,
        make(
          "tr",
          null,
          make("th", { scope: "row" }, "all"),
          columns.map((column) => make("td", { class: "number" }, sum(column))),
          rest.length
            ? make(
                "td",
                { class: "number" },
                rest.reduce((all, column) => all + sum(column), 0),
              )
            : null,
          make("td", { class: "number all" }, moment.listed.length),
        ),
      ),
    ),
  );
}

// The wiring.

function drawWiring(counts) {
  const { wiring } = fleet.data;
  const host = byId("wiring");
  const href = (box) =>
    hashOf({
      filter: box.parts > 1 ? filterFor({ ...box.is, part: `${stem(box.is.part)}*` }) : filterFor(box.is),
    });
  const pictures = wiringOf(fleet, counts.groups);
  const drawn = () =>
    pictures
      .map((picture) => ({ picture, svg: wiringPicture(picture, host.clientWidth || 360, href) }))
      .filter(({ svg }) => svg);
  // Deep pictures get more room, and the changes a row of their own.
  byId("glance").classList.remove("deep");
  let found = drawn();
  if (found.some(({ svg }) => svg.getAttribute("width") > host.clientWidth)) {
    byId("glance").classList.add("deep");
    found = drawn();
  }
  const figures = found.map(({ picture, svg }) => {
    const scopes = new Set([...picture.boxes.values()].map(({ is }) => scopeOf(is)));
    return make(
      "figure",
      { class: "scrolls" },
      found.length > 1 ? make("figcaption", null, value([...scopes].join(", "), 80)) : null,
      svg,
    );
  });
  const isSplit = isScoped();
  const name = ([stacktype, deployment, part]) => [
    value(part ?? "no part", 24),
    isSplit ? quiet(` (${scopeOf({ stacktype, deployment })})`) : null,
  ];
  const by = (words) => (words.length ? quiet(" (", value(words.join(", "), 80), ")") : null);
  const lines = wiring.edges
    .slice(0, 500)
    .map((edge) => make("li", null, name(edge.from), " uses ", name(edge.to), by(edge.by)));
  const chosen = moment.past
    ? []
    : wiring.chosen
        .slice(0, 200)
        .map((one) => make("li", null, name(one.from), " uses only ", value(one.id, 40), by([one.by])));
  const used = new Set(
    wiring.edges
      .flatMap(({ from, to }) => [from, to])
      .map(([stacktype, deployment, part]) => groupKey({ stacktype, deployment, part })),
  );
  const loose = [
    ...new Set(counts.groups.filter((group) => !used.has(group.key)).map(({ is }) => is.part ?? "no part")),
  ];
  put(
    "wiring",
    figures.slice(0, 3),
    figures.length > 3
      ? make("details", null, make("summary", null, `Show ${figures.length - 3} more`), figures.slice(3))
      : null,
    wiring.edges.length ? null : note("No template names a part that another part uses."),
    wiring.edges.length && !figures.length ? note("There are too many parts for a picture.") : null,
    loose.length && wiring.edges.length
      ? note(
          "Not wired: ",
          loose.slice(0, 12).map((part, index) => [index ? ", " : "", value(part, 24)]),
          loose.length > 12 ? ` and ${loose.length - 12} more` : "",
        )
      : null,
    lines.length + chosen.length
      ? make(
          "details",
          { open: !figures.length },
          make("summary", null, "As text"),
          make("ul", { class: "plain" }, lines, chosen),
        )
      : null,
    wiring.notes.slice(0, 20).map((text) => note(value(text, 300))),
    moment.past && wiring.edges.length ? note("The arrows follow the templates of the present.") : null,
  );
}

// The last changes.

/** The last events that changed the list, newest first. */
function lastChanges(most) {
  const found = [];
  for (let index = moment.count - 1; index >= 0 && found.length < most; index--) {
    const event = fleet.events[index];
    if (event[2] !== "there") found.push({ event, time: fleet.times[index], index });
  }
  return found;
}

function changeShape([, , kind, , changes]) {
  const state = changes.find(([fact]) => fact === "state");
  if (kind === "left") return shape("gone");
  return kind === "joined" || state ? shape(availability(fleet, state?.[2])) : shape("facts");
}

function drawChanges() {
  const changes = lastChanges(view.changes + 1);
  const items = changes
    .slice(0, view.changes)
    .map(({ event, time, index }) =>
      make(
        "li",
        null,
        changeShape(event),
        make("span", null, nodeButton(event[1], `change ${index}`), " ", value(happened(event), 140)),
        timeOf(time, span(moment.time - time)),
      ),
    );
  put(
    "changes",
    items.length ? make("ol", null, items) : note(noChanges()),
    changes.length > view.changes
      ? moreButton("changes more", "Show 20 more", { changes: view.changes + 20 })
      : null,
    items.length
      ? note(`Times are before ${moment.past ? "the moment shown" : "this page was made"}.`)
      : null,
  );
}

function noChanges() {
  const { history, stores } = fleet.data;
  if (stores.length && stores.every((store) => store.history === "none"))
    return "This store keeps no history.";
  if (history.begins !== null)
    return `No change is known since the history begins at ${utc(history.begins)} UTC.`;
  return "No change is known.";
}
