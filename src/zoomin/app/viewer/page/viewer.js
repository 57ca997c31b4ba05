// The page of `zoomin view`: lists the images, embeds the map of one (a Bokeh plot), flies over it.
// The map's frame is level-0 pixels with y counted upwards: y = -(level-0 y).

const $ = (id) => document.getElementById(id);
const KEPT_TILES = 400; // picture tiles that the browser keeps of each layer
const MOST_MAGNIFIED = 16; // screen pixels for one level-0 pixel
const NUMBERED = 10; // heaviest sub-tiles, numbered on the map
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

const OPACITY = 85; // of the attention at first, percent
const CLICK = 4; // screen pixels that a click may move
const OBJECTIVE = 10; // microns per pixel times magnification

const state = { images: [], at: -1, token: "", doubt: "", view: null, manager: null, turn: 0, info: null, flight: 0, opacity: {}, stage: "both", ruler: null };

// ------------------------------------------------------------------ small things

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)} %`;
const chance = (p, digits = 1) => {
  const least = 10 ** -digits;
  return p < least / 200 ? `<${percent(least / 100, digits)}` : p > 1 - least / 200 ? `>${percent(1 - least / 100, digits)}` : percent(p, digits);
};
const signed = (x) => {
  const text = Math.abs(x).toFixed(Math.abs(x) < 0.01 ? 4 : 2);
  return Number(text) === 0 ? text : `${x < 0 ? "−" : "+"}${text}`;
};
const minus = (text) => text.replace(/^-(?=\d)/, "−");
const grouped = (n) => n.toLocaleString("en-GB").replaceAll(",", "\u202f");
const rounded = (x) => (x >= 100 ? x.toFixed(0) : Number(x.toPrecision(2)).toString());
const many = (n, one) => `${grouped(n)} ${one}${n === 1 ? "" : "s"}`;

function mark(right) {
  if (right == null) return element("span", { class: "mark unknown", title: "right or wrong: not known" }, "·");
  return right
    ? element("span", { class: "mark right", title: "the prediction is right" }, "✓")
    : element("span", { class: "mark wrong", title: "the prediction is wrong" }, "✗");
}

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

// ------------------------------------------------------------------ light and dark

function showTheme(theme) {
  document.documentElement.classList.toggle("dark", theme === "dark");
}

function startTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const current = () => localStorage.getItem("zoomin-theme") ?? (preferred.matches ? "dark" : "light");
  preferred.addEventListener("change", () => showTheme(current()));
  addEventListener("storage", () => showTheme(current())); // changed in another page
  $("theme").addEventListener("click", () => {
    localStorage.setItem("zoomin-theme", current() === "dark" ? "light" : "dark");
    showTheme(current());
  });
  showTheme(current());
}

// ------------------------------------------------------------------ the list of images

function listImages() {
  const rows = state.images.map((image, index) => {
    const label = image.label == null || image.right ? "" : ` (label: ${image.label})`;
    const prediction = image.prediction == null
      ? (image.explained ? "" : "not explained")
      : `${image.abstained ? "abstained, else " : ""}${minus(image.prediction)}${label}`;
    const row = element("li", { tabIndex: 0, title: image.path, id: `image-${index}` },
      mark(image.right),
      element("span", { class: "file" }, image.name),
      element("span", { class: "probability" }, image.probability == null ? "" : chance(image.probability, 0)),
      element("span", { class: "prediction" }, prediction || "\u00a0"));
    row.setAttribute("role", "option");
    row.addEventListener("click", () => show(index));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") show(index); });
    return row;
  });
  $("images").setAttribute("role", "listbox");
  $("images").replaceChildren(...rows);
  const options = [["all", "All images"]];
  if (state.images.some((image) => image.right != null)) options.push(["right", "Right"], ["wrong", "Wrong"]);
  const given = state.images.filter((image) => image.prediction != null && !image.abstained);
  const classes = [...new Set(given.map((image) => image.prediction))].sort();
  if (classes.length > 1) options.push(...classes.map((name) => [`predicted ${name}`, `Predicted ${name}`]));
  if (state.images.some((image) => image.abstained)) options.push(["abstained", "Abstained"]);
  $("filter").replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  $("filter").hidden = options.length === 1;
}

function filterImages() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = $("filter").value;
  let shown = 0;
  state.images.forEach((image, index) => {
    const text = `${image.path} ${image.prediction ?? ""} ${image.label ?? ""} ${image.abstained ? "abstained" : ""}`.toLowerCase();
    const fits = wanted === "all" || (wanted === "right" && image.right === true)
      || (wanted === "wrong" && image.right === false) || (wanted === "abstained" && image.abstained)
      || (wanted === `predicted ${image.prediction}` && !image.abstained);
    const visible = fits && words.every((word) => text.includes(word));
    $(`image-${index}`).hidden = !visible;
    shown += visible;
  });
  const labelled = state.images.filter((image) => image.right != null);
  const right = labelled.filter((image) => image.right).length;
  const count = shown === state.images.length ? many(shown, "image") : `${grouped(shown)} of ${many(state.images.length, "image")}`;
  $("tally").textContent = labelled.length ? `${count}, ${right} of ${labelled.length} right` : count;
}

// ------------------------------------------------------------------ one image

async function show(index) {
  const turn = ++state.turn;
  if (state.at >= 0) $(`image-${state.at}`)?.removeAttribute("aria-current");
  state.at = index;
  const row = $(`image-${index}`);
  row.setAttribute("aria-current", "true");
  row.scrollIntoView({ block: "nearest" });
  history.replaceState(null, "", `#${index}`);
  $("compare").href = `compare.html#${index}`;
  document.title = `${state.images[index].name} · zoomin view`;
  clearMap();
  $("problem").hidden = true;
  $("loading").hidden = false;
  document.body.dataset.ready = "";
  try {
    const info = await ask(`image/${index}.json`);
    if (turn !== state.turn) return;
    state.info = info;
    $("loading").hidden = true;
    showAnswer(index, info);
    showEvidence(index, info);
    if (info.problem) showProblem("This image cannot be shown", info.problem);
    else await showMap(turn, info);
  } catch (error) {
    if (turn !== state.turn) return;
    $("loading").hidden = true;
    showProblem("No answer", { what: String(error.message ?? error), remedy: "Is `zoomin view` still running?" });
  }
  if (turn !== state.turn) return;
  document.body.dataset.ready = String(index);
  dispatchEvent(new Event("zoomin-shown"));
}

