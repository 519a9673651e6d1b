// The widget's style, for its shadow tree alone. A site changes its colours by --rag-main and --rag-main-text.
export const STYLE = `
:host { all: initial; --main: var(--rag-main, #2b5fa6); --main-text: var(--rag-main-text, #fff); --back: #fff; --text: #1b2430; --soft: #55616f;
  --line: #dde2e8; --tint: #e8f0fb; --mark: #fff1b8; --bad: #a3271f; --cite: #2b5fa6; color-scheme: light; font: 15px/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :host { --back: #1a2028; --text: #e6eaf0; --soft: #a3aebb; --line: #2d3641; --tint: #1f2d40; --mark: #5a4a10;
  --bad: #ffb0a8; --cite: #8db8f5; color-scheme: dark; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
button, textarea { font: inherit; color: inherit; }
button { cursor: pointer; border: 0; background: none; border-radius: 8px; padding: .4rem .8rem; }
:focus-visible { outline: 2px solid var(--cite); outline-offset: 2px; }
.opener { position: fixed; right: 20px; bottom: 20px; z-index: 2147483000; background: var(--main); color: var(--main-text); font-weight: 600;
  padding: .7rem 1.2rem; border-radius: 999px; box-shadow: 0 4px 18px rgb(0 0 0 / .3); }
.chat { position: fixed; right: 20px; bottom: 82px; z-index: 2147483000; width: min(400px, calc(100vw - 24px)); height: min(580px, calc(100vh - 110px));
  display: grid; grid-template-rows: auto minmax(0, 1fr) auto; background: var(--back); color: var(--text); border: 1px solid var(--line);
  border-radius: 16px; overflow: hidden; box-shadow: 0 10px 40px rgb(0 0 0 / .3); }
header { display: flex; justify-content: space-between; align-items: center; padding: .6rem 1rem; background: var(--main); color: var(--main-text); }
header button { font-size: 1.2rem; line-height: 1; }
header :focus-visible { outline-color: var(--main-text); }
.log { overflow-y: auto; padding: 1rem; display: flex; flex-direction: column; gap: .8rem; }
.log p { margin: 0 0 .5rem; } .log p:last-child { margin-bottom: 0; }
.question { align-self: end; max-width: 85%; background: var(--tint); border-radius: 12px 12px 3px 12px; padding: .5rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.answer { overflow-wrap: anywhere; }
.answer pre { overflow-x: auto; } .answer a { color: var(--cite); }
.note { color: var(--soft); } .failure { color: var(--bad); }
.cite { padding: 0 .35rem; margin: 0 .1rem; font-size: .72rem; border-radius: 5px; background: var(--tint); color: var(--cite); font-weight: 650; vertical-align: super; }
.source { border: 1px solid var(--line); border-radius: 8px; margin-top: .4rem; font-size: .85rem; padding: .3rem .6rem; }
.source summary { cursor: pointer; } .passage { white-space: pre-wrap; max-height: 10rem; overflow-y: auto; margin: .3rem 0; }
mark { background: var(--mark); color: inherit; border-radius: 3px; }
form { display: flex; gap: .5rem; padding: .7rem; border-top: 1px solid var(--line); }
textarea { flex: 1; resize: none; border: 1px solid var(--line); border-radius: 10px; padding: .5rem .7rem; background: var(--back); }
textarea::placeholder { color: var(--soft); opacity: 1; }
.primary { background: var(--main); color: var(--main-text); font-weight: 600; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`;
