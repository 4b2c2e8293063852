/** Small parts that all panels share. */

import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);

/** The colour of weights, visible on light and on dark; as red, green, blue. */
export const BLUE = [59, 130, 246];

/** A panel with its heading, and where its matter stands in the paper and in the repository. */
export function Panel({ id, title, paper, files, children }) {
  return html`
    <section class="panel" id=${id} aria-labelledby="${id}-title">
      <h2 id="${id}-title" tabindex="-1">${title}</h2>
      <p class="where">Paper: ${paper} · Code: ${files.map((file) => html`<code>${file}</code> `)}</p>
      ${children}
    </section>
  `;
}

/** A piece of text in whichever direction its script runs, kept apart from what is around it. */
export const Piece = ({ text }) => html`<bdi class="piece">${text}</bdi>`;

export const percent = (share) =>
  share >= 0.1 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

export const short = (text, most) => {
  const signs = [...text];
  return signs.length > most ? `${signs.slice(0, most - 1).join("")}…` : text;
};

/** With real minus signs. */
export const fixed = (number, digits) => number.toFixed(digits).replace("-", "−");

/** Go to a panel, as fast as the reader likes things to move. */
export function goTo(id) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById(id)?.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  document.getElementById(`${id}-title`)?.focus({ preventScroll: true });
}