function showProblem(title, problem) {
  $("problem").replaceChildren(
    element("h2", {}, title),
    problem.where ? element("p", { class: "quiet" }, problem.where) : null ?? "",
    element("p", {}, sentence(problem.what)),
    problem.remedy ? element("p", {}, problem.remedy) : "");
  $("problem").hidden = false;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function warning(problem, command) {
  const text = problem ? `${sentence(problem.what)} ${problem.remedy ?? ""}` : "This image has no explanation yet. To make it:";
  return element("div", { class: "warn" }, text, command ? element("code", {}, command) : null);
}

function showAnswer(index, info) {
  const image = state.images[index];
  const size = info.height == null ? null : element("p", { class: "quiet", id: "size" }, ...sizeText(info));
  const parts = [element("h1", { title: image.path }, image.name), size];
  const one = info.explanation;
  if (one && state.doubt) parts.push(element("div", { class: "warn", id: "other-model" }, `${state.doubt}.`));
  if (one) {
    const verdict = one.abstained ? `abstained, else ${minus(one.prediction)}` : minus(one.prediction);
    parts.push(element("div", { class: "verdict" }, element("span", {}, verdict), mark(image.right)));
    parts.push(element("p", { class: "quiet" }, image.label == null ? "Label: not known" : `Label: ${image.label}`));
    if (one.doubt) parts.push(element("div", { class: "warn", id: "doubt" }, `${one.doubt}.`));
    const order = [...one.classes].sort((a, b) => b.probability - a.probability);
    parts.push(element("ul", { class: "classes", id: "classes" }, ...order.map((each) => {
      const spread = each.text == null ? percent : rounded;
      const error = !each.standard_error ? "" : ` ± ${spread(each.standard_error)}`;
      const bar = element("i");
      bar.style.width = percent(each.probability ?? 0, 2).replace(" ", "");
      return element("li", { class: each.name === one.label ? "first" : "" },
        element("div", { class: "line" }, element("span", {}, each.name), element("span", {}, (each.text == null ? chance(each.probability) : minus(each.text)) + error)),
        each.probability == null ? null : element("div", { class: "bar" }, bar));
    })));
    const known = one.classes.some((each) => each.standard_error);
    parts.push(accountTable(one));
    if (known) parts.push(element("p", { class: "quiet" }, "± standard error, owed to drawing sub-tiles"));
  } else if (image.prediction != null) {
    parts.push(element("div", { class: "verdict" }, element("span", {}, minus(image.prediction)), mark(image.right)));
    parts.push(element("p", { class: "quiet" }, image.label == null ? "Label: not known" : `Label: ${image.label}`));
  }
  if (info.explanation_problem) parts.push(warning(info.explanation_problem, null));
  if (info.explain) parts.push(warning(null, info.explain));
  if (info.roi_problem) parts.push(warning({ what: `The annotation cannot be shown: ${info.roi_problem.what}`, remedy: info.roi_problem.remedy }, null));
  $("answer").replaceChildren(...parts.filter(Boolean));
}

// From nothing seen to the answer: what the sub-tiles add to the evidence for the predicted class.
function accountTable({ label, target, account }) {
  const row = (name, { evidence, probability, answer }) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", { class: answer == null ? (evidence < 0 ? "against" : "for") : "" }, signed(evidence)),
    element("td", {}, probability == null ? (target === "survival" ? "" : minus(answer ?? "")) : chance(probability)));
  const rows = [row(account.start_words, account.start)];
  if (account.note) rows[0].title = `${account.note}.`;
  if (account.overview) rows.push(row("Overview", account.overview));
  if (account.numbered.count) rows.push(row(`${many(account.numbered.count, "heaviest sub-tile")}`, account.numbered));
  if (account.others.count) rows.push(row(many(account.others.count, "other"), account.others));
  rows.push(row("Answer", account.end));
  const what = { labels: "its logit", value: "in its own unit, from the mean of the training images", survival: "the log hazard" };
  const title = `Evidence for ${label}: ${what[target] ?? "its logit minus the mean over the classes"}. The rows sum to the answer.`;
  return element("table", { class: "account", id: "account", title }, ...rows);
}

