// The wiring as a picture: boxes for parts, and arrows to the parts that they use.

const stem = (part) => (part ?? "").replace(/\d+$/, "");

/** The boxes and edges of the wiring, in pictures of their own where no edge joins them. */
function wiringOf(fleet, groups) {
  const boxes = new Map();
  const box = (is) => {
    const key = groupKey(is);
    if (!boxes.has(key)) boxes.set(key, { key, is, total: 0, active: 0, parts: 1, rows: [] });
    return boxes.get(key);
  };
  for (const group of groups)
    Object.assign(box(group.is), { total: group.total, active: group.active, rows: group.rows });
  const end = ([stacktype, deployment, part]) => box({ stacktype, deployment, part }).key;
  const edges = fleet.data.wiring.edges.map((edge) => ({
    from: end(edge.from),
    to: end(edge.to),
    by: edge.by,
  }));
  const parent = new Map([...boxes.keys()].map((key) => [key, key]));
  const root = (key) => {
    while (parent.get(key) !== key) key = parent.get(key);
    return key;
  };
  for (const { from, to } of edges) parent.set(root(from), root(to));
  const scopes = new Map();
  for (const { key, is } of boxes.values()) {
    const scope = JSON.stringify([is.stacktype ?? null, is.deployment ?? null]);
    if (scopes.has(scope)) parent.set(root(key), root(scopes.get(scope)));
    scopes.set(scope, key);
  }
  const pictures = new Map();
  const picture = (key) => {
    if (!pictures.has(root(key))) pictures.set(root(key), { boxes: new Map(), edges: [] });
    return pictures.get(root(key));
  };
  for (const one of boxes.values()) picture(one.key).boxes.set(one.key, one);
  for (const edge of edges) picture(edge.from).edges.push(edge);
  return [...pictures.values()];
}

/** Draws numbered parts with equal edges (`app1` to `app12`) as one box, where there are many boxes. */
function merged({ boxes, edges }) {
  if (boxes.size <= 14) return { boxes, edges };
  const family = (key) => {
    const { is } = boxes.get(key);
    return JSON.stringify([is.stacktype ?? null, is.deployment ?? null, stem(is.part)]);
  };
  const near = new Map([...boxes.keys()].map((key) => [key, new Set()]));
  for (const { from, to } of edges) {
    near.get(from).add(`> ${family(to)}`);
    near.get(to).add(`< ${family(from)}`);
  }
  const into = new Map();
  const made = new Map();
  for (const [key, box] of boxes) {
    const name = JSON.stringify([family(key), [...near.get(key)].sort()]);
    into.set(key, name);
    const old = made.get(name);
    if (!old) made.set(name, { ...box, key: name });
    else
      made.set(name, {
        ...old,
        total: old.total + box.total,
        active: old.active + box.active,
        parts: old.parts + 1,
        rows: [...old.rows, ...box.rows],
      });
  }
  const joined = new Map();
  for (const { from, to, by } of edges) {
    const key = JSON.stringify([into.get(from), into.get(to)]);
    const known = joined.get(key)?.by ?? [];
    joined.set(key, { from: into.get(from), to: into.get(to), by: [...new Set([...known, ...by])] });
  }
  return { boxes: made, edges: [...joined.values()] };
}

/** Places boxes in columns, each to the right of those that use it, with points for long edges. */
function placed(boxes, edges, width) {
  const out = new Map(boxes.map((box) => [box.key, []]));
  for (const edge of edges) if (edge.from !== edge.to) out.get(edge.from).push(edge);
  const depth = new Map();
  const open = new Set();
  const visit = (key) => {
    if (depth.has(key)) return depth.get(key);
    open.add(key);
    let deepest = 0;
    for (const edge of out.get(key)) {
      // An edge back to a box on this path would make a circle: it is drawn, but does not place anything.
      edge.back = open.has(edge.to);
      if (!edge.back) deepest = Math.max(deepest, visit(edge.to) + 1);
    }
    open.delete(key);
    depth.set(key, deepest);
    return deepest;
  };
  boxes.forEach((box) => visit(box.key));
  const deepest = Math.max(0, ...depth.values());
  const columns = Array.from({ length: deepest + 1 }, () => []);
  const item = new Map();
  for (const box of boxes) {
    const entry = { box, column: deepest - depth.get(box.key), near: [] };
    item.set(box.key, entry);
    columns[entry.column].push(entry);
  }
  const routes = [];
  for (const edge of edges) {
    if (edge.from === edge.to) continue;
    const route = [item.get(edge.from)];
    const last = item.get(edge.to);
    for (let column = route[0].column + 1; column < last.column; column++) {
      const point = { box: null, column, near: [] };
      columns[column].push(point);
      route.push(point);
    }
    route.push(last);
    for (let at = 1; at < route.length; at++) {
      route[at].near.push(route[at - 1]);
      route[at - 1].near.push(route[at]);
    }
    routes.push({ edge, route });
  }
  const gap = Math.max(26, Math.min(64, width * 0.07));
  const size = Math.max(84, Math.min(150, (width - deepest * gap) / (deepest + 1)));
  const step = deepest ? Math.max(size + gap, (Math.min(width, 720) - size) / deepest) : 0;
  const tall = (entry) => (entry.box ? 52 : 14);
  const settle = (column) => {
    let y = 0;
    for (const entry of column) {
      entry.y = y + tall(entry) / 2;
      y += tall(entry);
    }
    return y;
  };
  const height = () => Math.max(...columns.map(settle));
  height();
  for (let sweep = 0; sweep < 6; sweep++) {
    const order = sweep % 2 ? [...columns].reverse() : columns;
    for (const column of order) {
      const mean = (entry) =>
        entry.near.length ? entry.near.reduce((sum, other) => sum + other.y, 0) / entry.near.length : entry.y;
      const keyed = column.map((entry, index) => ({ entry, key: mean(entry), index }));
      keyed.sort((one, other) => one.key - other.key || one.index - other.index);
      column.splice(0, column.length, ...keyed.map(({ entry }) => entry));
      settle(column);
    }
  }
  const whole = height();
  for (const column of columns) {
    const free = (whole - settle(column)) / 2;
    for (const entry of column) {
      entry.y += free;
      entry.x = entry.column * step;
    }
  }
  return {
    entries: columns.flat().filter((entry) => entry.box),
    routes,
    size,
    width: deepest * step + size,
    height: whole,
  };
}

