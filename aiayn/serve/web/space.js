/** Words as points in three dimensions, from the embedding through all layers that read them. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { html, Panel, Piece, short } from "./parts.js";

const TURN = 0.15; // radians for a key
const FAR = 3.2; // how far the eye is away, in radii of the cloud
const LETTERS = 14;
const STILL = 4; // pixels that a click may move
const PAIR = {
  first: "The egg came before the chicken.",
  second: "The chicken came before the egg.",
};

const add = (a, b) => a.map((value, axis) => value + b[axis]);

/** From places to points on a picture: turned by two angles, then seen from `FAR` away. */
function projection(places, [yaw, pitch], width, height) {
  const middle = places.reduce(add, [0, 0, 0]).map((sum) => sum / places.length);
  const radius = Math.max(
    1e-9,
    ...places.map((place) => Math.hypot(...place.map((v, axis) => v - middle[axis]))),
  );
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const size = 0.42 * Math.min(width, height);
  return (place) => {
    const [x, y, z] = place.map((value, axis) => (value - middle[axis]) / radius);
    const [right, away] = [cy * x + sy * z, cy * z - sy * x];
    const [up, depth] = [cp * y - sp * away, cp * away + sp * y];
    const nearness = FAR / (FAR + depth);
    return [width / 2 + size * right * nearness, height / 2 - size * up * nearness, nearness];
  };
}

function draw(canvas, { words, twins, cloud, view, chosen }) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const project = projection(cloud ?? words.map((word) => word.place), view, width, height);
  if (cloud) {
    context.fillStyle = colour("--muted");
    context.globalAlpha = 0.35;
    for (const place of cloud) {
      const [x, y, near] = project(place);
      context.fillRect(x, y, 1.5 * near, 1.5 * near);
    }
    context.globalAlpha = 1;
  }
  const points = words.map((word) => ({ ...word, at: project(word.place) }));
  const find = (text, token) => points.find((p) => p.text === text && p.token === token).at;
  context.strokeStyle = colour("--muted");
  for (const twin of twins) {
    context.beginPath();
    context.moveTo(...find(0, twin.first).slice(0, 2));
    context.lineTo(...find(1, twin.second).slice(0, 2));
    context.stroke();
  }
  context.font = "14px system-ui, sans-serif";
  for (const { text, token, piece, at } of [...points].sort((a, b) => a.at[2] - b.at[2])) {
    const [x, y, near] = at;
    const size = 5 * near;
    context.fillStyle = colour(text ? "--second" : "--first");
    context.beginPath();
    if (text) context.rect(x - size, y - size, 2 * size, 2 * size);
    else context.arc(x, y, size, 0, 2 * Math.PI);
    context.fill();
    if (chosen && chosen.text === text && chosen.token === token) {
      context.strokeStyle = colour("--ink");
      context.lineWidth = 2;
      context.strokeRect(x - size - 3, y - size - 3, 2 * size + 6, 2 * size + 6);
      context.lineWidth = 1;
    }
    context.fillStyle = colour("--ink");
    // Of two texts at the same place both names can be read.
    context.fillText(short(piece, LETTERS), x + 8, y + (text ? 15 : -5));
  }
  return points;
}