function sizeText(info) {
  const pixels = info.width * info.height;
  const count = pixels >= 1e9 ? `${rounded(pixels / 1e9)} gigapixels` : `${rounded(pixels / 1e6)} megapixels`;
  const parts = [`${grouped(info.width)} × ${grouped(info.height)} pixels · ${count}`];
  if (info.mpp) {
    const sides = [info.width, info.height].map((side) => lengthText(side * info.mpp)).join(" × ");
    parts.push(element("br"), `${sides} · ${rounded(info.mpp)} µm per pixel`);
  }
  return parts;
}

function lengthText(microns) {
  return microns >= 1e6 ? `${rounded(microns / 1e6)} m` : microns >= 1000 ? `${rounded(microns / 1000)} mm` : `${rounded(microns)} µm`;
}

function showEvidence(index, info) {
  const one = info.explanation;
  $("evidence").hidden = !one;
  if (!one) return;
  const blocks = [...one.blocks].reverse().map(({ drawn, all }) => `, in ${many(drawn, "block")} of ${grouped(all)}`).join("");
  const where = one.stages === 1 ? `, of ${grouped(one.positions)} positions` : ` in ${many(one.tiles, "tile")} of ${grouped(one.all_tiles)}${blocks}`;
  const read = `${many(one.sub_tiles, "sub-tile")} read${where}.`;
  const left = one.outlined < one.sub_tiles ? ` The heaviest ${grouped(one.outlined)} are outlined.` : "";
  $("evidence-note").textContent = `${read}${left} Weight in the answer, and what each adds for ${one.label}.`;
  $("places").replaceChildren(...one.list.map((place, rank) => {
    const parts = Object.entries(place.added).map(([name, value]) => `${name} ${signed(value)}`);
    const button = element("button", { type: "button", id: `place-${rank}`, title: `Adds to the logit of: ${parts.join(", ")}` },
      element("img", { src: `image/${index}/crop/${rank}?s=${state.token}`, alt: `sub-tile ${rank + 1}`, loading: "lazy" }),
      element("div", { class: "numbers" }, element("b", {}, String(rank + 1)), element("span", {}, percent(place.weight)),
        element("span", { class: place.evidence < 0 ? "against" : "for" }, signed(place.evidence))));
    button.addEventListener("click", () => flyTo(rank));
    return element("li", {}, button);
  }));
}

