// Elements, and the shapes of states. Every text becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

/** Fills an element. Text becomes a text node, without characters that act. */
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else
      element.setAttribute(name, value === true ? "" : typeof value === "string" ? harmless(value) : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(harmless(child)));
  }
  return element;
}

function make(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A value from a record: isolated, so that its direction stays its own, and cut where it is long. */
function value(text, most = 80) {
  const characters = [...String(text)];
  const cut = characters.length > most;
  return make(
    "bdi",
    { class: "value", title: cut ? text.slice(0, 1000) : null },
    cut ? `${characters.slice(0, most - 1).join("")}…` : text,
  );
}

/** The shape of a category: each differs in form, not in colour only. */
function shape(category) {
  const shapes = {
    active: [draw("circle", { cx: 6, cy: 6, r: 5, class: "solid" })],
    draining: [
      draw("circle", { cx: 6, cy: 6, r: 4.5, class: "line" }),
      draw("path", { d: "M6 1.5a4.5 4.5 0 0 0 0 9z", class: "solid" }),
    ],
    down: [draw("path", { d: "M2 2l8 8M10 2l-8 8", class: "line thick" })],
    absent: [draw("circle", { cx: 6, cy: 6, r: 4.5, class: "line" })],
    silent: [
      draw("path", { d: "M6 1l5.3 9.6H.7z", class: "line" }),
      draw("path", { d: "M6 4.6v2.8M6 8.4v1.2", class: "line" }),
    ],
    gone: [draw("path", { d: "M1.5 6h9", class: "line thick" })],
    facts: [draw("path", { d: "M6 1.5L10.5 6 6 10.5 1.5 6z", class: "line" })],
  };
  return draw(
    "svg",
    { class: `shape ${category}`, viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" },
    shapes[category] ?? shapes.absent,
  );
}

/** A node's state in words, with its shape. */
function stateOf(row) {
  const state = row.is.state ?? "no state";
  const words =
    row.category === "gone"
      ? ["left"]
      : row.category === "silent"
        ? ["silent", make("span", { class: "quiet" }, " (", value(state, 24), ")")]
        : row.category === state || ["active", "draining"].includes(row.category)
          ? [value(state, 24)]
          : [value(state, 24), make("span", { class: "quiet" }, ` (${row.category})`)];
  return make("span", { class: `state ${row.category}` }, shape(row.category), " ", words);
}
