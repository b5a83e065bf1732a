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

/* The first click on a heading sorts, the second reverses, and the third restores the original order. */
function makeSortable(table, status) {
  const heads = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies];
  const name = table.dataset.name;
  const mark = (head, direction) => {
    for (const other of heads) other.removeAttribute("aria-sort");
    if (head) head.setAttribute("aria-sort", direction);
    table.classList.toggle("sorted", Boolean(head));
  };
  const reset = () => {
    table.append(...original);
    mark(null);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...[...head.childNodes].filter((node) => !node.matches?.(".about")));
    head.prepend(button, " ");
    button.addEventListener("click", () => {
      const first = head.dataset.first ?? "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const current = head.getAttribute("aria-sort");
      if (current === second) {
        reset();
        status.textContent = `${name}: original order.`;
        return;
      }
      const direction = current === first ? second : first;
      const sign = direction === "ascending" ? 1 : -1;
      const bodies = [...original].sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
      table.append(...bodies);
      mark(head, direction);
      status.textContent = `${name} sorted by ${button.textContent.trim()}, ${direction}.`;
    });
  });
  return reset;
}

const NAME_LETTER = "[\\p{L}\\p{N}_]";

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/* The options of a name, such as lstm:forget=none,peepholes=True, may stand in any order and among others. */
function namePattern(word, isWhole) {
  const [name, ...rest] = word.split(":");
  const options = rest.join(":").split(",").filter(Boolean);
  const end = isWhole ? `(?!${NAME_LETTER})` : "";
  const bounded = (text) => `(?<!${NAME_LETTER})${escaped(text)}${end}`;
  const among = options.map((option) => `(?=\\S*${bounded(option)})`).join("");
  return new RegExp(rest.length ? `(?<!${NAME_LETTER})${escaped(name)}:${among}` : bounded(word), "iu");
}

/* A word stands for a whole name, such as gru but not min_gru. If no row has the name, it stands for a name's start. */
function patternOf(word, texts) {
  const whole = namePattern(word, true);
  return texts.some((text) => whole.test(text)) ? whole : namePattern(word, false);
}

const textOf = (row) => row.dataset.text ?? [...row.querySelectorAll("th, td")].map((cell) => cell.textContent).join(" ");

/* A row is shown if it contains every word of the filter and no word that follows a minus sign. The label of a row may
   leave out options, so a word with options is also compared with the full specifications. */