// ------------------------------------------------------------------ the map

function clearMap() {
  cancelAnimationFrame(state.flight);
  state.manager?.clear?.();
  state.manager = state.view = null;
  $("map").replaceChildren();
  for (const id of ["controls", "legend", "scale", "zoom"]) $(id).hidden = true;
  if (state.ruler) state.ruler = [];
  showRuler();
}

async function showMap(turn, info) {
  $("controls").hidden = !info.explanation && !info.roi;
  for (const id of ["stages", "outlines"]) $(id).hidden = false;
  $("stages").hidden = !info.explanation;
  document.querySelector('label[for="opacity"]').hidden = !info.explanation;
  for (const id of ["show-tiles", "show-sub-tiles", "show-all-sub-tiles"]) $(id).parentElement.hidden = !info.explanation;
  $("show-blocks").parentElement.hidden = !info.explanation?.blocks.length;
  showStages(info.explanation?.stages === 1);
  $("roi-control").hidden = !info.roi;
  const manager = await Bokeh.embed.embed_item(info.map, "map");
  if (turn !== state.turn) { manager.clear?.(); return; }
  state.manager = manager;
  state.view = manager.roots[0];
  const plot = state.view.model;
  for (const renderer of plot.renderers) if (renderer.tile_source) limitTiles(renderer, info);
  for (const range of [plot.x_range, plot.y_range]) range.change.connect(moved);
  plot.renderers.find((each) => each.name === "sub_tiles")?.data_source.selected.change.connect(() => chosen(plot));
  showLayers();
  for (const id of ["scale", "zoom"]) $(id).hidden = false;
  moved();
}

// Of one stage there is one attention map, and no tiles.
function showStages(isOne) {
  for (const id of ["stage-tiles", "stage-positions"]) $(id).parentElement.hidden = isOne;
  if (isOne) $("show-tiles").parentElement.hidden = true;
  $("stage-both").nextElementSibling.textContent = isOne ? "On" : "Both";
}

// Bokeh asks for picture tiles around and below those shown, and keeps all: only those that exist, and a few.
function limitTiles(renderer, info) {
  const source = renderer.tile_source;
  const exists = ([x, y, z]) => {
    const side = source.tile_size * source.get_resolution(z);
    const row = 2 ** z - 1 - y;
    return z <= source.max_zoom && x >= 0 && row >= 0 && x * side < info.width && row * side < info.height;
  };
  source.is_valid_tile = (x, y, z) => exists([x, y, z]);
  const children = source.children_by_tile_xyz.bind(source);
  source.children_by_tile_xyz = (x, y, z) => (z >= source.max_zoom ? [] : children(x, y, z).filter(exists));
  const view = state.view.views?.find_one?.(renderer) ?? state.manager.find_one?.(renderer);
  if (!view) return;
  view._prefetch_tiles = () => {
    if (source.tiles.size <= KEPT_TILES) return;
    const zoom = source.get_level_by_extent(view.get_extent(), view.plot_view.frame.bbox.height, view.plot_view.frame.bbox.width);
    const needed = new Set(source.get_tiles_by_extent(view.get_extent(), zoom).map(([x, y, z]) => source.tile_xyz_to_key(x, y, z)));
    for (const [key, tile] of source.tiles) {
      if (source.tiles.size <= KEPT_TILES / 2) break;
      if (!needed.has(key) && tile.tile_coords[2] > 2) source.tiles.delete(key);
    }
    view._tiles = [...source.tiles.values()];
  };
}

