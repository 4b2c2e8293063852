/** The next words of a language model, by its own probability and by that of being drawn. */

import { html, Panel, percent, Piece } from "./parts.js";

const DIGITS = 6;

function Slider({ id, label, min, max, step, value, shown, onInput }) {
  return html`
    <div class="slider">
      <label for=${id}>${label}</label>
      <input id=${id} type="range" min=${min} max=${max} step=${step} value=${value}
        aria-valuetext=${shown} onInput=${(event) => onInput(Number(event.target.value))} />
      <output for=${id} aria-live="off">${shown}</output>
    </div>
  `;
}

function Bars({ word, highest }) {
  const width = (share) => ({ width: `${(100 * share) / highest}%` });
  return html`
    <div class="bars" aria-hidden="true">
      <div class="bar chosen" style=${width(word.chosen)}></div>
      <div class="bar own" style=${width(word.probability)}></div>
    </div>
  `;
}

export function Words({ answer, choice, change, goOn }) {
  const highest = Math.max(...answer.words.map((word) => Math.max(word.probability, word.chosen)));
  return html`
    <${Panel} id="words" title="Next words" paper="§3.4, §6.1"
      files=${["aiayn/model/language_model.py", "aiayn/decoding/controls.py"]}>
      <p>
        The last layer's vector times the embedding matrix scores every word; softmax makes it a
        probability. Drawing divides the scores by the temperature, keeps the top k, then the fewest
        that have probability p together, then those that have the share min p of the best one's.
        Choose a word to go on with it.
      </p>
      <div class="sliders">
        <${Slider} id="temperature" label="Temperature" min="0" max="2" step="0.05"
          value=${choice.temperature} shown=${choice.temperature.toFixed(2)}
          onInput=${(temperature) => change({ temperature })} />
        <${Slider} id="top-k" label="Top k" min="0" max="40" step="1" value=${choice.topK}
          shown=${choice.topK || "all"} onInput=${(topK) => change({ topK })} />
        <${Slider} id="top-p" label="Top p" min="0.05" max="1" step="0.05" value=${choice.topP}
          shown=${choice.topP.toFixed(2)} onInput=${(topP) => change({ topP })} />
        <${Slider} id="min-p" label="Min p" min="0" max="1" step="0.05" value=${choice.minP}
          shown=${choice.minP.toFixed(2)} onInput=${(minP) => change({ minP })} />
      </div>
      <p class="kept" aria-live="polite">
        ${answer.num_kept} of ${answer.num_words} words may be drawn.
      </p>
      <div class="scroll">
        <table class="words">
          <caption>The most probable words after the text</caption>
          <thead>
            <tr>
              <th scope="col">word</th>
              <th scope="col">model</th>
              <th scope="col">drawn</th>
              <td></td>
            </tr>
          </thead>
          <tbody>
            ${answer.words.map(
              (word) => html`
                <tr class=${word.chosen ? "" : "out"}>
                  <th scope="row">
                    <button type="button" disabled=${word.text === null} aria-disabled=${!goOn}
                      onClick=${() => goOn?.(word.text)}>
                      <${Piece} text=${word.piece} />
                    </button>
                  </th>
                  <td data-probability=${String(word.probability)}
                    title=${word.probability.toFixed(DIGITS)}>
                    ${percent(word.probability)}
                  </td>
                  <td data-chosen=${String(word.chosen)} title=${word.chosen.toFixed(DIGITS)}>
                    ${word.chosen ? percent(word.chosen) : "–"}
                  </td>
                  <td class="bar-cell"><${Bars} word=${word} highest=${highest} /></td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    <//>
  `;
}
