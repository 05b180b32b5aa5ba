"use strict";
// Choosers and maps. All words, numbers and specifications come from `page`; this puts them where they are wanted.
const page = JSON.parse(document.getElementById("content").textContent);
const at = id => document.getElementById(id);
const copy = value => structuredClone(value);
const setting = Object.fromEntries(page.settings.map((each, n) => [each.name, { ...each, n }]));
const colour = Object.fromEntries(page.colours.map(each => [each.key, each]));
const views = {}; // of the maps that are shown
let grid = new Map(); // "i,j" -> number of the cell there

function element(tag, text = "", more = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...more });
}

// --- what is chosen: kept in the address, so that a view can be sent to somebody ---------------------------

const allowed = { x: Object.keys(setting), y: [...Object.keys(setting), ""], left: Object.keys(colour),
  right: [...Object.keys(colour), ""], boundary: ["", ...page.boundary.map(each => each.label)], steps: ["log", "linear"],
  cell: page.cells.map((_, n) => String(n)), run: page.runs.map(each => each.id), ...Object.fromEntries(page.settings.map(each => [each.name, each.texts])) };
const given = [...new URLSearchParams(location.hash.slice(1))].filter(([name, value]) => Object.hasOwn(allowed, name) && allowed[name].includes(value));
const chosen = { ...page.start, ...Object.fromEntries(given) };
if (chosen.x === chosen.y) chosen.y = "";

function choose(changes, what = drawAll) {
  const before = { ...chosen };
  Object.assign(chosen, changes);
  if (chosen.x === chosen.y) Object.assign(chosen, "x" in changes ? { y: before.x } : { x: before.y || before.x, y: "" });
  const told = Object.entries(chosen).filter(([name, value]) => value !== page.start[name] && allowed[name]);
  history.replaceState(null, "", "#" + new URLSearchParams(told));
  return redraw(what);
}

function chooser(label, options, value, pick) { // options: [value, text, heading]
  const list = element("select", "", { name: label }), box = element("label", label + " ");
  for (const heading of new Set(options.map(option => option[2] ?? ""))) {
    const group = heading ? list.appendChild(element("optgroup", "", { label: heading })) : list;
    group.append(...options.filter(option => (option[2] ?? "") === heading)
      .map(option => element("option", option[1], { value: option[0] })));
  }
  list.value = value;
  list.onchange = () => pick(list.value);
  box.append(list);
  return box;
}

function colourChoosers(side) {
  const now = colour[chosen[side]], ways = page.colours.filter(each => now?.how && each.of === now.of);
  const firsts = page.colours.filter((each, n) => page.colours.findIndex(other => other.of === each.of) === n);
  const options = firsts.map(each => [each.of, each.label, each.heading]);
  const pick = of => choose({ [side]: (page.colours.find(each => each.of === of && each.how === now?.how)
    ?? page.colours.find(each => each.of === of))?.key ?? "" });
  const boxes = [chooser("colour", side === "right" ? [["", "no second map"], ...options] : options, now?.of ?? "", pick)];
  if (ways.length) boxes.push(chooser("taken", ways.map(each => [each.key, each.how]), now.key, key => choose({ [side]: key })));
  at(side + "-choices").replaceChildren(...boxes);
}

function axesChoosers() {
  const all = page.settings.map(each => [each.name, each.title]);
  const boxes = all.length < 2 ? [] : [chooser("x axis", all, chosen.x, x => choose({ x })),
    chooser("y axis", [...all, ["", "nothing"]], chosen.y, y => choose({ y }))];
  boxes.push(...others().map(each => chooser(each.title, each.texts.map(text => [text, text]), chosen[each.name],
    text => choose({ [each.name]: text }))));
  const budgets = contours().map(each => [each.label, "with bands at " + each.label]);
  if (budgets.length) boxes.push(chooser("boundary", [["", "none"], ...budgets], chosen.boundary, boundary => choose({ boundary })));
  at("axes").replaceChildren(...boxes);
}

const others = () => page.settings.filter(each => each.name !== chosen.x && each.name !== chosen.y);

// --- maps ---------------------------------------------------------------------------------------------------

function cellsHere(x, y) {
  const here = page.cells.map((cell, n) => [cell.at, n])
    .filter(([place]) => others().every(each => place[setting[each.name].n] === each.texts.indexOf(chosen[each.name])));
  return new Map(here.map(([place, n]) => [`${place[x.n]},${y ? place[y.n] : 0}`, n]));
}

function mark(i, j, of, size, x, y) { // as places.marks makes them
  const cell = grid.get(`${i},${j}`), here = cell !== undefined, words = size.words;
  const look = here ? page.look_names[of.looks[cell]] : "no_run", value = here ? of.values?.[cell] ?? null : null;
  const lines = words === "none" ? [] : (here ? of.lines[words][cell] : page.no_run[words]).split("\n");
  const place = { [x.title]: x.texts[i], ...(y && { [y.title]: y.texts[j] }) };
  const spread = here && (of.texts?.[cell] ?? (of.quartiles && value !== null && spreadOf(of, cell)));
  return { i, j, cell, value, look, ...page.looks[look], lines, rise: (1 - lines.length) * size.line_height / 2,
    tip: { ...place, ...(spread && { [of.title]: spread }), ...(here ? page.cells[cell].tip : { outcome: "no run" }) },
    spoken: Object.entries(place).map(pair => pair.join(" ")).join(", ") + ": " + (lines.join(" ") || look) };
}

