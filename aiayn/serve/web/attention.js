/** Every head of all layers in its place of Figure 1, and one of them with its exact numbers. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Links } from "./links.js";
import { BLUE, goTo, html, Panel, Piece } from "./parts.js";

const ORDER = ["encoder", "cross", "decoder"]; // from left to right in Figure 1
const DEEPEST = 0.72; // text on the darkest cell can still be read, on light and on dark
const NOTES = {
  encoder: "Each source piece looks at all source pieces.",
  cross: "Each piece to be said looks at all source pieces.",
  decoder: "Each piece said looks at itself and those before, never ahead.",
};

function Thumbnail({ weights, label, chosen, choose }) {
  const canvas = useRef(null);
  useEffect(() => {
    const { current } = canvas;
    current.width = weights[0].length;
    current.height = weights.length;
    const context = current.getContext("2d");
    const image = context.createImageData(current.width, current.height);
    weights.flat().forEach((weight, place) => {
      // By the root, since most weights are small and a thumbnail has no numbers.
      image.data.set([...BLUE, Math.round(255 * Math.sqrt(weight))], 4 * place);
    });
    context.putImageData(image, 0, 0);
  }, [weights]);
  return html`
    <button type="button" class="thumbnail" aria-pressed=${chosen} aria-label=${label} title=${label}
      onClick=${choose}>
      <canvas ref=${canvas} aria-hidden="true"></canvas>
    </button>
  `;
}

function Kind({ heads, choice, choose }) {
  return html`
    <div class="kind" data-kind=${heads.kind}>
      <h3>${heads.title}</h3>
      <p class="note">${NOTES[heads.kind]}</p>
      <div class="layers">
        ${heads.weights.map(
          (layer, number) => html`
            <div class="layer" role="group" aria-label="layer ${number + 1}">
              <span class="layer-name">layer ${number + 1}</span>
              ${layer.map(
                (weights, head) => html`
                  <${Thumbnail}
                    weights=${weights}
                    label="${heads.title}, layer ${number + 1}, head ${head + 1}"
                    chosen=${choice.kind === heads.kind &&
                    choice.layer === number + 1 &&
                    choice.head === head + 1}
                    choose=${() => choose(heads.kind, number + 1, head + 1)}
                  />
                `,
              )}
            </div>
          `,
        )}
      </div>
    </div>
  `;
}

/** One head as a table: rows look at columns. The arrow keys move between its cells. */
function Numbers({ heads, weights, name, isRounded }) {
  const [[row, column], setCell] = useState([0, 0]);
  const table = useRef(null);
  const at = [Math.min(row, weights.length - 1), Math.min(column, weights[0].length - 1)];
  const cellOf = (event) => {
    const cell = event.target.closest("td[data-weight]");
    return cell && [Number(cell.dataset.row), Number(cell.dataset.column)];
  };
  const see = (event) => {
    const cell = cellOf(event);
    if (cell) setCell(cell);
  };
  const move = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const cell = step[event.key] && cellOf(event);
    if (!cell) return;
    event.preventDefault();
    const [r, c] = cell.map((place, axis) => place + step[event.key][axis]);
    table.current.querySelector(`[data-row="${r}"][data-column="${c}"]`)?.focus();
  };
  return html`
    <p class="exact" aria-live="polite">
      <${Piece} text=${heads.queries[at[0]]} /> looks at <${Piece} text=${heads.memory[at[1]]} />:
      ${" "}<output>${String(weights[at[0]][at[1]])}</output>
    </p>
    <div class="scroll">
      <table class="weights" ref=${table} onMouseOver=${see} onFocusIn=${see} onKeyDown=${move}>
        <caption>${name}: a row looks at the columns, and sums to 1${isRounded && ", here rounded"}</caption>
        <thead>
          <tr>
            <td></td>
            ${heads.memory.map((token) => html`<th scope="col"><${Piece} text=${token} /></th>`)}
          </tr>
        </thead>
        <tbody>
          ${weights.map(
            (values, r) => html`
              <tr>
                <th scope="row"><${Piece} text=${heads.queries[r]} /></th>
                ${values.map(
                  (weight, c) => html`
                    <td
                      tabindex=${r === at[0] && c === at[1] ? 0 : -1}
                      data-row=${r}
                      data-column=${c}
                      data-weight=${String(weight)}
                      style=${{ backgroundColor: `rgb(${BLUE.join(" ")} / ${DEEPEST * weight})` }}
                    >
                      ${weight.toFixed(3)}
                    </td>
                  `,
                )}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

export function Attention({ attention, choice, change, isStored }) {
  const byKind = Object.fromEntries(attention.kinds.map((heads) => [heads.kind, heads]));
  const heads = Object.hasOwn(byKind, choice.kind) ? byKind[choice.kind] : attention.kinds[0];
  const layer = Math.min(Math.max(choice.layer, 1), heads.weights.length);
  const head = Math.min(Math.max(choice.head, 1), heads.weights[0].length);
  const shown = {
    heads,
    weights: heads.weights[layer - 1][head - 1],
    name: `${heads.title}, layer ${layer}, head ${head}`,
    isRounded: isStored,
  };
  const choose = (kind, ofLayer, ofHead) => {
    change({ kind, layer: ofLayer, head: ofHead });
    goTo("head");
  };
  return html`
    <${Panel} id="attention" title="Attention" paper="§3.2, eq. 1, Figures 1 to 5"
      files=${["aiayn/model/transformer.py", "aiayn/decoding/heads.py"]}>
      <p>
        A head gives every piece a weight for each piece it may look at: softmax(QKᵀ/√d_k). Choose
        one for its numbers, which are those of <code>aiayn attention</code>.
      </p>
      <div class="kinds">
        ${ORDER.filter((kind) => byKind[kind]).map(
          (kind) =>
            html`<${Kind} heads=${byKind[kind]} choice=${{ kind: heads.kind, layer, head }}
              choose=${choose} />`,
        )}
      </div>
      <div id="head">
        <h3 id="head-title" tabindex="-1">${shown.name}</h3>
        <label>
          <input type="checkbox" checked=${choice.links}
            onChange=${(event) => change({ links: event.target.checked })} />
          ${" "}as lines
        </label>
        <${choice.links ? Links : Numbers} ...${shown} />
      </div>
    <//>
  `;
}