function showLayers() {
  const plot = state.view?.model;
  if (!plot) return;
  const isOne = state.info.explanation?.stages === 1;
  if (isOne && !document.querySelector('input[name="stage"][value="off"]').checked) $("stage-both").checked = true;
  const stage = document.querySelector('input[name="stage"]:checked').value;
  if (stage === state.stage) state.opacity[stage] = Number($("opacity").value); // of each layer its own
  else $("opacity").value = state.opacity[stage] ?? OPACITY;
  state.stage = stage;
  const opacity = Number($("opacity").value) / 100;
  $("opacity").title = `${$("opacity").value} %`;
  $("opacity").disabled = stage === "off";
  const all = $("show-all-sub-tiles").checked;
  const some = all || $("show-sub-tiles").checked;
  outlineSubTiles(plot, all);
  const visible = {
    pixels: true,
    both: stage === "both" && opacity > 0,
    tiles: stage === "tiles" && opacity > 0,
    positions: stage === "positions" && opacity > 0,
    roi: $("show-roi").checked,
    drawn_blocks: $("show-blocks").checked,
    drawn_blocks_halo: $("show-blocks").checked,
    drawn_tiles: $("show-tiles").checked,
    drawn_tiles_halo: $("show-tiles").checked,
    sub_tiles: some,
    sub_tiles_halo: some,
    sub_tile_numbers: some,
  };
  for (const renderer of plot.renderers) {
    renderer.visible = visible[renderer.name];
    if (["both", "tiles", "positions"].includes(renderer.name)) renderer.alpha = opacity;
  }
  const top = state.info.explanation && stage !== "off" ? state.info.explanation.heat_top : 0;
  $("legend").hidden = !top || opacity === 0;
  if (top) $("legend-top").textContent = `≥ ${grouped(top)} times`;
}

// The ten heaviest sub-tiles, or all of them.
function outlineSubTiles(plot, all) {
  const source = plot.renderers.find((each) => each.name === "sub_tiles")?.data_source;
  if (!source || source.showsAll === all) return;
  source.strengths ??= [...source.data.strength];
  source.showsAll = all;
  source.data = { ...source.data, strength: source.strengths.map((value, rank) => (all || rank < NUMBERED ? value : 0)) };
}

// What the map shows: its centre and its resolution, level-0 pixels for one on the screen.
function currentView() {
  const { x_range: x, y_range: y } = state.view.model;
  const { width, height } = state.view.frame.bbox;
  return { x: (x.start + x.end) / 2, y: (y.start + y.end) / 2, resolution: (x.end - x.start) / width, width, height };
}

function setView({ x, y, resolution }) {
  const { width, height } = state.view.frame.bbox;
  const { x_range, y_range } = state.view.model;
  x_range.setv({ start: x - (resolution * width) / 2, end: x + (resolution * width) / 2 });
  y_range.setv({ start: y - (resolution * height) / 2, end: y + (resolution * height) / 2 });
}

function bounds() {
  const { width, height } = state.view.frame.bbox;
  const fit = Math.max(state.info.width / width, state.info.height / height) * 1.04;
  return { fit, closest: Math.min(1 / MOST_MAGNIFIED, fit / 2), farthest: fit * 1.6 };
}

const whole = () => ({ x: state.info.width / 2, y: -state.info.height / 2, resolution: bounds().fit });