function spreadOf(of, cell) {
  const [low, high, n] = of.quartiles.map(list => list[cell]), value = of.values[cell];
  return n > 1 ? `median ${value}, quartiles ${low} to ${high}, of ${n} runs` : `${value}`;
}

function placed(channel, each, turned) { // as diagram.place does
  channel.scale.domain = [-0.5, (each?.texts.length ?? 1) - 0.5];
  channel.axis = each && { title: each.axis, values: each.texts.map((_, n) => n), labelAngle: turned ? -90 : 0,
    labelExpr: JSON.stringify(each.texts) + "[datum.value]", aria: false };
}

function filled(of) { // as diagram.fill does
  const x = setting[chosen.x], y = setting[chosen.y] ?? null, place = page.places[`${chosen.x}|${chosen.y}`];
  const size = page.sizes[place.size], map = copy(size.template), up = y ? y.texts : [""];
  const cells = up.flatMap((_, j) => x.texts.map((_, i) => mark(i, j, of, size, x, y)));
  Object.assign(map, { data: { values: cells }, width: x.texts.length * size.step_x, height: up.length * size.step_y });
  placed(map.encoding.x, x, place.turned);
  placed(map.encoding.y, y, false);
  const letters = Math.floor(Math.max(map.width, 460) / 5.6), lines = boundaryRows();
  const slice = others().map(each => `${each.title} ${chosen[each.name]}`).join(", ");
  const notes = [...of.notes, slice && `at ${slice}`, lines.length && page.boundary_note].filter(Boolean);
  const wrapped = notes.flatMap(note => note.match(new RegExp(`.{1,${letters}}(?:\\s|$)|.{${letters}}`, "g")));
  const side = lines[0]?.side, layer = name => map.layer.find(each => each.name === name);
  Object.assign(map.title, { text: of.title, subtitle: wrapped, offset: side === "top" ? 24 : 8 });
  if (of.encoding) {
    const length = Math.max(90, Math.min(240, map.height - 40)), offset = side === "right" ? page.tag_room : 18;
    if (layer("coloured_halo")) layer("coloured_halo").encoding.stroke = { ...of.encoding, legend: null };
    layer("coloured").encoding.color = { ...of.encoding, legend: { ...of.encoding.legend, gradientLength: length, offset } };
  } else map.layer = map.layer.filter(each => !each.name?.startsWith("coloured"));
  const key = legend(cells, look => of.meanings[look] ?? page.meanings[size.words === "short" ? "short" : "full"][look]);
  const description = [`${of.title}, a map`, ...[x, y].filter(Boolean).map(each => `${each.axis}: ${each.texts.join(", ")}`)];
  return { ...page.frame, description: description.join("; "), vconcat: key.height ? [map, key] : [map], datasets: { boundary: lines, chosen: [] } };
}

function legend(cells, meaning) { // as diagram.legend_rows makes it
  const looks = Object.keys(page.looks).filter(look => meaning(look) && cells.some(cell => cell.look === look));
  const rows = looks.map((look, n) => ({ look, value: null, ...page.looks[look], px: page.swatch / 2,
    py: (n + 0.5) * page.entry_height, meaning: meaning(look), spoken: meaning(look) }));
  return { ...copy(page.legend), width: 300, height: rows.length * page.entry_height, data: { values: rows } };
}

const contours = () => page.boundary.filter(each => each.axes.every(name => name === chosen.x || name === chosen.y)
  && Object.entries(each.where).every(([name, text]) => chosen[name] === text));

function boundaryRows() { // as contours.rows makes them
  return (chosen.boundary ? contours() : []).flatMap(each => {
    const across = each.axes[0] === chosen.x, told = { beyond: each.beyond, label: each.label, side: across ? "right" : "top" };
    const kinds = each.label === chosen.boundary ? ["90", "50", "line", "tag"] : ["line", "tag"];
    return kinds.flatMap(kind => each[kind].map(([along, up], n) =>
      ({ i: across ? along : up, j: across ? up : along, n, kind, shape: `${each.label} ${kind}`, ...told })));
  });
}

async function drawMap(side) {
  at(side + "-map").replaceChildren();
  delete views[side];
  if (!colour[chosen[side]]) return;
  const { view } = await vegaEmbed(at(side + "-map"), filled(colour[chosen[side]]), page.embed);
  views[side] = view;
  view.addEventListener("click", (_, item) => item?.datum?.cell !== undefined && choose({ cell: String(item.datum.cell), run: "" }, drawCell));
}

async function drawAll() {
  for (const each of others()) chosen[each.name] ??= each.texts[0];
  grid = cellsHere(setting[chosen.x], setting[chosen.y] ?? null);
  axesChoosers();
  ["left", "right"].forEach(colourChoosers);
  await Promise.all(["left", "right"].map(drawMap));
  await drawCell();
}
