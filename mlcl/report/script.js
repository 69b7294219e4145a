"use strict";

// A heading sorts its column within each group of rows: numbers by size, the largest first, other texts by alphabet.
const value = (row, heading) => {
  const text = row.cells[heading.cellIndex].innerText.trim();
  const number = heading.classList.contains("number") ? parseFloat(text.replace("\u2212", "-")) : NaN;
  return Number.isNaN(number) ? text : number;
};

const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? 1 : -1; // what has no number comes last, largest first
  return a.localeCompare(b);
};

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  for (const heading of headings) {
    heading.querySelector("button")?.addEventListener("click", () => {
      const first = heading.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((cell) => cell.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
        rows.sort((a, b) => sign * compare(value(a, heading), value(b, heading)));
        body.append(...rows);
      }
    });
  }
}

// A number of several trainings leads to the first and marks them all.
for (const link of document.querySelectorAll("a[data-runs]")) {
  link.addEventListener("click", () => {
    document.querySelectorAll("tr.marked").forEach((row) => row.classList.remove("marked"));
    link.dataset.runs.split(" ").forEach((id) => document.getElementById(id).classList.add("marked"));
  });
}