// Keep the image in sight, and tell the scale.
let waiting = false;
function moved() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (!state.view?.frame?.bbox?.width) return;
    const now = currentView();
    const { closest, farthest } = bounds();
    const kept = {
      x: Math.min(Math.max(now.x, 0), state.info.width),
      y: Math.min(Math.max(now.y, -state.info.height), 0),
      resolution: Math.min(Math.max(now.resolution, closest), farthest),
    };
    if (kept.x !== now.x || kept.y !== now.y || Math.abs(kept.resolution / now.resolution - 1) > 1e-6) setView(kept);
    showScale(kept.resolution);
    showRuler();
    dispatchEvent(new Event("zoomin-moved"));
  });
}

function showScale(resolution) {
  const unit = state.info.mpp ?? 1; // microns, else pixels
  const most = 140 * resolution * unit;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((k) => k * power).find((nice) => nice <= most) ?? power;
  $("scale").firstElementChild.style.width = `${length / (resolution * unit)}px`;
  $("scale").lastElementChild.textContent = state.info.mpp ? lengthText(length) : `${rounded(length)} px`;
  const ratio = resolution >= 1 ? `1:${rounded(resolution)}` : `${rounded(1 / resolution)}:1`;
  const microns = resolution * state.info.mpp;
  $("resolution").textContent = microns ? `${ratio} · ${rounded(microns)} µm/px · ${rounded(OBJECTIVE / microns)}×` : ratio;
}

// ------------------------------------------------------------------ a distance

// Where the pointer is, level-0 pixels.
function placeOf(event) {
  const box = $("map").getBoundingClientRect();
  const { x, y, resolution, width, height } = currentView();
  const { left, top } = state.view.frame.bbox;
  return [x + (event.clientX - box.left - left - width / 2) * resolution, -y + (event.clientY - box.top - top - height / 2) * resolution];
}

function onScreen([x, y]) {
  const now = currentView();
  const { left, top } = state.view.frame.bbox;
  return [left + (x - now.x) / now.resolution + now.width / 2, top + (y + now.y) / now.resolution + now.height / 2];
}

// state.ruler: null, off; else the ends so far, and where the pointer is while the second is missing.
function showRuler() {
  const [from, to] = state.ruler ?? [];
  $("measure").setAttribute("aria-pressed", String(state.ruler != null));
  $("map").classList.toggle("measuring", state.ruler != null);
  $("ruler").toggleAttribute("hidden", !(from && to && state.view));
  $("distance").hidden = state.ruler == null || !state.view;
  $("distance").textContent = "Click both ends";
  if (!(from && to && state.view)) return;
  const ends = [from, to].map(onScreen);
  if (!ends.flat().every(Number.isFinite)) return; // while the window changes its size
  for (const line of $("ruler").children) {
    for (const [k, name] of ["x1", "y1", "x2", "y2"].entries()) line.setAttribute(name, ends[k >> 1][k % 2]);
  }
  const pixels = Math.hypot(to[0] - from[0], to[1] - from[1]);
  $("distance").textContent = state.info.mpp ? `${lengthText(pixels * state.info.mpp)} (${rounded(pixels)} px)` : `${rounded(pixels)} px`;
}

function startRuler() {
  const map = $("map");
  let pressed = null;
  map.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; }, true);
  map.addEventListener("pointerup", (event) => {
    const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) <= CLICK;
    pressed = null;
    if (!still || !state.ruler || !state.view) return;
    const done = state.ruler.length !== 1 && !state.ruler.open; // a click after both ends begins another
    state.ruler = done ? [placeOf(event)] : [state.ruler[0], placeOf(event)];
    showRuler();
  }, true);
  map.addEventListener("pointermove", (event) => {
    if (!state.ruler?.length || !state.view || (state.ruler.length === 2 && !state.ruler.open)) return;
    state.ruler = Object.assign([state.ruler[0], placeOf(event)], { open: true });
    showRuler();
  }, true);
}

