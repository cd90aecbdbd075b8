/** Sentences and numbers for people. */

/**
 * `plural(1, "mask")` is "1 mask".
 *
 * @param {number} count
 * @param {string} noun
 * @param {string} [many]
 */
export function plural(count, noun, many = `${noun}s`) {
  return `${count} ${count === 1 ? noun : many}`;
}

/**
 * "12 s" or "3 min 20 s".
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** The time of day, "14:03:22". */
export function clock() {
  return new Date().toTimeString().slice(0, 8);
}

/**
 * Classes of a text prompt: separated by commas, semicolons or lines, synonyms by "|"; duplicates are dropped.
 *
 * @param {string} text
 * @returns {string[]} each as "cow | calf"
 */
export function parseWords(text) {
  const words = text.split(/[,;\n]/).map((part) => synonyms(part).join(" | "));
  const known = new Set();
  return words.filter((word) => {
    const key = word.split(" | ")[0].toLocaleLowerCase();
    return word && !known.has(key) && known.add(key);
  });
}

/**
 * @param {string} word
 * @returns {string[]}
 */
export function synonyms(word) {
  return [...new Set(word.split("|").map((part) => part.trim().normalize("NFC")).filter(Boolean))];
}

/**
 * The end of a long name, too, is visible: "IMG_2024…0381.jpg".
 *
 * @param {string} name
 * @param {number} most
 */
export function shorten(name, most) {
  const letters = [...name];
  if (letters.length <= most) return name;
  const tail = Math.floor((most - 1) / 3);
  return `${letters.slice(0, most - 1 - tail).join("")}…${letters.slice(-tail).join("")}`;
}

/**
 * Black or white, whichever is easier to read on a colour (WCAG 2 relative luminance).
 *
 * @param {string} color #rrggbb
 */
export function inkOn(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 ? "#ffffff" : "#000000";
}

/**
 * A lighter or darker shade of a colour, different for neighbours in a list.
 *
 * @param {string} color #rrggbb
 * @param {number} number
 */
export function shadeOf(color, number) {
  const step = ((number * 0.618034) % 1) - 0.5;
  const target = step < 0 ? 0 : 255;
  const part = Math.abs(step) * 0.9;
  const mixed = [1, 3, 5].map((i) => {
    const value = parseInt(color.slice(i, i + 2), 16);
    return Math.round(value + (target - value) * part).toString(16).padStart(2, "0");
  });
  return `#${mixed.join("")}`;
}
