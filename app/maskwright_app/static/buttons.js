element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  // a double click counts once; after a failure the button works again
  button.disabled = true;
  setTimeout(() => { button.disabled = false; }, 3000);
  trigger("click", {act: button.dataset.act, id: button.dataset.id});
});
// the HTML is replaced after every event: restore the keyboard focus
const lines = () => [...element.querySelectorAll("li:has([data-act])")];
let last = null;
element.addEventListener("focusin", (event) => {
  const button = event.target.closest("[data-act]");
  if (button)
    last = {act: button.dataset.act, id: button.dataset.id, line: lines().indexOf(button.closest("li"))};
});
document.addEventListener("focusin", (event) => { if (!element.contains(event.target)) last = null; });
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) last = null; });
new MutationObserver(() => {
  if (!last || (document.activeElement && document.activeElement !== document.body)) return;
  const buttons = [...element.querySelectorAll("[data-act]")];
  const same = buttons.find((button) => button.dataset.act === last.act && button.dataset.id === last.id);
  const line = lines()[Math.min(last.line, lines().length - 1)];
  (same || line?.querySelector("[data-act]"))?.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true});
