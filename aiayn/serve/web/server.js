/** Requests to the server that gave us this page, and to no other. */

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";

/** Milliseconds in which a slider moves on. */
export const PAUSE = 80;

const MOST_NEW_TOKENS = 60;

/** How panels report trouble, and which attempt this is: a new one asks for everything again. */
export const Server = createContext({ attempt: 0, report: () => {} });

/** The answer to a request as JSON; an Error with what to tell the reader otherwise. */
export async function request(path, options = {}) {
  const response = await reach(() => fetch(path, options));
  if (!response.ok) throw await refusal(response);
  return reach(() => response.json());
}

/** What a part of an answer brings, its head or its body: either may never come. */
async function reach(part) {
  try {
    return await part();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. What you see is the last result.");
  }
}

async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  return new Error(error?.message ?? error ?? `The server answered with ${response.status}.`);
}

const asJson = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: typeof body === "string" ? body : JSON.stringify(body),
  signal,
});

/**
 * What the server found for the last request that it answered, and what it was asked; null before
 * the first. A new request gives up the one before it; without one, nothing is asked.
 */
export function useAnswer(name, asked) {
  const { attempt, report } = useContext(Server);
  const [answer, setAnswer] = useState(null);
  const body = asked && JSON.stringify(asked);
  useEffect(() => {
    report(name, null);
    if (!body) return undefined;
    const leaving = new AbortController();
    const ask = () =>
      request(`/page/api/${name}`, asJson(body, leaving.signal)).then(
        (found) => leaving.signal.aborted || setAnswer({ asked, found }),
        (error) => leaving.signal.aborted || report(name, error.message),
      );
    const timer = setTimeout(ask, PAUSE);
    return () => {
      clearTimeout(timer);
      leaving.abort();
    };
  }, [name, body, attempt]);
  return answer;
}

/**
 * The text that a model writes, as it grows: parts of it from events of `/v1/completions`. A
 * translation is written to its end; of what goes on without one, so much that it can be read.
 */
export async function* written(model, prompt, how, signal) {
  const most = model.kind === "language_model" ? { max_tokens: MOST_NEW_TOKENS } : {};
  const asked = { model: model.name, prompt, ...how, ...most, stream: true };
  const response = await reach(() => fetch("/v1/completions", asJson(asked, signal)));
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reach(() => reader.read());
    if (done) throw new Error("The server stopped writing.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((each) => each.startsWith("data:"))) {
      const data = line.slice("data:".length).trim();
      if (data === "[DONE]") return;
      const choice = JSON.parse(data).choices?.[0];
      yield (choice?.text ?? "") + (choice?.finish_reason === "length" ? "…" : "");
    }
  }
}
