"use strict";
// Sorts and filters what the page already holds; without scripts everything is shown.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") === "descending" || (head.dataset.first === "up" && !head.hasAttribute("aria-sort"));
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? "";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");  // missing scores last, either way
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : Number(x) - Number(y);
      return up ? order : -order;
    });
    body.append(...rows);
  });
}
const form = document.getElementById("filter");
if (form) {
  const apply = () => {
    const model = form.elements.model.value, alpha = form.elements.alpha.value;
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of document.querySelectorAll("#board tbody tr")) {
      const fits = (!model || row.dataset.model === model) && (!alpha || row.dataset.alpha === alpha)
        && (!form.elements.pareto.checked || row.dataset.pareto === "1") && words.every((word) => row.dataset.words.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    document.getElementById("shown").textContent = `${shown} of ${form.dataset.count} variants`;
    for (const box of form.querySelectorAll("input[name=suite]"))
      for (const cell of document.querySelectorAll(`#board [data-suite="${CSS.escape(box.value)}"]`)) cell.hidden = !box.checked;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
const pick = document.getElementById("pick");
if (pick) {
  const apply = () => {
    const [model, suite] = [pick.elements.model.value, pick.elements.suite.value];
    for (const one of document.querySelectorAll("article"))
      one.hidden = (model && one.dataset.model !== model) || (suite && one.dataset.suite !== suite);
  };
  pick.addEventListener("input", apply);
  pick.addEventListener("submit", (event) => event.preventDefault());
  pick.hidden = false;
  apply();
}
