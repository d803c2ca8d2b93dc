// What a user may say beside an image: graphhand.inference.options in the browser, with its messages. What each may be
// comes from Python's rules, see site.json.

const [TRUE, FALSE] = [["1", "true", "yes", "on"], ["0", "false", "no", "off"]];
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
const NOT_FINITE = /^\s*[+-]?(inf|infinity|nan)\s*$/i;
const WHOLE_NUMBER = /^\s*[+-]?\d+\s*$/;

const readers = { side: choice, whole_image: truth, fov: degrees, max_hands: within(whole), min_score: within(number) };

/** The page's settings, [name, text] each, with the defaults of `graphhand predict`. */
export class Options {
  constructor(parameters, rules) {
    requireOnce(parameters);
    const known = `known are ${Object.keys(rules.OPTIONS).join(", ")}`;
    for (const [name] of parameters) {
      if (!Object.hasOwn(rules.OPTIONS, name)) throw fault(name, "extra inputs are not permitted", known);
    }
    const given = new Map(parameters);
    const values = { side: "auto", whole_image: false, fov: null, max_hands: null, min_score: null };
    const changed = new Set();
    for (const [name, rule] of Object.entries(rules.OPTIONS)) {
      if (!given.has(name)) continue;
      try {
        const value = readers[name](given.get(name), rule);
        if (value !== values[name]) changed.add(name);
        values[name] = value;
      } catch (error) {
        throw fault(name, error.message, rule.example === null ? known : `give for instance ${rule.example}`);
      }
    }
    for (const [name, other] of rules.CONTRADICTIONS) {
      if (changed.has(name) && changed.has(other)) throw fault(name, `contradicts ${other}`, "give one of them");
    }
    this.side = values.side;
    this.wholeImage = values.whole_image;
    this.fovDeg = values.fov;
    this.focalPx = null;
    this.sides = this.side === "auto" ? ["right", "left"] : [this.side];
    this.handLimit = values.max_hands ?? rules.MAX_HANDS;
    this.scoreLimit = values.min_score ?? (this.wholeImage ? rules.MIN_SCORE : rules.MIN_SCORE_OF_DETECTIONS);
    this.smooth = true;
  }
}

/** A tracker's parameters without a video's rate, and the rate; null where none is given. */
export function splitFps(parameters, rules) {
  requireOnce(parameters);
  const text = new Map(parameters).get("fps");
  const others = parameters.filter(([name]) => name !== "fps");
  if (text === undefined) return { fps: null, others };
  const fps = NUMBER.test(text) ? Number(text) : 0;
  if (!(fps > 0 && fps <= rules.FASTEST_FPS)) {
    throw fault("fps", `is no rate between 0 and ${rules.FASTEST_FPS}`, "give frames a second, for instance 25");
  }
  return { fps, others };
}

function requireOnce(parameters) {
  const seen = new Set();
  for (const [name] of parameters) {
    if (seen.has(name)) throw fault(name, "is given more than once", "give it once");
    seen.add(name);
  }
}

function fault(name, problem, remedy) {
  return new Error(`${name}: ${problem}; ${remedy}`);
}

function choice(text, { choices }) {
  const quoted = choices.map((one) => `'${one}'`);
  if (!choices.includes(text)) throw new Error(`input should be ${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`);
  return text;
}

function truth(text) {
  const said = text.toLowerCase();
  if (!TRUE.includes(said) && !FALSE.includes(said)) {
    throw new Error("input should be a valid boolean, such as 1 or 0");
  }
  return TRUE.includes(said);
}

function number(text) {
  if (!NUMBER.test(text) && !NOT_FINITE.test(text)) throw new Error("input should be a valid number");
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error("input should be a finite number");
  return value;
}

function whole(text) {
  if (!WHOLE_NUMBER.test(text)) throw new Error("input should be a valid integer");
  return Number(text);
}

function within(read) {
  return (text, { limits: [low, high] }) => {
    const value = read(text);
    if (value < low) throw new Error(`input should be greater than or equal to ${low}`);
    if (value > high) throw new Error(`input should be less than or equal to ${high}`);
    return value;
  };
}

function degrees(text, rule) {
  const value = within(number)(text, rule);
  if (value <= Math.PI) {
    const meant = general((value / Math.PI) * 180, 4);
    throw new Error(
      `is ${general(value, 6)} degrees: radians? ${meant} degrees are expected, or a focal length in pixels for a lens so long`,
    );
  }
  return value;
}

/** A number, not negative, in so many digits at most, as Python writes it. */
function general(value, digits) {
  const [shown, exponent] = value.toExponential(digits - 1).split("e");
  if (Number(exponent) >= -4 && Number(exponent) < digits) return String(Number(value.toPrecision(digits)));
  return `${Number(shown)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}
