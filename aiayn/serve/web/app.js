/** The page: a model, a text, and a panel for each part of what the model does with it. */

import { h, render } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { Attention } from "./attention.js";
import { Beam } from "./beam.js";
import { Cards } from "./cards.js";
import { readChoice, writeChoice } from "./choice.js";
import { Output } from "./output.js";
import { Before, html } from "./parts.js";
import { PAUSE, request, Server, useAnswer } from "./server.js";
import { Space } from "./space.js";
import { Tokens } from "./tokens.js";
import { Tour } from "./tour.js";
import { Words } from "./words.js";

/** The reader's choice and how to change it; the address follows, and is followed. */
function useChoice() {
  const [choice, setChoice] = useState(readChoice);
  useEffect(() => {
    const timer = setTimeout(() => writeChoice(choice), PAUSE);
    return () => clearTimeout(timer);
  }, [choice]);
  useEffect(() => {
    const follow = () => setChoice(readChoice());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const change = useCallback((parts) => setChoice((before) => ({ ...before, ...parts })), []);
  return [choice, change];
}

/** What goes wrong by the name of the request, and a way to try again. */
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
  return [server, trouble, () => setAttempt(attempt + 1)];
}

/** The models, and the stored example that is shown before the first answer; both at once, since
    the example is of no use to a reader of a language model. */
function useStart({ attempt, report }) {
  const [start, setStart] = useState({ models: [], streams: false, example: null });
  const get = (path) =>
    request(path).then(
      (found) => {
        report(path, null);
        return found;
      },
      (error) => report(path, error.message),
    );
  useEffect(() => {
    Promise.all([get("/page/example.json"), get("/page/api/models")]).then(([example, about]) =>
      setStart((before) => ({ ...before, ...about, example: example ?? before.example })),
    );
  }, [attempt]);
  return start;
}

function Ask({ choice, change, example, isText }) {
  const [text, setText] = useState(choice.text);
  useEffect(() => setText(choice.text), [choice.text]);
  const ask = (event) => {
    event?.preventDefault();
    // A blank or a line break at its end is a part of a text that goes on.
    change({ text: isText && text.trim() ? text : text.trim(), first: "", prefix: [] });
  };
  const onKeyDown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
  };
  return html`
    <form class="ask" onSubmit=${ask}>
      <label for="text">Text</label>
      <textarea id="text" rows="2" dir="auto" value=${text} placeholder=${example}
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
  // The example is a translation into German, and tells nothing of how a text goes on.
  const stored = !isText && !beam ? example : null;
  // The last answer stays until the next, but not where nothing is asked any more.
  const shown = (name, answer, isAsked) =>
    (isAsked && fits(answer) ? answer.found : stored?.[name]) ?? null;
  const isSeen = asks && Boolean(isText || target);
  const answers = { tokens, attention, beam, words };
  // The text or, of this text, the translation that an answer is of where another is asked for.
  const old = ({ source, target: its }) =>
    source !== choice.text ? source : target && its && its !== target ? its : undefined;
  const before = Object.fromEntries(
    Object.entries(answers)
      .filter(([, answer]) => asks && fits(answer) && old(answer.asked) !== undefined)
      .map(([name, answer]) => [name, old(answer.asked)]),
  );
  return {
    sampling,
    isStored: Boolean(stored),
    isSpaceStored: Boolean(stored) && !fits(space),
    before,
    panels: {
      tokens: shown("tokens", tokens, isSeen),
      space: shown("space", space, placed),
      attention: shown("attention", attention, isSeen),
      beam: isText ? null : shown("beam", beam, asks),
      words: isText ? shown("words", words, asks) : null,
    },
    // Of the model whose words are shown: another one's pieces have other numbers.
    cloud: choice.cloud && placed && fits(space) && fits(pieces) ? pieces.found : null,
  };
}

function Page({ server, trouble, tryAgain }) {
  const [choice, change] = useChoice();
  const { models, streams, example } = useStart(server);
  const model = models.find((each) => each.name === choice.model) ?? models[0];
  const found = useFindings(model, choice, example);
  const { beam, attention, tokens, words, space } = found.panels;
  const { isStored, before } = found;
  const isText = model?.kind === "language_model";
  const isWaited = choice.text && !trouble.beam;
  const messages = [...new Set(Object.values(trouble))];
  const again = () => {
    tryAgain();
    document.getElementById("trouble").focus(); // the button goes away
  };
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
      <${Ask} choice=${choice} change=${change} example=${example?.beam.source} isText=${isText} />
      <div role="alert" class="trouble" id="trouble" tabindex="-1">
        ${messages.map((message) => html`<p>${message}</p>`)}
        ${messages.length > 0 && html`<button type="button" onClick=${again}>Try again</button>`}
      </div>
      ${isStored &&
      html`<p class="stored">
        ${isWaited ? "Your text is on its way. Until then this" : "This"} is a stored example,
        ${" "}<q>${example.beam.source}</q>
      </p>`}
      <${Output} model=${model} streams=${streams} text=${choice.text} beam=${beam}
        language=${isStored ? "de" : model?.tgt}
        sampling=${{ ...found.sampling, seed: choice.seed }}
        drawAgain=${() => change({ seed: choice.seed + 1 })} />
      <${Tour} panels=${Object.keys(found.panels).filter((name) => found.panels[name])} />
      <${Before.Provider} value=${before}>
        ${tokens && html`<${Tokens} tokens=${tokens} />`}
        ${space &&
        html`<${Space} space=${space} cloud=${found.cloud} choice=${choice} change=${change}
          isStored=${found.isSpaceStored} />`}
        ${attention &&
        html`<${Attention} attention=${attention} choice=${choice} change=${change}
          isStored=${isStored} />`}
        ${beam &&
        html`<${Beam} beam=${beam} change=${change} isStored=${isStored}
          isBefore=${"beam" in before || (isStored && Boolean(choice.text))} />`}
        ${words &&
        html`<${Words} answer=${words} choice=${choice} change=${change}
          goOn=${"words" in before ? null : (text) => change({ text, first: "" })} />`}
      <//>
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
