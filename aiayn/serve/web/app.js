/** The page: a model, a text, and a panel for each part of what the model does with it. */

import { h, render } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { Attention } from "./attention.js";
import { Beam } from "./beam.js";
import { Cards } from "./cards.js";
import { readChoice, writeChoice } from "./choice.js";
import { Output } from "./output.js";
import { html } from "./parts.js";
import { request, Server, useAnswer } from "./server.js";
import { Space } from "./space.js";
import { Tokens } from "./tokens.js";
import { Tour } from "./tour.js";
import { Words } from "./words.js";

/** The reader's choice and how to change it; the address follows, and is followed. */
function useChoice() {
  const [choice, setChoice] = useState(readChoice);
  useEffect(() => writeChoice(choice), [choice]);
  useEffect(() => {
    const follow = () => setChoice(readChoice());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const change = useCallback((parts) => setChoice((before) => ({ ...before, ...parts })), []);
  return [choice, change];
}

/** What goes wrong by the name of the request, each message once, and a way to try again. */
function useTrouble() {
  const [trouble, setTrouble] = useState({});
  const [attempt, setAttempt] = useState(0);
  const report = useCallback(
    (name, message) =>
      setTrouble((before) => {
        if ((before[name] ?? null) === message) return before;
        const { [name]: _, ...others } = before;
        return message ? { ...others, [name]: message } : others;
      }),
    [],
  );
  const server = useMemo(() => ({ attempt, report }), [attempt]);
  return [server, [...new Set(Object.values(trouble))], () => setAttempt(attempt + 1)];
}

/** The models, and the stored example that is shown before the first answer. */
function useStart({ attempt, report }) {
  const [start, setStart] = useState({ models: [], streams: false, example: null });
  const get = (path, use) =>
    request(path).then(
      (found) => {
        report(path, null);
        setStart((before) => ({ ...before, ...use(found) }));
      },
      (error) => report(path, error.message),
    );
  useEffect(() => {
    get("/page/example.json", (example) => ({ example }));
    get("/page/api/models", (found) => found);
  }, [attempt]);
  return start;
}

function Ask({ choice, change, example }) {
  const [text, setText] = useState(choice.text);
  useEffect(() => setText(choice.text), [choice.text]);
  const ask = (event) => {
    event?.preventDefault();
    change({ text: text.trim(), first: "", prefix: [] });
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
  };
  return html`
    <form class="ask" onSubmit=${ask}>
      <label for="text">Text</label>
      <textarea id="text" rows="2" maxlength="1000" dir="auto" value=${text} placeholder=${example}
        onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown}></textarea>
      <button type="submit" class="main">Show</button>
    </form>
  `;
}

/** Everything that is asked about one text; until an answer is there, what the example has. */
function useFindings(model, choice, example) {
  const isText = model?.kind === "language_model";
  const asks = Boolean(model && choice.text);
  const about = { model: model?.name, source: choice.text };
  const fits = (answer) => Boolean(answer && model) && answer.asked.model === model.name;
  const searched = useAnswer("beam", asks && !isText ? { ...about, prefix: choice.prefix } : null);
  const beam = asks && fits(searched) ? searched : null;
  const target = isText ? "" : beam?.found.best[0].text;
  // What was asked last: the beam's own text, whose answer it is.
  const source = isText ? choice.text : beam?.asked.source;
  const seen = asks && source && (isText || target) ? { model: model.name, source, target } : null;
  const attention = useAnswer("attention", seen);
  const tokens = useAnswer("tokens", seen);
  const sampling = {
    temperature: choice.temperature,
    top_k: choice.topK || null,
    top_p: choice.topP < 1 ? choice.topP : null,
    min_p: choice.minP || null,
  };
  const words = useAnswer("words", asks && isText ? { ...about, ...sampling } : null);
  const sources = [choice.first || choice.text, choice.second].filter((text) => text.trim());
  const places = { model: model?.name, sources, positions: choice.positions };
  const placed = model && sources.length > 0;
  const space = useAnswer("space", placed ? places : null);
  const pieces = useAnswer("pieces", model && choice.cloud ? { model: model.name } : null);
  // The example is a translation, and tells nothing of how a text goes on.
  const stored = !isText && !beam ? example : null;
  // The last answer stays until the next, but not where nothing is asked any more.
  const shown = (name, answer, isAsked) =>
    (isAsked && fits(answer) ? answer.found : stored?.[name]) ?? null;
  const isSeen = asks && Boolean(isText || target);
  return {
    sampling,
    isStored: Boolean(stored),
    panels: {
      tokens: shown("tokens", tokens, isSeen),
      space: shown("space", space, placed),
      attention: shown("attention", attention, isSeen),
      beam: isText ? null : shown("beam", beam, asks),
      words: isText ? shown("words", words, asks) : null,
    },
    cloud: choice.cloud && fits(pieces) ? pieces.found : null,
  };
}

function Page({ server, trouble, tryAgain }) {
  const [choice, change] = useChoice();
  const { models, streams, example } = useStart(server);
  const model = models.find((each) => each.name === choice.model) ?? models[0];
  const found = useFindings(model, choice, example);
  const { beam, attention, tokens, words, space } = found.panels;
  return html`
    <header>
      <h1>Attention Is All You Need, at work</h1>
      <p>
        Choose a model and type: the page shows what the model does with your text, number by number.
      </p>
    </header>
    <main>
      ${models.length > 0 &&
      html`<${Cards} models=${models} chosen=${model.name}
        choose=${(name) => change({ model: name, prefix: [] })} />`}
      <${Ask} choice=${choice} change=${change} example=${example?.beam.source} />
      <div role="alert" class="trouble">
        ${trouble.map((message) => html`<p>${message}</p>`)}
        ${trouble.length > 0 &&
        html`<button type="button" onClick=${tryAgain}>Try again</button>`}
      </div>
      ${found.isStored &&
      html`<p class="stored">
        ${choice.text ? "Your text is on its way. Until then this" : "This"} is a stored example,
        ${" "}<q>${example.beam.source}</q>
      </p>`}
      <${Output} model=${model} streams=${streams} text=${choice.text} beam=${beam}
        sampling=${found.sampling} />
      <${Tour} panels=${Object.keys(found.panels).filter((name) => found.panels[name])} />
      ${tokens && html`<${Tokens} tokens=${tokens} />`}
      ${space &&
      html`<${Space} space=${space} cloud=${found.cloud} choice=${choice} change=${change} />`}
      ${attention && html`<${Attention} attention=${attention} choice=${choice} change=${change} />`}
      ${beam && html`<${Beam} beam=${beam} change=${change} />`}
      ${words &&
      html`<${Words} answer=${words} choice=${choice} change=${change}
        goOn=${(text) => change({ text, first: "" })} />`}
    </main>
  `;
}

function App() {
  const [server, trouble, tryAgain] = useTrouble();
  return html`
    <${Server.Provider} value=${server}>
      <${Page} server=${server} trouble=${trouble} tryAgain=${tryAgain} />
    <//>
  `;
}

const place = document.getElementById("app");
place.replaceChildren();
render(h(App), place);
