"use strict";
// Sorts a table's first body by a column's data-sort: numbers as numbers, empty cells always last.
function sortRows(table, column, order) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", order);
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
}
// What a click on a column's head asks for: its own first order, then the other.
function nextOrder(head) {
  const first = head.dataset.first || "ascending";
  return head.getAttribute("aria-sort") !== first ? first : first === "ascending" ? "descending" : "ascending";
}
