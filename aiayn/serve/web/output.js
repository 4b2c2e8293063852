/** What the model says, as it grows where the server writes so. */

import { useContext, useEffect, useState } from "preact/hooks";
import { html } from "./parts.js";
import { PAUSE, Server, useAnswer, written } from "./server.js";

/** The text up to now; null before there is some. `how` says how a language model draws. */
function useWritten(model, text, how) {
  const { attempt, report } = useContext(Server);
  const [grown, setGrown] = useState(null);
  useEffect(() => {
    report("written", null);
    if (!text) return undefined;
    const leaving = new AbortController();
    const read = async () => {
      let whole = "";
      setGrown({ model: model.name, text, whole, ends: false });
      for await (const part of written(model, text, how, leaving.signal)) {
        whole += part;
        setGrown({ model: model.name, text, whole, ends: false });
      }
      setGrown({ model: model.name, text, whole, ends: true });
    };
    const start = () =>
      read().catch((error) => leaving.signal.aborted || report("written", error.message));
    const timer = setTimeout(start, PAUSE);
    return () => {
      clearTimeout(timer);
      leaving.abort();
    };
  }, [model?.name, text, attempt, JSON.stringify(how)]);
  return grown;
}

/** A translation is that of the beam, forced or not, as soon as there is one of this text. */
export function Output({ model, streams, text, beam, language, sampling, drawAgain }) {
  const isText = model?.kind === "language_model";
  const grown = useWritten(model, model && streams ? text : "", isText ? sampling : {});
  const asked = isText && text && !streams ? { model: model.name, source: text, ...sampling } : null;
  const answer = useAnswer("answer", asked);
  const isOwn = grown?.model === model?.name && grown?.text === text;
  const isGrowing = isOwn && beam?.source !== text;
  const isAnswered = asked && answer?.asked.model === asked.model;
  const goesOn = isAnswered ? answer.found.text : null;
  const said = isGrowing ? grown.whole : isText ? goesOn : beam?.best[0].text;
  const isWaited = isGrowing ? !grown.ends : (said ?? null) === null;
  const unsaid = isText && !text ? "Type how a text begins." : isWaited ? "…" : "(nothing)";
  // A screen reader waits until it is whole.
  return html`
    <section class="output" aria-labelledby="output-title">
      <h2 id="output-title">${isText ? "How it goes on" : "Translation"}</h2>
      <p class="said" aria-live="polite" aria-busy=${Boolean(text) && isWaited} dir="auto" lang=${language}>
        ${said || unsaid}
      </p>
      ${isText &&
      text &&
      html`<button type="button" onClick=${drawAgain}>Draw again</button>`}
    </section>
  `;
}
