"use strict";
// Tables sort by a click on a column's title, or by Enter on it; a second one turns the order round.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, position) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[position]), row]);
      rows.sort(([a], [b]) => (a === null) - (b === null) || (up ? 1 : -1) * compared(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
function key(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  return cell.textContent === "-" ? null : cell.textContent;
}
function compared(a, b) {
  if (a === null) return 0;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}
// A folded part opens when a link leads into it.
function unfold() {
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  const folded = wanted && wanted.querySelector("details");
  if (folded) folded.open = true;
}
window.addEventListener("hashchange", unfold);
unfold();