function toggleRuler() {
  state.ruler = state.ruler ? null : [];
  showRuler();
}

// Zoom and pan together, the zoom evenly on a logarithmic scale.
function fly(to, milliseconds = 550) {
  cancelAnimationFrame(state.flight);
  const from = currentView();
  const start = performance.now();
  const zoom = Math.log(to.resolution / from.resolution);
  const step = () => {
    const t = CALM.matches ? 1 : Math.min(1, (performance.now() - start) / milliseconds);
    const eased = t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2;
    const resolution = from.resolution * Math.exp(zoom * eased);
    // Along the way the place that is flown to moves straight across the screen.
    const share = Math.abs(zoom) < 1e-6 ? eased : (from.resolution - resolution) / (from.resolution - to.resolution);
    setView({ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share, resolution });
    if (t < 1) state.flight = requestAnimationFrame(step);
    else setView(to);
  };
  step();
}

function zoomBy(factor) {
  const now = currentView();
  const { closest, farthest } = bounds();
  fly({ ...now, resolution: Math.min(Math.max(now.resolution * factor, closest), farthest) }, 200);
}

function flyTo(rank) {
  const sub = state.info.explanation.list[rank].region;
  if (!state.view) return;
  const { width, height } = state.view.frame.bbox;
  const [x, y, w, h] = sub;
  const resolution = Math.max((4 * w) / width, (4 * h) / height, bounds().closest);
  const source = state.view.model.renderers.find((each) => each.name === "sub_tiles").data_source;
  source.selected.indices = [rank];
  fly({ x: x + w / 2, y: -(y + h / 2), resolution: Math.min(resolution, 1) }, 700);
}

function chosen(plot) {
  const [rank] = plot.renderers.find((each) => each.name === "sub_tiles").data_source.selected.indices;
  document.querySelector("#places [aria-current]")?.removeAttribute("aria-current");
  const button = rank == null ? null : $(`place-${rank}`);
  button?.setAttribute("aria-current", "true");
  button?.scrollIntoView({ block: "nearest" });
}

// ------------------------------------------------------------------ start

function next(step) {
  for (let at = state.at + step; at >= 0 && at < state.images.length; at += step) {
    if (!$(`image-${at}`).hidden) return show(at);
  }
}

function startControls() {
  for (const input of document.querySelectorAll("#controls input")) input.addEventListener("input", showLayers);
  $("search").addEventListener("input", filterImages);
  $("filter").addEventListener("change", filterImages);
  const actions = {
    "zoom-in": () => zoomBy(0.5),
    "zoom-out": () => zoomBy(2),
    fit: () => fly(whole()),
    full: () => fly({ ...currentView(), resolution: 1 }),
    measure: toggleRuler,
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  const keys = { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", 0: "fit", 1: "full", m: "measure" };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.('input[type="search"], select') || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") next(1);
    else if (event.key === "p") next(-1);
    else if (event.key === "Escape" && state.ruler) toggleRuler();
    else if (state.view && event.key in keys) actions[keys[event.key]]();
  });
  addEventListener("hashchange", () => {
    const index = Number(location.hash.slice(1));
    if (index !== state.at && index in state.images) show(index);
  });
}

async function start() {
  document.body.classList.toggle("pane", new URLSearchParams(location.search).has("pane")); // of compare.html
  history.replaceState(null, "", location.pathname + location.hash); // the token has become a cookie
  startTheme();
  startControls();
  startRuler();
  try {
    const list = await ask("images.json");
    Object.assign(state, { images: list.images, token: list.token, doubt: list.doubt });
    $("run").textContent = list.run;
    listImages();
    filterImages();
    const wanted = Number(location.hash.slice(1));
    if (list.images.length) await show(wanted in list.images ? wanted : 0);
  } catch (error) {
    $("loading").hidden = true;
    showProblem("No answer", { what: String(error.message ?? error), remedy: "Is `zoomin view` still running?" });
  }
}

window.zoominView = { state, currentView, setView, flyTo, show };
start();
