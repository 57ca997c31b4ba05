// Two viewers side by side: two images of a run, or the same image in two runs.
// Each pane is the page of `zoomin view` in a frame, and tells of every move (`zoomin-moved`, `zoomin-shown`).

const $ = (id) => document.getElementById(id);
const panes = [...document.querySelectorAll(".pane")].map((section) => ({
  frame: section.querySelector("iframe"), select: section.querySelector("select"), name: section.querySelector("span"), images: [],
}));
let leader = panes[0]; // the one that was touched last: the other follows it

const viewer = (pane) => pane.frame.contentWindow?.zoominView;
const other = (pane) => panes[1 - panes.indexOf(pane)];
const sizes = () => panes.map((pane) => viewer(pane)?.state.info).map((info) => info && `${info.width} ${info.height}`);

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

function startTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const current = () => localStorage.getItem("zoomin-theme") ?? (preferred.matches ? "dark" : "light");
  const showTheme = () => document.documentElement.classList.toggle("dark", current() === "dark");
  preferred.addEventListener("change", showTheme);
  $("theme").addEventListener("click", () => {
    localStorage.setItem("zoomin-theme", current() === "dark" ? "light" : "dark"); // the frames see this change
    showTheme();
  });
  showTheme();
}

// Images of different sizes have no places in common.
function showLink() {
  const [left, right] = sizes();
  const alike = left != null && left === right;
  $("link").disabled = !alike;
  $("link-control").title = alike ? "Also the layers and their opacity" : "The two images have different sizes";
  return alike && $("link").checked;
}

function follow() {
  const from = viewer(leader), to = viewer(other(leader));
  if (!showLink() || !from?.state.view || !to?.state.view) return;
  const { x, y, resolution } = from.currentView();
  to.setView({ x, y, resolution });
}

function followLayers(event) {
  const control = event.target;
  if (!showLink() || !control.closest?.("#controls")) return;
  const page = other(leader).frame.contentDocument;
  const same = control.id ? page.getElementById(control.id) : page.querySelector(`input[name="${control.name}"][value="${control.value}"]`);
  if (!same) return;
  if (control.type === "range") same.value = control.value;
  else same.checked = control.checked;
  same.dispatchEvent(new Event("input"));
}

function shown(pane) {
  pane.select.value = String(viewer(pane).state.at);
  history.replaceState(null, "", `#${panes.map((each) => each.select.value).join(",")}`);
  showLink();
  follow();
}

function listen(pane) {
  const page = pane.frame.contentWindow;
  for (const touch of ["pointerdown", "pointerover", "wheel", "keydown"]) {
    page.addEventListener(touch, () => { leader = pane; }, { capture: true, passive: true });
  }
  page.addEventListener("zoomin-moved", () => { if (leader === pane) follow(); });
  page.addEventListener("zoomin-shown", () => shown(pane));
  page.document.addEventListener("input", (event) => { if (leader === pane) followLayers(event); });
  if (page.document.body.dataset.ready) shown(pane);
}

// The same image in the other run, where it is there.
function sameImage(image) {
  return panes[1].images.findIndex((each) => each.path === image?.path);
}

async function start() {
  history.replaceState(null, "", location.pathname + location.hash); // the token has become a cookie
  startTheme();
  try {
    const list = await ask("images.json");
    const lists = [list, list.other == null ? list : await ask("other/images.json")];
    const [left = 0, right] = location.hash.slice(1).split(",").filter(Boolean).map(Number);
    panes.forEach((pane, k) => {
      pane.images = lists[k].images;
      pane.name.textContent = lists[k].run;
      pane.select.replaceChildren(...pane.images.map((image, index) => new Option(image.name, index)));
      pane.select.addEventListener("change", () => {
        viewer(pane).show(Number(pane.select.value));
        const there = list.other != null && k === 0 ? sameImage(pane.images[Number(pane.select.value)]) : -1;
        if (there >= 0) viewer(panes[1]).show(there);
      });
    });
    const first = left in panes[0].images ? left : 0;
    const beside = list.other == null ? Math.min(first + 1, panes[1].images.length - 1) : Math.max(sameImage(panes[0].images[first]), 0);
    const wanted = [first, right in panes[1].images ? right : beside];
    panes.forEach((pane, k) => {
      pane.frame.addEventListener("load", () => listen(pane));
      pane.frame.src = `${k && list.other != null ? "other/" : "./"}?pane#${wanted[k]}`;
    });
    $("link").addEventListener("input", follow);
  } catch (error) {
    $("problem").textContent = `No answer: ${String(error.message ?? error)}. Is zoomin view still running?`;
    $("problem").hidden = false;
  }
}

window.zoominCompare = { panes };
start();
