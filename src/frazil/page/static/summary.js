"use strict";
// The table of inputs: rows by a word in them, sorted by a heading.

const rows = [...document.querySelectorAll("tbody tr")];

function filtered() {
  const word = document.querySelector("#filter").value.toLowerCase();
  rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(word); });
  const shown = rows.filter((row) => !row.hidden).length;
  document.querySelector("#count").textContent = shown === rows.length ? `${shown} inputs` : `${shown} of ${rows.length} inputs`;
}

function sorted(heading, column) {
  const down = heading.classList.contains("up");
  document.querySelectorAll("th").forEach((one) => one.classList.remove("up", "down"));
  heading.classList.add(down ? "down" : "up");
  const value = (row) => row.cells[column].dataset.value ?? "";
  const compare = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
  rows.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
  document.querySelector("tbody").append(...rows);
}

document.querySelectorAll("th").forEach((heading, column) => { heading.onclick = () => sorted(heading, column); });
document.querySelector("#filter").oninput = filtered;
filtered();
document.body.dataset.ready = "yes";
