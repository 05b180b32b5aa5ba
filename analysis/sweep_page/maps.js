// The maps: the same templates that the static figure is made of, filled in the same way.
const views = {}; // of the maps that are shown
let grid = new Map(); // "i,j" -> number of the cell there

function cellsHere(x, y) {
  const fits = place => others().every(each => place[setting[each.name].n] === each.texts.indexOf(chosen[each.name]));
  const here = page.cells.map((cell, n) => [cell.at, n]).filter(([place]) => fits(place));
  return new Map(here.map(([place, n]) => [`${place[x.n]},${y ? place[y.n] : 0}`, n]));
}

function mark(i, j, of, size, x, y) { // as places.marks makes them
  const place = { [x.title]: x.texts[i], ...(y && { [y.title]: y.texts[j] }) };
  const cell = grid.get(`${i},${j}`), here = cell !== undefined;
  const look = here ? page.look_names[of.looks[cell]] : "no_run";
  const words = here ? (of.lines[size.words] ?? Object.values(of.lines)[0])?.[cell] : page.no_run[size.words];
  const lines = size.words === "none" ? [] : words?.split("\n") ?? [];
  const spread = here && spreadOf(of, cell);
  return {
    i, j, cell, look, value: here ? of.values?.[cell] ?? null : null, ...page.looks[look],
    lines, rise: (1 - lines.length) * size.line_height / 2,
    tip: { ...place, ...(spread && { [of.title]: spread }), ...(here ? page.cells[cell].tip : { outcome: "no run" }) },
    spoken: Object.entries(place).map(pair => pair.join(" ")).join(", ") + ": " + (lines.join(" ") || look),
  };
}

function spreadOf(of, cell) {
  if (of.texts) return of.texts[cell];
  if (!of.quartiles || of.values[cell] === null) return "";
  const [low, high, n] = of.quartiles.map(each => each[cell]);
  return n > 1 ? `median ${of.values[cell]}, quartiles ${low} to ${high}, of ${n} runs` : `${of.values[cell]}`;
}

function placed(channel, each, turned) { // as diagram.place does
  channel.scale.domain = [-0.5, (each?.texts.length ?? 1) - 0.5];
  channel.axis = each && {
    title: each.axis, values: each.texts.map((_, n) => n), labelAngle: turned ? -90 : 0, aria: false,
    labelExpr: JSON.stringify(each.texts) + "[datum.value]",
  };
}

function filled(of) { // as diagram.fill does
  const x = setting[chosen.x], y = setting[chosen.y] ?? null, place = page.places[`${chosen.x}|${chosen.y}`];
  const size = page.sizes[place.size], map = copy(size.template), up = y ? y.texts : [""], lines = boundaryRows();
  const cells = up.flatMap((_, j) => x.texts.map((_, i) => mark(i, j, of, size, x, y)));
  map.data = { values: cells };
  map.width = x.texts.length * size.step_x;
  map.height = up.length * size.step_y;
  placed(map.encoding.x, x, place.turned);
  placed(map.encoding.y, y, false);
  titled(map, of, lines);
  coloured(map, of, lines[0]?.side);
  const meanings = page.meanings[size.words === "short" ? "short" : "full"];
  const key = legend(cells, look => of.meanings[look] ?? meanings[look]);
  const axes = [x, y].filter(Boolean).map(each => `${each.axis}: ${each.texts.join(", ")}`);
  return {
    ...page.frame, description: [`${of.title}, a map`, ...axes].join("; "),
    vconcat: key.height ? [map, key] : [map], datasets: { boundary: lines, chosen: [] },
  };
}

function titled(map, of, lines) {
  const slice = others().map(each => `at ${each.title} ${chosen[each.name]}`).join(", ");
  const notes = [...of.notes, slice].filter(Boolean);
  const n = Math.floor(Math.max(map.width, 460) / 5.6);
  const wrapped = notes.flatMap(note => note.match(new RegExp(`.{1,${n}}(?:\\s|$)|.{${n}}`, "g")));
  Object.assign(map.title, { text: of.title, subtitle: wrapped, offset: lines[0]?.side === "top" ? 24 : 8 });
}

function coloured(map, of, side) {
  if (!of.encoding) {
    map.layer = map.layer.filter(each => !each.name?.startsWith("coloured"));
    return;
  }
  const layer = name => map.layer.find(each => each.name === name);
  const gradientLength = Math.max(90, Math.min(240, map.height - 40));
  const key = { ...of.encoding.legend, gradientLength, offset: side === "right" ? page.tag_room : 18 };
  layer("coloured").encoding.color = { ...of.encoding, legend: key };
  if (layer("coloured_halo")) layer("coloured_halo").encoding.stroke = { ...of.encoding, legend: null };
}

function legend(cells, meaning) { // as diagram.legend_rows makes it
  const looks = Object.keys(page.looks).filter(look => meaning(look) && cells.some(cell => cell.look === look));
  const rows = looks.map((look, n) => ({
    look, value: null, ...page.looks[look], px: page.swatch / 2, py: (n + 0.5) * page.entry_height,
    meaning: meaning(look), spoken: meaning(look),
  }));
  return { ...copy(page.legend), width: 300, height: rows.length * page.entry_height, data: { values: rows } };
}

function boundaryRows() { // as contours.rows makes them
  return (chosen.boundary ? contours() : []).flatMap(each => {
    const across = each.axes[0] === chosen.x;
    const told = { beyond: each.beyond, label: each.label, side: across ? "right" : "top" };
    const kinds = each.label === chosen.boundary ? ["90", "50", "line", "tag"] : ["line", "tag"];
    const row = (kind, along, up, n) =>
      ({ i: across ? along : up, j: across ? up : along, n, kind, shape: `${each.label} ${kind}`, ...told });
    return kinds.flatMap(kind => each[kind].map(([along, up], n) => row(kind, along, up, n)));
  });
}

const inPlace = {}; // id of a place -> what stands there
async function embedded(id, spec) { // null: nothing
  inPlace[id]?.finalize(); // else it listens to every click on the page, and is kept for that
  delete inPlace[id];
  at(id).replaceChildren();
  if (spec) inPlace[id] = await vegaEmbed(at(id), spec, page.embed);
  return inPlace[id]?.view;
}

async function drawMap(side) {
  delete views[side];
  const of = colour[chosen[side]], view = await embedded(side + "-map", of ? filled(of) : null);
  if (!view) return;
  views[side] = view;
  const width = at(side + "-map").querySelector("svg").width.baseVal.value; // two abreast down to 4/5 of it
  Object.assign(at(side).style, { flexBasis: `${0.8 * width}px`, maxWidth: `${width}px` });
  view.addEventListener("click", (_, item) => item?.datum?.tip && clicked(item.datum));
}

function clicked(mark) {
  const cell = mark.cell === undefined ? "" : String(mark.cell);
  choose({ cell, run: "" }, drawCell).then(cell ? () => show("cell") : () => {
    at("hint").textContent = `No runs here: ${mark.spoken.split(": ")[0]}.`;
  });
}

function show(id) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  at(id).scrollIntoView({ behavior: still ? "auto" : "smooth" });
}

async function drawAll() {
  for (const each of others()) chosen[each.name] ??= each.texts[0];
  grid = cellsHere(setting[chosen.x], setting[chosen.y] ?? null);
  axesChoosers();
  at("boundary-note").textContent = chosen.boundary && contours().length
    ? page.boundary_note.replace("{line}", chosen.boundary) : "";
  ["left", "right"].forEach(colourChoosers);
  await Promise.all(["left", "right"].map(drawMap));
  await drawCell();
}