function makeFilter(input, rows, parts, status) {
  const labels = rows.map(textOf);
  const specifications = rows.map((row, number) => `${labels[number]} ${row.dataset.specifications ?? ""}`);
  input.addEventListener("input", () => {
    const typed = input.value.replace(/(=[^\s,]*),\s+/g, "$1,").split(/\s+/).map((word) => word.replace(/,+$/, ""));
    const words = typed.filter(Boolean).map((text) => {
      const isExcluded = text.startsWith("-") && text.length > 1;
      const word = isExcluded ? text.slice(1) : text;
      const texts = word.includes(":") ? specifications : labels;
      return { isExcluded, texts, pattern: patternOf(word, texts) };
    });
    rows.forEach((row, number) => {
      row.hidden = words.some(({ isExcluded, texts, pattern }) => pattern.test(texts[number]) === isExcluded);
    });
    for (const part of parts) part.hidden = !part.querySelector("tbody:not([hidden])");
    status.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown.`;
  });
}

for (const controls of document.querySelectorAll("[data-controls]")) {
  const status = controls.querySelector("[role=status]");
  const target = document.getElementById(controls.dataset.controls);
  const tables = [target, ...target.querySelectorAll("table")].filter((each) => each.matches("table.sortable"));
  const resets = tables.map((table) => makeSortable(table, status));
  controls.querySelector("[data-restore]")?.addEventListener("click", () => {
    resets.forEach((reset) => reset());
    status.textContent = "Original order.";
  });
  const input = controls.querySelector("input");
  const rows = tables.length ? tables.flatMap((table) => [...table.tBodies]) : [...target.querySelectorAll("details")];
  if (input) makeFilter(input, rows, target.querySelectorAll(".part"), status);
  for (const button of controls.querySelectorAll("button[data-open]")) {
    button.addEventListener("click", () => {
      for (const details of target.querySelectorAll("details")) {
        if (!details.hidden) details.open = button.dataset.open === "true";
      }
    });
  }
  controls.hidden = false;
}

/* The answer to the reader's limits. The sentences are those of reports/text/needs.py. */

const QUANTITIES = {
  state_bytes: {
    name: "state",
    unit: "of state",
    hint: "enter an amount such as 20 KiB",
    factors: { "": 1, b: 1, kb: 1e3, k: 1e3, mb: 1e6, m: 1e6, gb: 1e9, g: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 },
    write: size,
  },
  step_seconds: {
    name: "step",
    unit: "per step",
    hint: "enter a duration such as 5 µs",
    factors: { ns: 1e-9, us: 1e-6, "µs": 1e-6, "μs": 1e-6, ms: 1e-3, s: 1 },
    write: duration,
  },
  parameters: {
    name: "parameters",
    unit: "parameters",
    hint: "enter a whole number such as 20,000",
    factors: { "": 1 },
    write: (value) => withSeparators(value, 0),
  },
};

const withSeparators = (value, decimals) =>
  value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

function significant(value, digits = 3) {
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  return withSeparators(Number(value.toPrecision(digits)), Math.max(digits - 1 - exponent, 0));
}

/* Limits are written without rounding. */
function size(bytes) {
  const [name, unit] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10], ["B", 1]].find(
    ([, factor]) => bytes % factor === 0);
  return `${withSeparators(bytes / unit, 0)} ${name}`;
}

function duration(seconds) {
  const units = [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]];
  const [name, unit] = units.find(([, factor]) => seconds >= factor) ?? units.at(-1);
  return `${Number((seconds / unit).toPrecision(12))} ${name}`;
}

function listed(words, conjunction = "and") {
  return words.length === 1 ? words[0] : `${words.slice(0, -1).join(", ")} ${conjunction} ${words.at(-1)}`;
}

/* Returns the number in a field, null for an empty field, or NaN. */
function limitIn(input) {
  const { factors, name } = QUANTITIES[input.dataset.quantity];
  const text = input.value.trim().toLowerCase();
  if (!text) return null;
  const found = /^([0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zµμ]*)$/.exec(text);
  const value = found ? Number(found[1].replaceAll(",", "")) * (factors[found[2]] ?? NaN) : NaN;
  const limit = name === "state" ? Math.floor(value) : value;
  return limit > 0 && (name !== "parameters" || Number.isInteger(limit)) ? limit : NaN;
}

/* A cost may exceed a limit by rounding errors, as in reports/analysis/frontier.py. */
const isOver = (cost, limit) => cost === null || cost > limit * (1 + 1e-9);

/* Returns the numbers of the candidates that no returned one beats. */
function unbeaten(numbers, beats) {
  const isBeaten = (number, others) => others.some((other) => beats.some(([a, b]) => a === other && b === number));
  const members = [];
  for (let rest = numbers; rest.length;) {
    const decided = rest.filter((number) => !isBeaten(number, rest));
    members.push(...decided.filter((number) => !isBeaten(number, members)));
    rest = rest.filter((number) => !decided.includes(number));
  }
  return members.sort((a, b) => a - b);
}

function choice({ candidates, beats, settled }, left) {
  const described = (numbers) => numbers.map((number, index) =>
    `${candidates[number].arch} (${index ? candidates[number].short : candidates[number].first})`);
  const members = unbeaten(left.filter((number) => !candidates[number].is_undecided), beats);
  const changing = left.filter((number) => candidates[number].is_undecided &&
    !settled.some(([better, worse]) => worse === number && members.includes(better)));
  if (changing.length) {
    const found = unbeaten(left.filter((number) => candidates[number].has_memory), beats);
    const archs = changing.map((number) => candidates[number].arch);
    return [
      `No choice yet: more training of ${listed(archs)} could change it.`,
      ...(found.length ? [`Provisional frontier: ${listed(described(found))}.`] : []),
    ];
  }
  const names = described(members);
  const beaten = left.filter((number) => !members.includes(number)).map((number) => candidates[number].label);
  const single = members.length === 1;
  const sentences = [`Choose${single ? "" : " by what matters most:"} ${listed(names, "or")}.`];
  if (beaten.length) sentences.push(`Beaten by ${single ? "it" : "one of these"}: ${listed(beaten)}.`);
  return sentences;
}

function relaxation(candidates, limits, excludedBy) {
  const raised = (quantity, candidate) =>
    `${QUANTITIES[quantity].name} to ${candidate.raised[quantity]} ` +
    `(${significant(candidate.costs[quantity] / limits[quantity])} times)`;
  const found = [];
  const kinds = Object.keys(limits).flatMap((quantity) => [[quantity, true], [quantity, false]]);
  for (const [quantity, isRanked] of kinds) {
    const blocked = candidates.filter((each) =>
      excludedBy(each).join() === quantity && each.costs[quantity] !== null &&
      (each.is_ranked || quantity !== "step_seconds") === isRanked);
    if (!blocked.length) continue;
    const cheapest = blocked.reduce((a, b) => (b.costs[quantity] < a.costs[quantity] ? b : a));
    const archs = blocked.filter((each) => !isOver(each.costs[quantity], cheapest.costs[quantity]));
    found.push({
      ratio: cheapest.costs[quantity] / limits[quantity],
      text: `${raised(quantity, cheapest)}, which leaves ${listed(archs.map((each) => each.label))}`,
    });
  }
  if (found.length) {
    found.sort((a, b) => a.ratio - b.ratio);
    return `Raise one limit: ${found.map((each) => each.text).join("; or ")}.`;
  }
  const excess = (each) => Math.max(...excludedBy(each).map((quantity) => each.costs[quantity] / limits[quantity]));
  const measured = candidates.filter((each) => excludedBy(each).every((quantity) => each.costs[quantity] !== null));
  if (!measured.length) return "No architecture has all these costs measured.";
  const closest = measured.reduce((a, b) => (excess(b) < excess(a) ? b : a));
  const parts = excludedBy(closest).map((quantity) => raised(quantity, closest));
  return `No single limit is enough. Closest is ${closest.label}: raise ${listed(parts)}.`;
}

function answer(data, limits) {
  const quantities = Object.keys(limits);
  if (!quantities.length) return [];
  if (!data.candidates.length) return [data.no_candidate, ...data.notes];
  const excludedBy = (each) => quantities.filter((quantity) => isOver(each.costs[quantity], limits[quantity]));
  const left = [...data.candidates.keys()].filter((number) => !excludedBy(data.candidates[number]).length);
  const sentences = [
    `Within the limits: ${left.length ? listed(left.map((number) => data.candidates[number].label)) : "none"}.`,
    ...(left.length ? choice(data, left) : [relaxation(data.candidates, limits, excludedBy)]),
  ];
  for (const quantity of quantities) {
    const { unit, write } = QUANTITIES[quantity];
    const excluded = data.candidates.filter((each) => isOver(each.costs[quantity], limits[quantity]));
    const names = excluded.map((each) => `${each.arch} (${each.words[quantity]})`);
    sentences.push(
      `A limit of ${write(limits[quantity])} ${unit} excludes ${names.length ? listed(names) : "none of those considered"}.`);
  }
  return [...sentences, ...data.notes];
}

for (const needs of document.querySelectorAll("[data-needs]")) {
  const data = JSON.parse(needs.dataset.needs);
  const inputs = [...needs.querySelectorAll("input")];
  const status = needs.querySelector("[role=status]");
  const update = () => {
    const limits = {};
    const invalid = [];
    for (const input of inputs) {
      const limit = limitIn(input);
      input.setAttribute("aria-invalid", String(Number.isNaN(limit)));
      if (Number.isNaN(limit)) {
        invalid.push(`${input.labels[0].textContent}: ${QUANTITIES[input.dataset.quantity].hint}, not “${input.value}”.`);
      } else if (limit !== null) limits[input.dataset.quantity] = limit;
    }
    const sentences = invalid.length ? invalid : answer(data, limits);
    status.replaceChildren(...sentences.map((sentence) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = sentence;
      return paragraph;
    }));
  };
  for (const input of inputs) input.addEventListener("input", update);
  needs.querySelector(".controls").hidden = false;
}
