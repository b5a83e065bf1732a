"use strict";
/* Sorting, filtering and folding. The page is whole without it: this script adds controls and shows no new facts. */

const missing = (text) => text === "" || text === "\u2014";

function valueOf(rows, column) {
  const cell = rows.querySelector("tr").cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

/* Numbers by size, words by the alphabet; what was not measured comes last in either direction. */
function compared(a, b, sign) {
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
}

function makeSortable(table, told) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first ?? "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? other : first;
      const sign = direction === "ascending" ? 1 : -1;
      const bodies = [...table.tBodies];
      bodies.sort((a, b) => compared(valueOf(a, column), valueOf(b, column), sign));
      table.append(...bodies);
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      table.classList.add("sorted");
      told.textContent = `Sorted by ${button.textContent.trim()}, ${direction}.`;
    });
  });
}

/* Every word must be somewhere in a row; a word after a minus sign must not. */
function makeFilter(input, bodies, told) {
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const rows of bodies) {
      const text = (rows.dataset.text ?? rows.textContent).toLowerCase();
      const kept = words.every((word) =>
        word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word));
      rows.hidden = !kept;
      shown += Number(kept);
    }
    told.textContent = `${shown} of ${bodies.length} shown.`;
  });
}

for (const controls of document.querySelectorAll("[data-controls]")) {
  const told = controls.querySelector("[role=status]");
  const target = document.getElementById(controls.dataset.controls);
  const table = target.matches("table") ? target : null;
  if (table) makeSortable(table, told);
  const input = controls.querySelector("input");
  if (input) makeFilter(input, table ? [...table.tBodies] : [...target.querySelectorAll("details")], told);
  for (const button of controls.querySelectorAll("button[data-open]")) {
    button.addEventListener("click", () => {
      for (const one of target.querySelectorAll("details")) {
        if (!one.hidden) one.open = button.dataset.open === "true";
      }
    });
  }
  controls.hidden = false;
}
