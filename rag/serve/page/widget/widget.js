// A chat in any site, by one tag:
//   <script src="https://SERVER/widget.js" data-title="Ask the handbook" async></script>
// data-key: an API key that may only ask; data-pipeline; data-language (de, en); data-open.
(() => {
  const script = document.currentScript;
  const base = new URL(".", script.src);
  import(new URL("widget/widget/chat.js", base)).then(
    ({ start }) => start({ base, ...script.dataset }),
    () => console.error(`The chat cannot be loaded: name ${location.origin} among the origins of ${base.origin}`),
  );
})();