function Cloud({ label, ...shown }) {
  const canvas = useRef(null);
  const points = useRef([]);
  const turned = useRef(0); // pixels since the button went down
  const [view, setView] = useState([0.6, 0.35]);
  const [round, setRound] = useState(0);
  const turn = (yaw, pitch) =>
    setView(([y, p]) => [y + yaw, Math.min(1.5, Math.max(-1.5, p + pitch))]);
  useEffect(() => {
    const again = () => setRound((number) => number + 1);
    const watching = new ResizeObserver(again);
    watching.observe(canvas.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    return () => {
      watching.disconnect();
      dark.removeEventListener("change", again);
    };
  }, []);
  useEffect(() => {
    points.current = draw(canvas.current, { ...shown, view });
  }, [shown.words, shown.cloud, shown.chosen, view, round]);
  const onKeyDown = (event) => {
    const by = {
      ArrowLeft: [-TURN, 0],
      ArrowRight: [TURN, 0],
      ArrowUp: [0, -TURN],
      ArrowDown: [0, TURN],
    }[event.key];
    if (!by) return;
    event.preventDefault();
    turn(...by);
  };
  const onPointerDown = () => {
    turned.current = 0;
  };
  const onPointerMove = (event) => {
    if (!(event.buttons & 1)) return;
    turned.current += Math.hypot(event.movementX, event.movementY);
    turn(event.movementX / 150, event.movementY / 150);
  };
  const onClick = (event) => {
    if (turned.current > STILL) return;
    const distance = ({ at }) => Math.hypot(at[0] - event.offsetX, at[1] - event.offsetY);
    const [nearest] = [...points.current].sort((a, b) => distance(a) - distance(b));
    if (nearest && distance(nearest) < 24) shown.choose(nearest.text, nearest.token);
  };
  return html`
    <canvas ref=${canvas} class="cloud" tabindex="0" role="img" aria-label=${label}
      onKeyDown=${onKeyDown} onPointerDown=${onPointerDown} onPointerMove=${onPointerMove}
      onClick=${onClick}></canvas>
  `;
}

function Distances({ space, stage }) {
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Distances">
      <table class="distances">
        <caption>How far apart the two vectors of a piece are that both sentences have</caption>
        <thead>
          <tr>
            <th scope="col">piece</th>
            ${space.stages.map(
              (each, number) =>
                html`<th scope="col" class=${number === stage ? "now" : ""}>${each.name}</th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${space.twins.map(
            (twin) => html`
              <tr>
                <th scope="row"><${Piece} text=${twin.piece} /></th>
                ${twin.distances.map(
                  (distance, number) =>
                    html`<td class=${number === stage ? "now" : ""}
                      data-distance=${String(distance)}>${distance.toFixed(3)}</td>`,
                )}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function Words({ space, chosen, choose }) {
  return html`
    ${space.tokens.map(
      (tokens, text) => html`
        <div class="choices" role="group" aria-label="words of sentence ${text + 1}">
          ${tokens.map(
            (token, number) => html`
              <button type="button" class=${text ? "second" : "first"}
                aria-pressed=${chosen.text === text && chosen.token === number}
                onClick=${() => choose(text, number)}><${Piece} text=${token.piece} /></button>
            `,
          )}
        </div>
      `,
    )}
  `;
}

function Neighbours({ space, chosen }) {
  const near = space.neighbours[chosen.text][chosen.token];
  return html`
    <h3>Nearest to <${Piece} text=${space.tokens[chosen.text][chosen.token].piece} /></h3>
    <p class="note">The pieces whose rows of the embedding matrix point in the same direction.</p>
    <ol class="neighbours">
      ${near.map(
        (each) => html`<li data-cosine=${String(each.cosine)}>
          <${Piece} text=${each.piece} /> <span class="id">${each.cosine.toFixed(3)}</span>
        </li>`,
      )}
    </ol>
  `;
}

/** A sentence to compare; an answer brings its own, unless the reader is writing. */
function Sentence({ name, label, text }) {
  const [value, setValue] = useState(text);
  const input = useRef(null);
  useEffect(() => {
    if (document.activeElement !== input.current) setValue(text);
  }, [text]);
  return html`
    <label for=${name}>${label}</label>
    <input id=${name} name=${name} ref=${input} value=${value} dir="auto"
      onInput=${(event) => setValue(event.target.value)} />
  `;
}

function Controls({ space, choice, change, stage, cloud, isStored }) {
  const compare = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    change({ first: given.get("first").trim(), second: given.get("second").trim() });
  };
  // What the stored example shows is asked of the model that was chosen.
  const [first, second = ""] = space.texts;
  const own = isStored ? { first, second } : {};
  const tick = (name) => (event) => change({ ...own, [name]: event.target.checked });
  return html`
    <form class="sentences" onSubmit=${compare}>
      <${Sentence} name="first" label="A sentence" text=${space.texts[0] ?? ""} />
      <${Sentence} name="second" label="Beside it" text=${space.texts[1] ?? ""} />
      <div class="row">
        <button type="submit">Compare</button>
        <button type="button" onClick=${() => change(PAIR)}>Egg and chicken</button>
      </div>
    </form>
    <fieldset class="stages">
      <legend>After which part of the model</legend>
      ${space.stages.map(
        (each, number) => html`
          <label>
            <input type="radio" name="stage" checked=${number === stage}
              onChange=${() => change({ stage: number })} />
            ${each.name}
          </label>
        `,
      )}
    </fieldset>
    <div class="ticks">
      <label>
        <input type="checkbox" id="positions" checked=${choice.positions}
          onChange=${tick("positions")} />
        with positions
      </label>
      <label>
        <input type="checkbox" id="cloud" checked=${choice.cloud} onChange=${tick("cloud")} />
        all pieces${cloud ? ` (${cloud.pieces.length})` : ""}
      </label>
    </div>
  `;
}

export function Space({ space, cloud, choice, change, isStored }) {
  const [chosen, choose] = useState({ text: 0, token: 0 });
  const stage = Math.min(Math.max(choice.stage, 0), space.stages.length - 1);
  const safe = space.tokens[chosen.text]?.[chosen.token] ? chosen : { text: 0, token: 0 };
  const pick = (text, token) => choose({ text, token });
  const placed = useMemo(
    () =>
      space.tokens.flatMap((tokens, text) =>
        tokens.map(({ piece, id }, token) => {
          const place = cloud?.places[id] ?? space.stages[stage].places[text][token];
          return { text, token, piece, place };
        }),
      ),
    [space, cloud, stage],
  );
  const share = cloud ? cloud.share : space.stages[stage].share;
  return html`
    <${Panel} id="space" title="Space" paper="§3.4, §3.5"
      files=${["aiayn/serve/space.py", "aiayn/model/transformer.py"]}>
      <p>
        Every piece is a vector. Its row of the embedding matrix says nothing of its place, so two
        sentences of the same words are the same there; the position tells them apart, and each layer
        moves a word by what it looks at.
      </p>
      <${Controls} ...${{ space, choice, change, stage, cloud, isStored }} />
      <${Cloud}
        label="The words as points in three dimensions. Arrow keys turn them; the table below has
          their distances."
        words=${placed}
        twins=${space.twins}
        cloud=${cloud?.places}
        chosen=${safe}
        choose=${pick}
      />
      <p class="share">
        ${cloud ? "All rows of the embedding matrix. " : ""}The three axes show${" "}
        ${(100 * share).toFixed(0)} % of the variance.
      </p>
      <${Words} space=${space} chosen=${safe} choose=${pick} />
      ${space.twins.length > 0 && html`<${Distances} space=${space} stage=${stage} />`}
      <${Neighbours} space=${space} chosen=${safe} />
    <//>
  `;
}
