// Making elements.
export const $ = (id) => document.getElementById(id);

export function make(tag, fields = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A thumb: drawn, as not every system has letters for it.
export function thumb(turned) {
  const draw = (tag, fields, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(fields)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const lines = "M7 11v10H3V11zM7 12l4-9c1.700 0 2.800 1.200 2.500 3l-.7 3.500H19c1.300 0 2.200 1.200 1.900 2.500l-1.700 7c-.2.900-1 1.500-1.900 1.500H7";
  return draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: turned ? "down" : "up" }, draw("path", { d: lines }));
}

export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;

export function table(caption, rows) {
  return make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
}

// Says something to a screen reader.
export function announce(text) {
  $("say").textContent = text;
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = make("textarea", { class: "hidden", "aria-hidden": "true" }); // a page without TLS
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}