/** The name of a part, where nodes may state none. */
function partName(box) {
  return box.is.part === null || box.is.part === undefined
    ? "no part"
    : box.parts > 1
      ? `${stem(box.is.part)}* (${box.parts})`
      : box.is.part;
}

function fitted(text, room) {
  const characters = [...harmless(text)];
  return characters.length > room
    ? `${characters.slice(0, Math.max(1, room - 1)).join("")}…`
    : characters.join("");
}

/** One picture of the wiring. */
function wiringPicture(picture, width, href) {
  const all = merged(picture);
  const wired = new Set(all.edges.flatMap(({ from, to }) => [from, to]));
  const boxes = [...all.boxes.values()].filter((box) => wired.has(box.key));
  if (!boxes.length || boxes.length > 60) return null;
  const layout = placed(
    boxes,
    all.edges.map((edge) => ({ ...edge })),
    width - 4,
  );
  const several = new Set(boxes.map((box) => JSON.stringify([box.is.stacktype, box.is.deployment]))).size > 1;
  const worst = (box) => (box.active === 0 ? "down" : box.active < box.total ? "draining" : "active");
  const byKey = new Map(boxes.map((box) => [box.key, box]));
  const lines = layout.routes.map(({ edge, route }) => {
    const [first, last] = [route[0], route.at(-1)];
    const half = layout.size;
    let path = `M${first.x + half} ${first.y}`;
    for (let at = 1; at < route.length; at++) {
      const [one, other] = [route[at - 1], route[at]];
      const x = one.x + half;
      const end = other.box ? other.x - 7 : other.x;
      const middle = (x + end) / 2;
      path += `C${middle} ${one.y} ${middle} ${other.y} ${end} ${other.y}`;
      if (!other.box) path += `H${other.x + half}`;
    }
    const broken = !byKey.get(edge.from).active || !byKey.get(edge.to).active;
    return draw(
      "g",
      { class: broken ? "edge broken" : "edge" },
      draw(
        "title",
        null,
        `${partName(first.box)} uses ${partName(last.box)}${edge.by.length ? ` (${edge.by.join(", ")})` : ""}`,
      ),
      draw("path", { class: "wire", d: path }),
      draw("path", { class: "tip", d: `M${last.x} ${last.y}l-8 -4.5v9z` }),
    );
  });
  const cards = layout.entries.map(({ box, x, y }) => {
    const name = partName(box);
    const words =
      box.total === 0
        ? "no node"
        : box.active === box.total
          ? `${box.active} active`
          : `${box.active} of ${box.total} active`;
    const scope = scopeOf(box.is);
    const title = `${name}${box.parts > 1 ? " parts" : ""}${scope ? `, ${scope}` : ""}: ${words}`;
    const mark = shape(worst(box));
    mark.setAttribute("x", 10);
    mark.setAttribute("y", 23);
    const small = layout.size < 116 ? words.replace(/(of \d+) active/, "$1") : words;
    // The inner picture cuts what is too long.
    return draw(
      "a",
      { href: href(box), class: `box ${worst(box)}`, "aria-label": title, "data-key": `box ${box.key}` },
      draw("title", null, title),
      draw("rect", { x: x + 0.5, y: y - 20.5, width: layout.size - 1, height: 41, rx: 7 }),
      draw(
        "svg",
        { x, y: y - 20.5, width: layout.size - 5, height: 41 },
        draw(
          "text",
          { x: 10, y: 17, class: "name" },
          fitted(several && scope ? `${name} · ${scope}` : name, 24),
        ),
        mark,
        draw("text", { x: 26, y: 33, class: "count" }, small),
      ),
    );
  });
  return draw(
    "svg",
    {
      class: "picture",
      role: "group",
      "aria-label": "Parts, and arrows to the parts that they use",
      width: layout.width,
      height: layout.height,
      viewBox: `0 0 ${layout.width} ${layout.height}`,
    },
    lines,
    cards,
  );
}
