import js from "@eslint/js";

const names = (list) => Object.fromEntries(list.map((name) => [name, "readonly"]));

export default [
  js.configs.recommended,
  {
    files: ["**/*.js", "**/*.mjs"],
    languageOptions: {
      ecmaVersion: 2023,
      sourceType: "module",
      globals: names([
        "AbortController", "Blob", "Element", "Event", "EventSource", "File", "FormData", "HTMLElement",
        "HTMLInputElement", "HTMLSelectElement", "HTMLTextAreaElement", "Image", "ImageData", "KeyboardEvent", "Node", "OffscreenCanvas",
        "PointerEvent", "ResizeObserver", "URL", "URLSearchParams", "Worker", "clearTimeout", "console",
        "createImageBitmap", "document", "fetch", "history", "localStorage", "location", "matchMedia", "performance",
        "queueMicrotask", "requestAnimationFrame", "self", "setInterval", "setTimeout", "window",
      ]),
    },
    rules: {
      "eqeqeq": "error",
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", { max: 60, skipComments: true, skipBlankLines: true }],
      "max-params": ["error", 7],
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Names of people must not become markup: use el() and text." },
        { property: "outerHTML", message: "Names of people must not become markup: use el() and text." },
        { property: "insertAdjacentHTML", message: "Names of people must not become markup: use el() and text." },
      ],
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
    },
  },
  { files: ["**/*.test.mjs"], rules: { "max-lines-per-function": "off" } },
];
