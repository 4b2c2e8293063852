/** The models to choose from, and what their records say of them. */

import { html } from "./parts.js";

function Figures({ model }) {
  const sizes = Object.entries(model.sizes).map(([name, size]) => `${name} ${size.toLocaleString("en")}`);
  return html`
    <dl>
      <div><dt>Parameters</dt><dd>${model.parameters.toLocaleString("en")}</dd></div>
      <div><dt>Sizes (Table 3)</dt><dd>${sizes.join(", ")}</dd></div>
      <div><dt>Shows texts of at most</dt><dd>${model.most_tokens.toLocaleString("en")} pieces</dd></div>
      ${model.updates !== null &&
      html`<div><dt>Training</dt><dd>${model.updates.toLocaleString("en")} updates</dd></div>`}
      ${model.scores.map(
        (score) => html`
          <div><dt>${score.figure}, ${score.test_set}</dt><dd>${score.value.toFixed(2)}</dd></div>
        `,
      )}
    </dl>
  `;
}

export function Cards({ models, chosen, choose }) {
  return html`
    <fieldset class="cards">
      <legend>Model</legend>
      ${models.map(
        (model) => html`
          <label class="card">
            <input type="radio" name="model" value=${model.name} checked=${model.name === chosen}
              onChange=${() => choose(model.name)} />
            <span class="name">${model.name}</span>
            <span class="kind-of-model">
              ${model.kind === "translation"
                ? `translates ${model.src} → ${model.tgt}`
                : `language model, ${model.tgt}`}
            </span>
            <${Figures} model=${model} />
          </label>
        `,
      )}
    </fieldset>
  `;
}
