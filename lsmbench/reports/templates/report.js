// Sorting by a click on a column's head: numbers first worst or best. Floors stay where they are.
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sortRows(table, column, nextOrder(head)));
  });
}
