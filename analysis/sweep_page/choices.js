"use strict";
// What is chosen, and the choosers. All words, numbers and specifications come from `page`.
const page = JSON.parse(document.getElementById("content").textContent);
const at = id => document.getElementById(id);
const copy = value => structuredClone(value);
const setting = Object.fromEntries(page.settings.map((each, n) => [each.name, { ...each, n }]));
const colour = Object.fromEntries(page.colours.map(each => [each.key, each]));

function element(tag, text = "", more = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...more });
}

// --- what is chosen: kept in the address, so that a view can be sent to somebody ---------------------------

const names = Object.keys(setting), keys = Object.keys(colour);
const allowed = {
  x: names, y: [...names, ""], left: keys, right: [...keys, ""],
  boundary: ["", ...page.boundary.map(each => each.label)],
  steps: ["log", "linear"], cell: page.cells.map((_, n) => String(n)), run: page.runs.map(each => each.id),
  ...Object.fromEntries(page.settings.map(each => [each.name, each.texts])),
};
const given = [...new URLSearchParams(location.hash.slice(1))]
  .filter(([name, value]) => Object.hasOwn(allowed, name) && allowed[name].includes(value));
const chosen = { ...page.start, ...Object.fromEntries(given) };
if (chosen.x === chosen.y) chosen.y = "";

function choose(changes, what = drawAll) {
  const before = { ...chosen };
  Object.assign(chosen, changes);
  if (chosen.x === chosen.y) {
    if ("x" in changes) chosen.y = before.x;
    else Object.assign(chosen, before.y ? { x: before.y } : { y: "" });
  }
  const told = Object.entries(chosen).filter(([name, value]) => value !== page.start[name] && allowed[name]);
  history.replaceState(null, "", "#" + new URLSearchParams(told));
  return redraw(what);
}

function chooser(label, options, value, pick) { // options: [value, text, heading]
  const list = element("select", "", { name: label }), box = element("label", label + " ");
  for (const heading of new Set(options.map(option => option[2] ?? ""))) {
    const group = heading ? list.appendChild(element("optgroup", "", { label: heading })) : list;
    const own = options.filter(option => (option[2] ?? "") === heading);
    group.append(...own.map(([value, text]) => element("option", text, { value })));
  }
  list.value = value;
  list.onchange = () => pick(list.value);
  box.append(list);
  return box;
}

function colourChoosers(side) {
  const now = colour[chosen[side]];
  const ways = page.colours.filter(each => now?.how && each.of === now.of);
  const firsts = page.colours.filter((each, n) => page.colours.findIndex(other => other.of === each.of) === n);
  const options = [...(side === "right" ? [["", "no second map"]] : []),
    ...firsts.map(each => [each.of, each.label, each.heading])];
  const boxes = [chooser("colour", options, now?.of ?? "", of => {
    const those = page.colours.filter(each => each.of === of);
    choose({ [side]: (those.find(each => each.how === now?.how) ?? those[0])?.key ?? "" });
  })];
  const taken = ways.map(each => [each.key, `${each.key.split(".")[0]}: ${each.how}`]);
  if (ways.length) boxes.push(chooser("taken", taken, now.key, key => choose({ [side]: key })));
  at(side + "-choices").replaceChildren(...boxes);
}

function axesChoosers() {
  const all = page.settings.map(each => [each.name, each.title]);
  const boxes = [];
  if (all.length > 1) {
    boxes.push(chooser("x axis", all, chosen.x, x => choose({ x })));
    boxes.push(chooser("y axis", [...all, ["", "nothing"]], chosen.y, y => choose({ y })));
  }
  for (const each of others()) {
    const values = each.texts.map(text => [text, text]);
    boxes.push(chooser(each.title, values, chosen[each.name], text => choose({ [each.name]: text })));
  }
  const budgets = contours().map(each => [each.label, "with bands at " + each.label]);
  if (budgets.length)
    boxes.push(chooser("boundary", [["", "none"], ...budgets], chosen.boundary, boundary => choose({ boundary })));
  at("axes").replaceChildren(...boxes);
}

const others = () => page.settings.filter(each => each.name !== chosen.x && each.name !== chosen.y);

// The contours of a boundary in the plane that is shown, for the values that are chosen beside it.
const contours = () => page.boundary.filter(each =>
  each.axes.every(name => name === chosen.x || name === chosen.y)
  && Object.entries(each.where).every(([name, text]) => chosen[name] === text));
