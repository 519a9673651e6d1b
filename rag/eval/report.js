// Shows the questions that fit all filters: what differs, what is wrong, what got worse, where.
const form = document.querySelector("form");
const rows = [...document.querySelectorAll("details.question")];

function fits(row, wanted) {
  const lost = row.dataset.lost.split(" ");
  return (!wanted.differs || row.dataset.differs === "1")
    && (!wanted.wrong || row.dataset.wrong === "1")
    && (!wanted.worse || row.dataset.worse === "1")
    && (!wanted.kind || row.dataset.kind === wanted.kind)
    && (!wanted.lost || lost.includes(wanted.lost))
    && (!wanted.text || row.textContent.toLowerCase().includes(wanted.text.toLowerCase()));
}

function show() {
  const wanted = Object.fromEntries(new FormData(form));
  for (const row of rows) row.hidden = !fits(row, wanted);
  const shown = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").textContent = `${shown} of ${rows.length}`;
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
show();
