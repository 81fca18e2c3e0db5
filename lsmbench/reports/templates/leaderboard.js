// The page is whole without this; here it becomes one table at a time. What is shown stands in the address behind "#".
document.documentElement.classList.add("js");
const controls = document.querySelector(".controls");
const boards = [...document.querySelectorAll(".board")];
const field = (name) => controls.elements[name];
const FIELDS = ["board", "n", "q", "supervision", "size", "testset", "version"];
let state = {};

function parse() {
  const words = location.hash.slice(1);
  const target = words && document.getElementById(words);
  if (target) return target instanceof HTMLDialogElement ? { run: words } : { ...state, run: "" };
  return Object.fromEntries(new URLSearchParams(words));
}

// Follows the state: which board, N and rows are seen, in what order, and which runs are open.
function show() {
  const fits = ({ version, testset }) => (!state.version || version === state.version)
    && (!state.testset || testset === state.testset);
  for (const option of field("board").options) option.hidden = option.disabled = !fits(option.dataset);
  let dialog = state.run && document.getElementById(state.run);
  const board = boards.find((one) => one.id === state.board && fits(one.dataset))
    || (!state.board && dialog && boards.find((one) => one.querySelector(`a[href="#${CSS.escape(state.run)}"]`)))
    || boards.find((one) => fits(one.dataset)) || boards[0];
  boards.forEach((one) => { one.hidden = one !== board; });
  const tables = [...board.querySelectorAll(".ranking")];
  const table = tables.find((one) => one.dataset.n === state.n) || tables[0];
  tables.forEach((one) => { one.hidden = one !== table; });
  field("n").replaceChildren(...tables.map((one) => new Option(one.dataset.label, one.dataset.n)));
  const values = { ...state, board: board.id, n: table.dataset.n };
  for (const name of FIELDS) if (field(name).value !== (values[name] || "")) field(name).value = values[name] || "";

  const grid = table.querySelector("table");
  const heads = [...grid.tHead.rows[0].cells];
  // Without a wish, the order is that of the mean (at the greatest N).
  const wish = heads.findIndex((head) => head.dataset.key === state.sort);
  const column = wish < 0 ? 1 : wish;
  const orders = ["ascending", "descending"];
  sortRows(grid, column, wish >= 0 && orders.includes(state.order) ? state.order : heads[column].dataset.first);

  const text = (state.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...grid.tBodies[0].rows];
  for (const row of rows) {
    const found = text.every((word) => row.dataset.text.includes(word));
    const same = ["supervision", "size"].every((name) => !state[name] || row.dataset[name] === state[name]);
    row.hidden = !row.classList.contains("floor") && !(found && same);
  }
  const methods = rows.filter((row) => !row.classList.contains("floor"));
  const seen = methods.filter((row) => !row.hidden).length;
  controls.querySelector(".count").textContent = seen === methods.length
    ? `${seen} rows` : `${seen} of ${methods.length} rows; ranks are among all`;

  if (!(dialog instanceof HTMLDialogElement)) dialog = null;
  document.querySelectorAll("dialog[open]").forEach((one) => { if (one !== dialog) one.close(); });
  if (dialog && !dialog.open) dialog.showModal();
}

function change(more, remember) {
  state = { ...state, ...more };
  const words = new URLSearchParams(Object.entries(state).filter(([, value]) => value)).toString();
  history[remember ? "pushState" : "replaceState"](null, "", words ? "#" + words : location.pathname + location.search);
  show();
}

controls.hidden = false;
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", (event) => {
  change({ [event.target.name]: event.target.value });
});
for (const head of document.querySelectorAll(".ranking th[data-key]")) {
  head.querySelector("button").addEventListener("click", () => change({ sort: head.dataset.key, order: nextOrder(head) }));
}
document.addEventListener("click", (event) => {
  const opener = event.target.closest("a.open");
  if (opener && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    change({ run: opener.hash.slice(1) }, true);
  }
  const copied = event.target.closest(".copy");
  if (copied) copy(copied);
  // A click beside an open dialog is one on the dialog itself, outside its box.
  if (event.target instanceof HTMLDialogElement) {
    const box = event.target.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) change({ run: "" });
  }
});
for (const dialog of document.querySelectorAll("dialog")) {
  const close = (event) => { event.preventDefault(); if (state.run === dialog.id) change({ run: "" }); };
  dialog.addEventListener("submit", close); // its button
  dialog.addEventListener("cancel", close); // the Escape key
  // Whatever else a browser closes it by; told late, it may be open again.
  dialog.addEventListener("close", (event) => { if (!dialog.open) close(event); });
}
for (const button of document.querySelectorAll(".copy")) button.hidden = false;
async function copy(button) {
  let said = "copied";
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // Not every browser lets a file on disk write to the clipboard.
    getSelection().selectAllChildren(button.previousElementSibling);
    said = "selected";
  }
  button.textContent = said;
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}
function follow() {
  state = parse();
  show();
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
follow();
