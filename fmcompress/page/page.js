"use strict";
// Sorting by a click on a column's head, and a filter by name. The page says the same without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => a === "" ? 1 : b === "" ? -1 : sign * (a - b || a.localeCompare(b, undefined, { numeric: true }));
      const rows = [...body.rows].sort((a, b) => compare(value(a), value(b)));
      body.append(...rows);
    });
  });
  const search = table.closest(".panel").querySelector("input");
  search?.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
}
