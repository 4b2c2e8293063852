/**
 * What the reader has chosen. It is kept in the address after "#", which browsers send to no server:
 * so a link shows the same, and no log has anybody's text.
 */

const DEFAULTS = {
  model: "",
  text: "",
  first: "",
  second: "",
  prefix: [],
  kind: "encoder",
  layer: 1,
  head: 1,
  links: false,
  stage: 0,
  positions: true,
  cloud: false,
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0,
};

const WHOLE = ["layer", "head", "stage", "topK", "seed"];

export function readChoice(hash = location.hash) {
  const given = new URLSearchParams(hash.slice(1));
  const choice = { ...DEFAULTS };
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = given.get(name);
    if (value !== null) choice[name] = parsed(name, value, usual);
  }
  return choice;
}

function parsed(name, value, usual) {
  if (Array.isArray(usual)) return value.split(".").map(Number).filter(Number.isInteger);
  if (typeof usual === "boolean") return value === "yes";
  if (typeof usual === "number") {
    const number = Number(value);
    const fits = WHOLE.includes(name) ? Number.isInteger(number) : Number.isFinite(number);
    return fits ? number : usual;
  }
  return value;
}

export function writeChoice(choice) {
  const said = new URLSearchParams();
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = choice[name];
    if (Array.isArray(usual)) value.length && said.set(name, value.join("."));
    else if (value !== usual) said.set(name, value === true ? "yes" : value === false ? "no" : value);
  }
  try {
    history.replaceState(null, "", `#${said}`);
  } catch {
    // Browsers that see the address change too often refuse; the next change brings it up to date.
  }
}
