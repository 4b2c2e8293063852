/** Small parts that all panels share. */

import { createContext, h } from "preact";
import { useContext } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);

/** The colour of weights, visible on light and on dark; as red, green, blue. */
export const BLUE = [59, 130, 246];

/** The text that a panel still shows the last answer of, by the panel's id; the next is on its way. */
export const Before = createContext({});

/** A panel with its heading, and where its matter stands in the paper and in the repository. */
export function Panel({ id, title, paper, files, children }) {
  const before = useContext(Before)[id];
  return html`
    <section class="panel" id=${id} aria-labelledby="${id}-title" aria-busy=${before !== undefined}>
      <h2 id="${id}-title" tabindex="-1">${title}</h2>
      ${before !== undefined && html`<p class="stored">Still of <q><bdi>${before}</bdi></q></p>`}
      <p class="where">Paper: ${paper} · Code: ${files.map((file) => html`<code>${file}</code> `)}</p>
      ${children}
    </section>
  `;
}

/** A piece of text in whichever direction its script runs, kept apart from what is around it. */
export const Piece = ({ text }) => html`<bdi class="piece">${visible(text)}</bdi>`;

/** With signs for the line breaks and tabs that some vocabularies have among their pieces. */
export const visible = (text) => text.replace(/\r?\n/g, "↵").replace(/\t/g, "⇥");

export const percent = (share) =>
  share >= 0.1 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

export const short = (text, most) => {
  const signs = [...visible(text)];
  return signs.length > most ? `${signs.slice(0, most - 1).join("")}…` : signs.join("");
};

/** With real minus signs. */
export const fixed = (number, digits) => number.toFixed(digits).replace("-", "−");

/** Go to a panel, as fast as the reader likes things to move. */
export function goTo(id) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById(id)?.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  document.getElementById(`${id}-title`)?.focus({ preventScroll: true });
}
