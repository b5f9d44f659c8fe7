// Small helpers for elements. Text from people only ever goes into text nodes.

/** element("li", { className: "x" }, "text", child): properties, then children. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

export function avatar(name) {
  const node = element("span", { className: "avatar", ariaHidden: "true" }, initials(name));
  node.style.setProperty("--hue", hue(name));
  return node;
}

/** One colour per name, the same in every browser (FNV-1a). */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193);
  return (hash >>> 0) % 360;
}

function initials(name) {
  const words = name.split(" ").filter(Boolean);
  const picked = words.length > 1 ? [words[0], words.at(-1)] : words;
  return picked.map(firstLetter).join("").toLocaleUpperCase();
}

// What people see as one letter may be several code points.
function firstLetter(word) {
  if (!("Segmenter" in Intl)) return Array.from(word)[0];
  return new Intl.Segmenter().segment(word)[Symbol.iterator]().next().value.segment;
}
