"use strict";
/* Sorting, filtering and folding. The page is complete without this script, which adds controls but no content. */

const isMissing = (text) => text === "" || text === "\u2014";

function valueOf(rows, column) {
  const cell = rows.querySelector("tr").cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

/* Numbers sort by value, words alphabetically; missing values come last in both directions. */
function compare(a, b, sign) {
  if (isMissing(a) || isMissing(b)) return Number(isMissing(a)) - Number(isMissing(b));
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
}

function makeSortable(table, status) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first ?? "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? second : first;
      const sign = direction === "ascending" ? 1 : -1;
      const bodies = [...table.tBodies];
      bodies.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
      table.append(...bodies);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      table.classList.add("sorted");
      status.textContent = `Sorted by ${button.textContent.trim()}, ${direction}.`;
    });
  });
}

/* A row is shown if it contains every word of the filter and no word that follows a minus sign. */
function makeFilter(input, bodies, status) {
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const rows of bodies) {
      const text = (rows.dataset.text ?? rows.textContent).toLowerCase();
      const matches = words.every((word) =>
        word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word));
      rows.hidden = !matches;
      shown += Number(matches);
    }
    status.textContent = `${shown} of ${bodies.length} shown.`;
  });
}

for (const controls of document.querySelectorAll("[data-controls]")) {
  const status = controls.querySelector("[role=status]");
  const target = document.getElementById(controls.dataset.controls);
  const table = target.matches("table") ? target : null;
  if (table) makeSortable(table, status);
  const input = controls.querySelector("input");
  if (input) makeFilter(input, table ? [...table.tBodies] : [...target.querySelectorAll("details")], status);
  for (const button of controls.querySelectorAll("button[data-open]")) {
    button.addEventListener("click", () => {
      for (const details of target.querySelectorAll("details")) {
        if (!details.hidden) details.open = button.dataset.open === "true";
      }
    });
  }
  controls.hidden = false;
}
