/** One head as lines from each token to those it looks at, the stronger the higher the weight. */

import { useRef, useState } from "preact/hooks";
import { html, Piece, short } from "./parts.js";

const ROW = 24; // pixels
const LETTERS = 16;
const [LEFT, RIGHT, WIDTH] = [150, 330, 480]; // where lines begin and end
const FAINTEST = 0.005; // what is fainter cannot be seen

const middle = (place) => (place + 0.5) * ROW;

function Lines({ weights, only }) {
  return weights.flatMap((values, q) =>
    values.map(
      (weight, m) =>
        weight >= FAINTEST &&
        (only === null || only === q) &&
        html`<line x1=${LEFT} y1=${middle(q)} x2=${RIGHT} y2=${middle(m)} stroke-opacity=${weight}
          data-weight=${String(weight)} />`,
    ),
  );
}

/** The reader points at a token that looks, or goes there by arrow keys, to see its lines alone. */
export function Links({ heads, weights, name }) {
  const { queries, memory } = heads;
  const [only, setOnly] = useState(null);
  const svg = useRef(null);
  const at = only !== null && only < weights.length ? only : null;
  const move = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    svg.current.querySelector(`[data-query="${(at ?? 0) + step}"]`)?.focus();
  };
  const strongest = at === null ? 0 : weights[at].indexOf(Math.max(...weights[at]));
  return html`
    <p class="exact" aria-live="polite">
      ${at === null
        ? "Point at a token on the left to see its lines alone."
        : html`<${Piece} text=${queries[at]} /> looks most at <${Piece} text=${memory[strongest]} />:
            ${" "}<output>${String(weights[at][strongest])}</output>`}
    </p>
    <div class="scroll">
      <svg ref=${svg} class="links" role="group" aria-label="${name}, as lines"
        width=${WIDTH} height=${ROW * Math.max(queries.length, memory.length)}
        onKeyDown=${move} onMouseLeave=${() => setOnly(null)}>
        <${Lines} weights=${weights} only=${at} />
        ${queries.map(
          (token, q) => html`
            <g role="img" aria-label=${token} data-query=${q} tabindex=${q === (at ?? 0) ? 0 : -1}
              class=${q === at ? "now" : ""} onMouseEnter=${() => setOnly(q)} onFocus=${() => setOnly(q)}>
              <rect x="0" y=${q * ROW} width=${LEFT} height=${ROW} />
              <text x=${LEFT - 8} y=${middle(q)} text-anchor="end">${short(token, LETTERS)}</text>
            </g>
          `,
        )}
        ${memory.map(
          (token, m) => html`
            <text x=${RIGHT + 8} y=${middle(m)} opacity=${at === null ? 1 : 0.45 + weights[at][m]}>
              ${short(token, LETTERS)}
            </text>
          `,
        )}
      </svg>
    </div>
  `;
}
