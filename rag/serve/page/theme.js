// Before anything is painted, so that nothing flashes.
const kept = localStorage.getItem("rag-theme");
const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = dark ? "dark" : "light";
const spoken = [localStorage.getItem("rag-language"), ...navigator.languages].map((one) => (one || "").slice(0, 2));
document.documentElement.lang = spoken.find((one) => one === "de" || one === "en") || "en";
document.documentElement.dataset.language = document.documentElement.lang;
