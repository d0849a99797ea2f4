// Sorts a table by the column whose heading is pressed; rows without a value stay last.
"use strict";

function compare(a, b) {
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortBy(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.key;
  const rows = [...table.tBodies[0].rows];
  const known = rows.filter((row) => key(row) !== undefined);
  const unknown = rows.filter((row) => key(row) === undefined);
  known.sort((a, b) => compare(key(a), key(b)) * (descending ? -1 : 1));
  table.tBodies[0].append(...known, ...unknown);
}

for (const heading of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
}
