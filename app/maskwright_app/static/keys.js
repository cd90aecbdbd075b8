document.addEventListener("keydown", (event) => {
  const typing = "input:not([type=radio], [type=checkbox], [type=range]), textarea, [contenteditable]";
  if (event.target.closest(typing)) return;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z") {
    // a key that is held down counts once
    if (!event.repeat) document.querySelector(event.shiftKey ? "#mw-redo" : "#mw-undo")?.click();
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "k" || event.key === "w") {
    const tools = [...document.querySelectorAll("#mw-tool input")];
    const current = tools.findIndex((tool) => tool.checked);
    tools[event.key === "w" ? (current === 2 ? 0 : 2) : (current === 0 ? 1 : 0)]?.click();
    event.preventDefault();
    return;
  }
  const button = {
    g: "#mw-accept-all", u: "#mw-reject-all", q: "#mw-run", n: "#mw-next", N: "#mw-previous",
    j: "#mw-click-other", z: "#mw-click-undo", Escape: "#mw-click-clear",
  }[event.key];
  if (button) { document.querySelector(button)?.click(); event.preventDefault(); }
});
