// What is shown, and the small things that all sections use.

const byId = (id) => document.getElementById(id);

// So many rows of the table are drawn before somebody asks for the rest.
const ROWS = 100;

/** What the reader chose. `at` is the moment, `null` for the present. */
const view = {
  filter: "",
  sort: "part",
  descending: false,
  at: null,
  node: null,
  window: null,
  rows: ROWS,
  missing: 9,
  changes: 8,
};

let fleet; // the data, prepared
let moment; // the fleet at the moment shown
let frame; // the stretch of time that the timeline shows
let lanes = new Map(); // the lanes that were computed, by the node's index

const quoted = (text) => (/[\s"']/.test(text) ? (text.includes('"') ? `'${text}'` : `"${text}"`) : text);
const several = (column) => new Set(moment.listed.map((row) => row.is[column] ?? null)).size > 1;
const isScoped = () => several("stacktype") || several("deployment");
const scopeOf = (is) => [is.stacktype, is.deployment].filter(Boolean).join(" / ");
const ago = (time) => `${span(moment.time - time)} before`;
const beforeMade = (seconds) => `${span(seconds)} before this page was made`;

/** Whether anything before the page's own moment is known. */
const hasPast = () => fleet.begins !== null && fleet.begins < fleet.data.at;

/** The filter that finds the nodes of a part. */
const filterFor = (is) =>
  ["part", "stacktype", "deployment"]
    .filter((column) => is[column] && (column === "part" || several(column)))
    .map((column) => `${column}:${quoted(is[column])}`)
    .join(" ");

const note = (...words) => make("p", { class: "note" }, words);
const quiet = (...words) => make("span", { class: "quiet" }, words);
const moreButton = (key, text, changes) =>
  make("button", { type: "button", class: "more", "data-key": key, onclick: () => show(changes) }, text);

function timeOf(seconds, ...words) {
  return make(
    "time",
    { datetime: `${utc(seconds).replace(" ", "T")}Z`, title: `${utc(seconds)} UTC` },
    words,
  );
}

function nodeButton(index, place) {
  const { id } = fleet.data.nodes[index];
  const open = (event) => openNode(id, event);
  return make(
    "button",
    { type: "button", class: "node", "data-key": `${place} ${id}`, onclick: open },
    value(id, 60),
  );
}

function put(id, ...children) {
  byId(id).replaceChildren(...children.flat(Infinity).filter(Boolean));
}
