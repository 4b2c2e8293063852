/** The pieces that the model reads in place of words, and their ids. */

import { html, Panel, Piece } from "./parts.js";

function Side({ name, tokens }) {
  if (!tokens.length) return null;
  return html`
    <h3>${name}: ${tokens.length} pieces</h3>
    <ol class="tokens">
      ${tokens.map(
        (token) => html`<li><${Piece} text=${token.piece} /> <span class="id">${token.id}</span></li>`,
      )}
    </ol>
  `;
}

export function Tokens({ tokens }) {
  return html`
    <${Panel} id="tokens" title="Tokens" paper="§5.1" files=${["aiayn/data/tokenizer.py"]}>
      <p>
        Text is cut into pieces that training met often; <bdi>▁</bdi> marks the beginning of a word.
        The number is the row of the embedding matrix that the piece is looked up in.
      </p>
      <${Side} name="Source" tokens=${tokens.source} />
      <${Side} name="Output" tokens=${tokens.target} />
    <//>
  `;
}
