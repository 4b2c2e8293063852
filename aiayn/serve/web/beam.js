/** The search as a tree: columns are steps, and a click makes the output begin as that branch. */

import { useEffect, useRef, useState } from "preact/hooks";
import { fixed, html, Panel, percent, Piece, short } from "./parts.js";

const [COLUMN, ROW, WIDTH, HEIGHT] = [152, 30, 124, 24]; // pixels
const LETTERS = 9;

/** The ids on the way to a candidate, without the end of the sentence. */
function wayTo(steps, step, place) {
  const ids = [];
  for (let at = place; step >= 0; step -= 1) {
    const candidate = steps[step][at];
    if (candidate.piece !== "</s>") ids.unshift(candidate.id);
    at = candidate.parent ?? 0;
  }
  return ids;
}

const edge = (step, from, to) => {
  const [x, y] = [(step - 1) * COLUMN + WIDTH, from * ROW + HEIGHT / 2];
  const [toX, toY, middle] = [step * COLUMN, to * ROW + HEIGHT / 2, x + (COLUMN - WIDTH) / 2];
  return `M${x} ${y} C${middle} ${y} ${middle} ${toY} ${toX} ${toY}`;
};

function said(candidate, step) {
  const fate = { lives: "lives on", ends: "ends here", dropped: "dropped" }[candidate.fate];
  const score = candidate.score === null ? "" : `, score ${fixed(candidate.score, 3)}`;
  return (
    `step ${step + 1}: ${candidate.piece}, probability ${percent(candidate.probability)}, ` +
    `log-probability of all so far ${fixed(candidate.log_prob, 3)}, ${fate}${score}`
  );
}

function Node({ candidate, step, place, isBest, isFirst, force }) {
  const name = said(candidate, step);
  return html`
    <g
      role="button"
      class="node ${candidate.fate} ${isBest ? "best" : ""}"
      tabindex=${isFirst ? 0 : -1}
      aria-label=${name}
      data-step=${step}
      data-place=${place}
      data-log-prob=${String(candidate.log_prob)}
      aria-disabled=${!force}
      transform="translate(${step * COLUMN} ${place * ROW})"
      onClick=${force}
    >
      <title>${name}</title>
      <rect width=${WIDTH} height=${HEIGHT} rx="5" />
      <text x="6" y="16" class="word">${short(candidate.piece, LETTERS)}</text>
      <text x=${WIDTH - 5} y="16" text-anchor="end" class="number">
        ${percent(candidate.probability)}
      </text>
    </g>
  `;
}

function Tree({ beam, force }) {
  const { steps, best } = beam;
  const svg = useRef(null);
  const forced = useRef(null);
  const [focus, setFocus] = useState([0, 0]);
  const nodeAt = (s, p) => svg.current.querySelector(`[data-step="${s}"][data-place="${p}"]`);
  // A forced step has one candidate, which takes the focus over from the one that was chosen.
  useEffect(() => {
    const { activeElement } = document;
    const isHere = activeElement === document.body || svg.current.contains(activeElement);
    if (forced.current !== null && isHere) nodeAt(forced.current, 0)?.focus();
    forced.current = null;
  }, [beam]);
  const [step, place] = steps[focus[0]]?.[focus[1]] ? focus : [0, best[0].path[0]];
  const rows = Math.max(...steps.map((candidates) => candidates.length));
  const onPath = (s, p) => best[0].path[s] === p;
  const of = (event) => {
    const node = event.target.closest(".node");
    return node && [Number(node.dataset.step), Number(node.dataset.place)];
  };
  const go = (event) => {
    const at = of(event);
    if (!at) return;
    const [s, p] = at;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (!force) return;
      forced.current = s;
      setFocus([s, 0]);
      force(s, p);
      return;
    }
    const child = steps[s + 1]?.findIndex((each) => each.parent === p) ?? -1;
    const next = {
      ArrowUp: [s, p - 1],
      ArrowDown: [s, p + 1],
      ArrowLeft: [s - 1, steps[s][p].parent],
      ArrowRight: [s + 1, child],
    }[event.key];
    if (!next) return;
    event.preventDefault();
    if (!steps[next[0]]?.[next[1]]) return;
    setFocus(next);
    nodeAt(...next).focus();
  };
  const edges = steps.flatMap((candidates, s) =>
    candidates.map((each, p) => ({ s, p, each, isBest: onPath(s, p) })),
  );
  return html`
    <div class="scroll">
      <svg
        ref=${svg}
        class="tree"
        role="group"
        aria-label="The search as a tree. Arrow keys move, Enter makes the output begin so."
        width=${steps.length * COLUMN}
        height=${rows * ROW}
        onKeyDown=${go}
      >
        ${edges
          .filter(({ each }) => each.parent !== null)
          .map(
            ({ s, p, each, isBest }) =>
              html`<path class="edge ${each.fate} ${isBest ? "best" : ""}"
                d=${edge(s, each.parent, p)} />`,
          )}
        ${edges.map(
          ({ s, p, each, isBest }) =>
            html`<${Node} key="${s}.${p}" candidate=${each} step=${s} place=${p} isBest=${isBest}
              isFirst=${s === step && p === place} force=${force && (() => force(s, p))} />`,
        )}
      </svg>
    </div>
  `;
}

/** The score of an output, written out as the paper and the search compute it. */
function Sum({ output, alpha, form }) {
  const over = form === "length" ? `${output.length}` : `((5 + ${output.length}) / 6)`;
  return html`
    <span class="sum">
      log-probability ${fixed(output.log_prob, 4)} / ${over}<sup>${alpha}</sup> =
      ${" "}${fixed(output.log_prob, 4)} / ${output.penalty.toFixed(4)} =
      ${" "}<strong>${fixed(output.score, 4)}</strong>
    </span>
  `;
}

/** `isStored`: another model's tree, whose text this one is asked for; `isBefore`: of another text. */
export function Beam({ beam, change, isStored, isBefore }) {
  const { steps, best, prefix } = beam;
  const way = (step, place) =>
    isStored ? { text: beam.source, prefix: [] } : { prefix: wayTo(steps, step, place) };
  const force = isBefore ? null : (step, place) => change(way(step, place));
  const free = () => {
    change({ prefix: [] });
    document.getElementById("beam-title").focus({ preventScroll: true }); // the button goes away
  };
  return html`
    <${Panel} id="beam" title="Beam search" paper="§6.1"
      files=${["aiayn/decoding/search.py", "aiayn/decoding/trace.py"]}>
      <p>
        Each column is a step, and shows the continuations that competed, best first. The${" "}
        ${beam.beam_size} best that do not end live on; grey ones are dropped. Choose any to make the
        output begin so.
      </p>
      <p class="forced" aria-live="polite">
        ${prefix.length
          ? html`The output must begin with
              ${" "}${prefix.map((token) => html`<${Piece} text=${token.piece} /> `)}
              <button type="button" onClick=${free}>Search freely</button>`
          : "Nothing is forced."}
      </p>
      <${Tree} beam=${beam} force=${force} />
      <h3>The best outputs</h3>
      <ol class="outputs">
        ${best.map(
          (output) => html`
            <li data-score=${String(output.score)}>
              <bdi class="text">${output.text || "(nothing)"}</bdi>
              <${Sum} output=${output} alpha=${beam.alpha} form=${beam.form} />
            </li>
          `,
        )}
      </ol>
    <//>
  `;
}
