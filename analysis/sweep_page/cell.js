// The cell that was clicked: its runs as a table, their curves, the command that trains one of them alone.
const HINT = "Click a cell to see its runs and their curves; or go there by the arrow keys, and to them by Enter.";
const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

function placeOf(cell) {
  const found = [...grid].find(([, n]) => n === cell);
  return found && found[0].split(",").map(Number);
}

function step(event) { // by arrow keys from cell to cell
  const by = arrows[event.key];
  if (event.key === "Enter" && chosen.cell) return show("cell");
  if (!by) return;
  event.preventDefault();
  let [i, j] = chosen.cell && placeOf(+chosen.cell) || [-by[0], -by[1]];
  for (let n = 0; n < 200; n++) {
    [i, j] = [i + by[0], j + by[1]];
    if (grid.has(`${i},${j}`)) return choose({ cell: String(grid.get(`${i},${j}`)), run: "" }, drawCell);
  }
}

async function drawCell() {
  const cell = page.cells[chosen.cell], place = cell && placeOf(+chosen.cell);
  await Promise.all(Object.values(views).map(view =>
    view.data("chosen", place ? [{ i: place[0], j: place[1] }] : []).runAsync()));
  at("cell").hidden = !cell;
  at("hint").textContent = HINT + (cell ? " Those of the framed cell stand below the maps." : "");
  if (!cell) return;
  const where = page.settings.map((each, n) => `${each.title} ${each.texts[cell.at[n]]}`).join(", ");
  const n = cell.runs.length;
  at("cell-title").textContent = `${where}: ${n} run${n > 1 ? "s" : ""}`;
  at("runs").replaceChildren(...rowsOf(cell));
  at("command").textContent = page.command.start + " " + page.runs[chosenRun(cell)].command.join(" ");
  at("command-of").textContent = page.runs[chosenRun(cell)].label;
  await drawCurves(cell);
}

const chosenRun = cell => cell.runs.find(n => page.runs[n].id === chosen.run) ?? cell.runs[0];

function rowsOf(cell) {
  const head = element("tr");
  head.append(...["", ...page.run_heads].map(text => element("th", text, { scope: "col" })));
  return [head, ...cell.runs.map(n => rowOf(page.runs[n]))];
}

function rowOf(run) {
  const row = element("tr"), on = run.id === chosen.run;
  const pick = element("button", run.label, { type: "button", name: run.id });
  pick.setAttribute("aria-pressed", on);
  pick.onclick = () => choose({ run: on ? "" : run.id }, drawCell);
  const first = element("th", "", { scope: "row" }), id = element("td");
  first.append(pick);
  id.append(run.report ? element("a", run.id, { href: run.report, title: "its report" }) : element("code", run.id));
  row.append(first, id, ...run.facts.map(fact => element("td", fact)));
  row.classList.toggle("on", on);
  return row;
}

// --- curves -------------------------------------------------------------------------------------------------

async function drawCurves(cell) {
  const runs = cell.runs.map(n => page.runs[n]).filter(run => page.curves[run.id]);
  const logged = cell.runs.filter(n => page.runs[n].is_logged).length;
  at("curves-note").textContent = !logged ? "No run has logged a row yet." : runs.length < logged
    ? `Curves of ${runs.length} of ${logged} runs: this page cannot hold the rows of so many.` : page.curves_note;
  const scales = [["log", "logarithmic"], ["linear", "linear"]];
  at("steps").replaceChildren(chooser("steps", scales, chosen.steps, steps => choose({ steps }, drawCell)));
  await embedded("curves", runs.length ? curvesOf(runs, chosen.steps === "log") : null);
}

function curvesOf(runs, isLog) {
  const spec = copy(page.curve_spec), [strip, panels] = spec.vconcat;
  const one = runs.length === 1 ? runs[0] : runs.find(run => run.id === chosen.run);
  const rows = runs.flatMap(run => page.curves[run.id].split("\n").map(line => `${run.label},${line}`.split(",")))
    .filter(row => !isLog || row[1] !== "0");
  const bands = runs.flatMap(run => (page.stages[run.id] ?? []).map(([stage, from, to]) =>
    ({ run: run.label, stage, from: isLog ? Math.max(from, 1) : from, to, shown: run === one })));
  const head = page.curve_head.split(",");
  const has = name => rows.some(row => !["", "x"].includes(row[head.indexOf(name)]));
  panels.concat = panels.concat.filter(panel => page.panels[panel.title].some(has));
  panels.columns = Math.max(1, Math.min(3, Math.floor(innerWidth / 460)));
  panels.concat.forEach(panel => setTicks(panel, rows, head));
  if (!bands.some(band => band.shown)) panels.concat.forEach(panel => panel.layer.shift());
  spec.vconcat = bands.length ? [strip, panels] : [panels];
  spec.data.values = [page.curve_head, ...rows.map(row => row.join(","))].join("\n");
  spec.datasets = { bands };
  spec.params.find(each => each.name === "run").value = one && runs.length > 1 ? one.label : "";
  setSteps(spec, isLog);
  return spec;
}

function setTicks(panel, rows, head) { // of a logarithmic axis of values: as many as there is room for
  const y = panel.layer.find(layer => layer.encoding.y?.scale?.type === "log")?.encoding.y;
  const columns = page.panels[panel.title].map(name => head.indexOf(name));
  const logs = rows.flatMap(row => columns.map(n => Math.log10(row[n]))).filter(Number.isFinite);
  if (!y || !logs.length) return;
  const [low, high] = [Math.min, Math.max].map(end => logs.reduce((a, b) => end(a, b)));
  const every = Math.ceil((high - low) / 9) || 1, ticks = [];
  const between = high - low > 2 ? [1] : high - low > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  for (let k = Math.floor(low / every) * every; k <= high; k += every)
    ticks.push(...between.map(each => each * 10 ** k).filter(at => at >= 10 ** low && at <= 10 ** high));
  y.axis.values = ticks;
}

function setSteps(node, isLog) { // every axis of steps in a specification
  if (["step", "from"].includes(node?.x?.field)) {
    node.x.scale = { type: isLog ? "log" : "linear", nice: false };
    if (node.x.axis && isLog) node.x.axis.values = [...Array(10).keys()].map(k => 10 ** k);
  }
  if (node && typeof node === "object") Object.values(node).forEach(each => setSteps(each, isLog));
}

// --- drawing ------------------------------------------------------------------------------------------------

// One drawing after the other; one that was overtaken while it waited is left out. What had the focus keeps it.
let pending = null, drawing = null, drawn = 0;
function redraw(what) {
  pending = pending === drawAll ? drawAll : what;
  drawing ??= drawPending();
  return drawing;
}

async function drawPending() {
  const had = document.activeElement, form = had?.form?.id, name = had?.name;
  while (pending) {
    const now = pending;
    pending = null;
    await now().catch(console.error);
  }
  drawing = null;
  if (form && !had.isConnected) at(form).elements[name]?.focus();
  document.body.dataset.drawn = ++drawn;
}

for (const [id, spec] of Object.entries(page.sections)) vegaEmbed(at(id), spec, page.embed).catch(console.error);
at("back").onclick = () => show("overview");
["left-map", "right-map"].forEach(id => at(id).addEventListener("keydown", step));
addEventListener("hashchange", () => location.reload()); // another view's address was pasted
redraw(drawAll);
