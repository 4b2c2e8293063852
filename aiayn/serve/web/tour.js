/** A short way through the page, with the paper in one hand. */

import { useState } from "preact/hooks";
import { goTo, html } from "./parts.js";

const STOPS = [
  {
    id: "tokens",
    text: "Text becomes pieces of a shared vocabulary, and each piece a number.",
    paper: "§5.1",
    file: "aiayn/data/tokenizer.py",
  },
  {
    id: "space",
    text: "The number picks a vector. A wave for each place is added, since nothing else knows of order.",
    paper: "§3.4, §3.5",
    file: "aiayn/model/transformer.py",
  },
  {
    id: "attention",
    text: "Every head of every layer lets each piece look at others: in the encoder, in the decoder, and from one to the other.",
    paper: "§3.2, Figure 1",
    file: "aiayn/model/transformer.py",
  },
  {
    id: "beam",
    text: "A step gives each word a probability. The search keeps the best few beginnings, and divides by a penalty for length.",
    paper: "§6.1",
    file: "aiayn/decoding/search.py",
  },
  {
    id: "words",
    text: "A language model is the decoder alone. What it says next is drawn.",
    paper: "§3.1, §3.2.3",
    file: "aiayn/model/language_model.py",
  },
];

export function Tour({ panels }) {
  const stops = STOPS.filter((stop) => panels.includes(stop.id));
  const [at, setAt] = useState(0);
  if (!stops.length) return null;
  const visit = (number) => {
    setAt(number);
    goTo(stops[number].id);
  };
  return html`
    <nav class="tour" aria-labelledby="tour-title">
      <h2 id="tour-title">A short tour</h2>
      <ol>
        ${stops.map(
          (stop, number) => html`
            <li>
              <button type="button" aria-current=${number === at ? "step" : undefined}
                onClick=${() => visit(number)}>${stop.id}</button>
              <span> ${stop.text} <span class="where">${stop.paper}, <code>${stop.file}</code></span></span>
            </li>
          `,
        )}
      </ol>
    </nav>
  `;
}
