// Before anything is painted, so that nothing flashes.
const kept = localStorage.getItem("rag-theme");
const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = dark ? "dark" : "light";
