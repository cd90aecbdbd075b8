/** Elements without markup: text is always text, so that no name of a class or a file can become part of the page. */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Properties `on`: listeners by event; `class`, `data`, `style`; other names are attributes
 */

/**
 * An element with properties and children.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, properties);
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An SVG element.
 *
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {Properties} properties
 */
export function apply(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, String(setting));
    } else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden" || name === "open") {
      /** @type {any} */ (element)[name] = value;
    } else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Element} parent
 * @param {Child[]} children
 */
export function append(parent, children) {
  for (const child of children) {
    if (child instanceof Node) parent.append(child);
    else if (child !== null && child !== undefined && child !== false) parent.append(String(child));
  }
}

/**
 * Replace all children.
 *
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * Make the children of a list match its items; an element stays for as long as its item does, with its focus.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function reconcile(list, items, keyOf, create, update) {
  const known = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = /** @type {HTMLElement | undefined} */ (known.get(key));
    if (!element) {
      element = create(item);
      element.dataset.key = key;
    }
    known.delete(key);
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  for (const element of known.values()) element.remove();
}

/**
 * Set the text where it differs; screen readers hear only what changed.
 *
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
  select: "M5 3l14 8-6 1.5L10 19z",
  point: "M12 4v16M4 12h16",
  box: "M4 6h16v12H4z",
  brush: "M4 20c3 0 5-1 5-4 0-1.5 1-2.5 2-2.5M11 13.5L20 4l-1-1-9.5 9z",
  eraser: "M8 19h11M5 15l8-9 6 5-7 8H8z",
  polygon: "M12 3l8 6-3 10H7L4 9z",
  lasso: "M12 4c5 0 8 2.4 8 5.5S16.5 15 12 15s-8-2.4-8-5.5S7 4 12 4zM8 14.5c-1 2-.5 4.5 1.5 6",
  vertices: "M5 5h4v4H5zM15 15h4v4h-4zM15 5h4v4h-4zM9 7h6M17 9v6M8 9l8 7",
  fill: "M4 12a8 8 0 1 0 16 0 8 8 0 1 0-16 0M9 12h6M12 9v6",
  specks: "M5 12a5 5 0 1 0 10 0 5 5 0 1 0-10 0M18 5l3 3M21 5l-3 3",
  split: "M4 8a4 4 0 1 0 8 0 4 4 0 1 0-8 0M14 17a3 3 0 1 0 6 0 3 3 0 1 0-6 0M19 4L5 20",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  undo: "M8 5L4 9l4 4M4 9h9a6 6 0 0 1 0 12h-2",
  redo: "M16 5l4 4-4 4M20 9h-9a6 6 0 0 0 0 12h2",
  check: "M5 12.5l4.5 4.5L19 7",
  cross: "M6 6l12 12M18 6L6 18",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5",
  eye: "M2.5 12S6 6 12 6s9.5 6 9.5 6-3.5 6-9.5 6-9.5-6-9.5-6zM9.5 12a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0",
  hidden: "M4 4l16 16M9 7c1-.6 2-1 3-1 6 0 9.5 6 9.5 6s-1 1.8-2.8 3.4M6 8.5C3.8 10.2 2.5 12 2.5 12S6 18 12 18c1.2 0 2.3-.2 3.3-.6",
  plus: "M12 5v14M5 12h14",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M13 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0M7 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
  batch: "M4 5h16v4H4zM4 11h16v4H4zM4 17h10v3H4z",
  files: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 20h14",
  folder: "M3 6h6l2 2h10v11H3z",
  tune: "M4 18l5-6 4 3 7-9M15 6h5v5",
  compare: "M12 3v18M4 6h5v12H4M20 6h-5v12h5",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5h.01",
  theme: "M12 4a8 8 0 1 0 8 8 6 6 0 0 1-8-8z",
  like: "M4 12a6 6 0 1 0 12 0 6 6 0 1 0-12 0M15 16l5 5M10 9v6M7 12h6",
  everything: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  star: "M12 4l2.4 5.1 5.6.7-4.1 3.9 1 5.5-4.9-2.7-4.9 2.7 1-5.5L4 9.8l5.6-.7z",
  stop: "M7 7h10v10H7z",
  tools: "M4 20l9-9M14 4a5 5 0 0 0 6 6l-3 3-6-6z",
  tag: "M4 4h7l9 9-7 7-9-9zM8 8h.01",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  images: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  search: "M4 10.5a6.5 6.5 0 1 0 13 0 6.5 6.5 0 1 0-13 0M15.5 15.5L21 21",
  close: "M6 6l12 12M18 6L6 18",
  history: "M4 12a8 8 0 1 0 3-6.2M4 4v4h4M12 8v4l3 2",
};

/**
 * A line drawing; the control that holds it has the name.
 *
 * @param {keyof typeof ICONS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/**
 * A button with an icon, whose name and key are in its tooltip.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: Event) => void} press
 * @param {Properties} [more]
 */
export function iconButton(name, label, press, more = {}) {
  const properties = { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: press } };
  return el("button", { ...properties, ...more }, icon(name));
}
