"use strict";
// Sorting by a click on a column's head: numbers first worst or best, empty cells always last. Floors stay where they are.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = head.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column] === undefined ? "" : row.cells[column].dataset.sort;
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => {
        const [left, right] = [key(a), key(b)];
        if (!left || !right) return (left ? 0 : 1) - (right ? 0 : 1);
        const numbers = Number(left) - Number(right);
        return sign * (Number.isNaN(numbers) ? left.localeCompare(right) : numbers);
      });
      body.append(...rows);
    });
  });
}
