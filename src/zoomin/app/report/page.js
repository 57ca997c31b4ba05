"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const text = new Intl.Collator(undefined, { numeric: true }).compare;
  const compare = (a, b) => {
    const x = a === "" ? NaN : Number(a), y = b === "" ? NaN : Number(b);
    if (Number.isNaN(x) && Number.isNaN(y)) return text(a, b);
    if (Number.isNaN(x) !== Number.isNaN(y)) return null; // a number stands before what is not one
    return x - y;
  };
  const order = (items, value, sign) => items
    .map((item, place) => ({ item, place, key: value(item) }))
    .sort((a, b) => {
      if (a.key === b.key) return a.place - b.place;
      const found = compare(a.key, b.key);
      if (found === null) return Number.isNaN(Number(a.key || NaN)) ? 1 : -1;
      return sign * found || a.place - b.place;
    })
    .map((entry) => entry.item);

  // Tables: a button in each header sorts by its column.
  const cell = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        body.append(...order([...body.rows], (row) => cell(row, column), up ? 1 : -1));
      });
    });
  }

  const watch = (form, update) => {
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  };
  const count = (form, shown, total) => { form.querySelector("output").value = `${shown} of ${total} images`; };

  for (const form of all("form[data-table]")) {
    const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
    watch(form, () => {
      const outcome = form.outcome.value, part = form.text.value.toLowerCase();
      const fits = (row) => (!outcome || row.dataset.outcome === outcome)
        && (row.cells[0].title + row.cells[0].textContent).toLowerCase().includes(part);
      rows.forEach((row) => { row.hidden = !fits(row); });
      count(form, rows.filter((row) => !row.hidden).length, rows.length);
    });
  }

  for (const form of all("form[data-gallery]")) {
    const list = document.querySelector(".cards"), cards = [...list.children];
    watch(form, () => {
      const outcome = form.outcome.value;
      const wanted = ["truth", "predicted"].map((name) => [name, form[name].value]).filter(([, value]) => value);
      const part = form.text.value.toLowerCase();
      for (const card of cards) {
        card.hidden = (outcome && card.dataset.outcome !== outcome)
          || !wanted.every(([name, value]) => JSON.parse(card.dataset[name]).includes(value))
          || !card.dataset.name.toLowerCase().includes(part);
      }
      const [key, sign] = form.order.value.split(":");
      list.append(...order(cards, (card) => card.dataset[key], Number(sign)));
      const shown = cards.filter((card) => !card.hidden).length;
      document.querySelector("[data-none]").hidden = shown > 0;
      count(form, shown, cards.length);
    });
  }

  // A panel opens in full size.
  const dialog = document.querySelector("dialog");
  for (const open of all(".open")) {
    open.addEventListener("click", () => {
      const small = open.querySelector("img"), large = dialog.querySelector("img");
      large.src = open.dataset.panel ?? small.src;
      large.alt = small.alt;
      dialog.querySelector("p").textContent = open.closest("figure").querySelector("figcaption").textContent.trim().replace(/\s+/g, " ");
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
